package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"sync"
	"time"

	"github.com/mcpermit/mcpermit/pep/mcp"
)

const (
	listingAge   = time.Minute     // after which a listing is asked for again, aside
	missAge      = 3 * time.Second // the same, when a name was not in it
	failurePause = 5 * time.Second // after a listing that could not be had
	maxPages     = 64
	maxItems     = 20_000
)

// listing is one whole listing of a server: the raw definitions by name. It
// never changes.
type listing struct {
	method string
	items  map[string][]byte
	digest [sha256.Size]byte
}

func newListing(method string, items []mcp.Item) *listing {
	l := &listing{method: method, items: make(map[string][]byte, len(items))}
	h := sha256.New()
	for _, it := range items {
		l.items[it.Name] = it.Raw
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(it.Name))))
		h.Write([]byte(it.Name))
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(it.Raw))))
		h.Write(it.Raw)
	}
	l.digest = [sha256.Size]byte(h.Sum(nil))
	return l
}

// pool lets sessions to which a server lists the same share it.
type pool struct {
	mu   sync.Mutex
	last [8]*listing
	next int
}

func (p *pool) intern(l *listing) *listing {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, old := range p.last {
		if old != nil && old.digest == l.digest && old.method == l.method {
			return old
		}
	}
	p.last[p.next] = l
	p.next = (p.next + 1) % len(p.last)
	return l
}

// of returns the latest listings that a method gave.
func (p *pool) of(method string) (all []*listing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.last {
		if l != nil && l.method == method {
			all = append(all, l)
		}
	}
	return all
}

// shelf holds what a server listed, for each kind of listing: in one session,
// or, where it keeps none, to everybody.
type shelf struct {
	tools, prompts, resources, templates record
}

// of returns the record of a list method.
func (s *shelf) of(method string) *record {
	switch method {
	case "tools/list":
		return &s.tools
	case "prompts/list":
		return &s.prompts
	case "resources/list":
		return &s.resources
	case "resources/templates/list":
		return &s.templates
	}
	return nil
}

// changed is told of a notification that a listing has changed.
func (s *shelf) changed(notification string) {
	if s == nil {
		return
	}
	switch notification {
	case "notifications/tools/list_changed":
		s.tools.invalidate()
	case "notifications/prompts/list_changed":
		s.prompts.invalidate()
	case "notifications/resources/list_changed":
		s.resources.invalidate()
		s.templates.invalidate()
	}
}

// record is one listing and how fresh it is.
type record struct {
	mu     sync.Mutex
	now    *listing
	at     time.Time // when now was complete
	stale  bool      // the server said that it has changed
	plain  bool      // it was asked for without a decision's headers
	failed time.Time
	flight chan struct{} // closed when the question under way has ended

	barred   evidenceKey // who was last not allowed to list
	barredAt time.Time

	// A client's own way through the pages.
	pages []mcp.Item
	next  []byte
}

// set stores a whole listing.
func (r *record) set(l *listing, plain bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now, r.at, r.stale, r.plain = l, time.Now(), false, plain
}

func (r *record) invalidate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stale, r.failed, r.pages, r.next = true, time.Time{}, nil, nil
}

// learn takes a page that a client asked for; with the last page in a row that
// began at the first one the listing is known.
func (r *record) learn(method string, cursor []byte, l *mcp.Listing, into *pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case cursor == nil:
		r.pages = nil
	case r.next == nil || !bytes.Equal(cursor, r.next):
		return
	}
	r.pages, r.next = append(r.pages, l.Items...), nil
	switch {
	case len(r.pages) > maxItems:
		r.pages = nil
	case len(l.NextCursor) == 0 || string(l.NextCursor) == "null":
		r.now, r.at, r.stale, r.plain = into.intern(newListing(method, r.pages)), time.Now(), false, false
		r.pages = nil
	default:
		r.next = l.NextCursor
	}
}

// isWhole reports whether the parameters of a list request leave it to the
// server what to list, so that the answer says what it has. cursor is the raw
// token, nil for the first page.
func isWhole(params []byte) (cursor []byte, whole bool) {
	if params == nil {
		return nil, true
	}
	whole = true
	members(params, func(name string, value []byte) bool {
		switch name {
		case "cursor":
			if string(value) != "null" {
				cursor = bytes.Clone(value)
			}
		case "_meta":
			members(value, func(name string, _ []byte) bool {
				whole = whole && isProtocolMeta(name)
				return whole
			})
		default:
			whole = false
		}
		return whole
	})
	return cursor, whole
}

func isProtocolMeta(name string) bool {
	switch name {
	case "progressToken", "traceparent", "tracestate", "baggage":
		return true
	}
	return strings.HasPrefix(name, "io.modelcontextprotocol/")
}
