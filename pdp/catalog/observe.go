package catalog

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// Bounds on what is remembered of one server's listing, and how often a
// listing that says nothing new is written down.
const (
	maxListedTools     = 10_000
	maxDefinitionBytes = 256 << 10
	savedEvery         = time.Minute
)

// Definition is one item of a server's tools/list.
type Definition struct {
	Name string
	Raw  []byte
}

// Observe remembers what a listing of a server had. whole says that it was the
// whole listing, not a page of it: tools that it does not have are then
// forgotten, their pins and overrides not. A listing without news touches
// neither the state nor, but for once a minute, the store.
//
// Definitions that cannot be read, are too large or too many are left out,
// and an error says so after the rest has been stored. It is for the log: what
// is decided does not depend on it.
func (c *Catalog) Observe(ctx context.Context, server string, definitions []Definition, whole bool) error {
	if _, ok := c.server(server); !ok {
		return fmt.Errorf("%w: %q", ErrUnknownServer, server)
	}
	now := c.now().UTC().Truncate(time.Microsecond)

	c.changes.Lock()
	defer c.changes.Unlock()
	current := *c.state.Load()
	known := current.server(server)
	put, gone, left := c.news(server, known, definitions, whole)
	if len(put) > 0 || len(gone) > 0 || now.Sub(known.savedAt) >= savedEvery {
		if err := c.store.SaveListing(ctx, server, now, put, gone); err != nil {
			return fmt.Errorf("store the listing of %s: %w", server, err)
		}
		next, s := current.change(server)
		s.listedAt, s.savedAt = now, now
		for _, l := range put {
			s.listed[l.Name] = l
		}
		for _, name := range gone {
			delete(s.listed, name)
		}
		c.state.Store(&next)
	}
	if left > 0 {
		return fmt.Errorf("%d of %d tools in the listing of %s are unreadable, too large or too many; they are not in the catalog",
			left, len(definitions), server)
	}
	return nil
}

// news compares a listing with what is known.
func (c *Catalog) news(server string, known *serverState, definitions []Definition, whole bool) (put []Listed, gone []string, left int) {
	seen := make(map[string]bool, len(definitions))
	total := len(known.listed)
	for _, def := range definitions {
		if seen[def.Name] {
			continue // a second tool of one name cannot be called
		}
		if len(def.Raw) > maxDefinitionBytes {
			left++
			continue
		}
		d, err := c.definitions.get(def.Raw)
		if err != nil || d.name != def.Name {
			left++
			continue
		}
		old, had := known.listed[def.Name]
		if !had && total >= maxListedTools {
			left++
			continue
		}
		seen[def.Name] = true
		if had && old.Digest == d.digest {
			continue
		}
		if !had {
			total++
		}
		put = append(put, Listed{Server: server, Name: def.Name, Digest: d.digest, Definition: bytes.Clone(def.Raw)})
	}
	if whole {
		for name := range known.listed {
			if !seen[name] {
				gone = append(gone, name)
			}
		}
	}
	return put, gone, left
}
