package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"
)

var (
	// ErrUnknownServer says that no such server is configured.
	ErrUnknownServer = errors.New("no such server is configured")
	// ErrNotListed says that no listing of the server has been seen.
	ErrNotListed = errors.New("no tools of this server have been seen; let a client list them first")
	// ErrChanged says that a tool is not listed any more as it was looked at.
	ErrChanged = errors.New("the definition has changed since")
	// ErrInvalidClassification is wrapped by errors of Classify that are about
	// what was asked for.
	ErrInvalidClassification = errors.New("invalid classification")
)

// Status is what is known of a server.
type Status struct {
	Server
	Tools    int       // in the last listing
	Drifted  int       // of these, how many differ from the pinned definition
	ListedAt time.Time // zero: no listing was seen; at most a minute behind
}

// Entry is what is known of a tool, for people.
type Entry struct {
	Tool
	Listed           bool
	Override         Classification // what an operator has set; zero: nothing
	PinnedDigest     Digest         // zero: not pinned
	Definition       []byte         // raw; nil when it is not listed
	PinnedDefinition []byte         // raw; nil when it is not pinned
}

// Servers returns the configured servers, in the order of the configuration.
func (c *Catalog) Servers() []Status {
	known := *c.state.Load()
	list := make([]Status, len(c.servers))
	for i, s := range c.servers {
		k := known.server(s.Name)
		list[i] = Status{Server: s, Tools: len(k.listed), ListedAt: k.listedAt}
		for name, l := range k.listed {
			if pin, ok := k.pins[name]; ok && pin.Digest != l.Digest {
				list[i].Drifted++
			}
		}
	}
	return list
}

// Tools returns the tools of a server that are listed, pinned or classified,
// by name. The error wraps ErrUnknownServer.
func (c *Catalog) Tools(server string) ([]Entry, error) {
	conf, ok := c.server(server)
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownServer, server)
	}
	known := c.state.Load().server(server)
	names := map[string]bool{}
	for name := range known.listed {
		names[name] = true
	}
	for name := range known.pins {
		names[name] = true
	}
	for name := range known.overrides {
		names[name] = true
	}
	list := make([]Entry, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		l, listed := known.listed[name]
		pin := known.pins[name]
		list = append(list, Entry{
			Tool:             c.Lookup(server, name, conf.Trusted, l.Definition),
			Listed:           listed,
			Override:         known.overrides[name],
			PinnedDigest:     pin.Digest,
			Definition:       l.Definition,
			PinnedDefinition: pin.Definition,
		})
	}
	return list, nil
}

// Pin takes the definitions of a server's tools that were last listed as the
// good ones, and returns how many. Pins of tools that are not listed now stay,
// so that a tool that comes back changed is noticed.
func (c *Catalog) Pin(ctx context.Context, server string) (int, error) {
	return c.pin(ctx, server, func(listed map[string]Listed) (map[string]Listed, error) { return listed, nil })
}

// PinSeen is Pin for the tools, and the definitions, that somebody has looked at.
// The error wraps ErrChanged, and nothing is pinned, when one of them is not, or
// not so, listed any more.
func (c *Catalog) PinSeen(ctx context.Context, server string, seen map[string]Digest) (int, error) {
	return c.pin(ctx, server, func(listed map[string]Listed) (map[string]Listed, error) {
		chosen := map[string]Listed{}
		for name, digest := range seen {
			l, ok := listed[name]
			if !ok || l.Digest != digest {
				return nil, fmt.Errorf("%w: %q", ErrChanged, name)
			}
			chosen[name] = l
		}
		return chosen, nil
	})
}

func (c *Catalog) pin(ctx context.Context, server string, choose func(map[string]Listed) (map[string]Listed, error)) (int, error) {
	if _, ok := c.server(server); !ok {
		return 0, fmt.Errorf("%w: %q", ErrUnknownServer, server)
	}
	now := c.now().UTC().Truncate(time.Microsecond)

	c.changes.Lock()
	defer c.changes.Unlock()
	next, s := c.state.Load().change(server)
	chosen, err := choose(s.listed)
	if err != nil {
		return 0, err
	}
	if len(chosen) == 0 {
		return 0, fmt.Errorf("%w: %q", ErrNotListed, server)
	}
	pins := make([]Pin, 0, len(chosen))
	for _, l := range chosen {
		pins = append(pins, Pin{Server: server, Name: l.Name, Digest: l.Digest, Definition: l.Definition, At: now})
	}
	slices.SortFunc(pins, func(a, b Pin) int { return cmp.Compare(a.Name, b.Name) })
	if err := c.store.SavePins(ctx, pins); err != nil {
		return 0, fmt.Errorf("store the pins of %s: %w", server, err)
	}
	for _, p := range pins {
		s.pins[p.Name] = p
	}
	c.state.Store(&next)
	return len(pins), nil
}

// Classes are those that a tool can be of.
func Classes() []string { return slices.Clone(classes) }

var traitName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// Classify sets operator overrides, which win over every other source, and
// returns how many differ from what was there. All of them are set or none.
// Tools need not be listed yet. Errors wrap ErrInvalidClassification or
// ErrUnknownServer when the request is at fault.
func (c *Catalog) Classify(ctx context.Context, list []Classification) (int, error) {
	for i, o := range list {
		if _, ok := c.server(o.Server); !ok {
			return 0, fmt.Errorf("%w: %q", ErrUnknownServer, o.Server)
		}
		if err := o.Validate(); err != nil {
			return 0, fmt.Errorf("%w: entry %d: %w", ErrInvalidClassification, i+1, err)
		}
	}
	c.changes.Lock()
	defer c.changes.Unlock()
	next := *c.state.Load()
	var changed []Classification
	for _, o := range list {
		o.Traits = sortedSet(slices.Clone(o.Traits))
		old, had := next.server(o.Server).overrides[o.Tool]
		same := had && o.Class == old.Class && slices.Equal(o.Traits, old.Traits)
		if same || !had && o.Class == "" {
			continue
		}
		changed = append(changed, o)
		var s *serverState
		next, s = next.change(o.Server)
		s.overrides[o.Tool] = o
		if o.Class == "" {
			delete(s.overrides, o.Tool)
		}
	}
	if len(changed) == 0 {
		return 0, nil
	}
	if err := c.store.SaveOverrides(ctx, changed); err != nil {
		return 0, fmt.Errorf("store the classifications: %w", err)
	}
	c.state.Store(&next)
	return len(changed), nil
}

// Validate says what is wrong with a classification.
func (o *Classification) Validate() error {
	switch {
	case o.Tool == "" || len(o.Tool) > 256:
		return errors.New("a tool's name has 1 to 256 bytes")
	case o.Class == "" && len(o.Traits) > 0:
		return errors.New("traits need a class; an empty class removes the override")
	case o.Class != "" && !slices.Contains(classes, o.Class):
		return fmt.Errorf("%q is not a class; use one of %q", o.Class, classes)
	}
	for _, t := range o.Traits {
		if !traitName.MatchString(t) {
			return fmt.Errorf("trait %q: use a-z, 0-9 and \"-\"", t)
		}
		if t == TraitDrift {
			return fmt.Errorf("trait %q is set by comparing definitions, not by hand", t)
		}
	}
	return nil
}
