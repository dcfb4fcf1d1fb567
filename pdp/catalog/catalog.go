package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Server is an upstream server as it is configured.
type Server struct {
	Name    string
	Labels  map[string]string
	Trusted bool // its tool annotations are believed
}

// Catalog answers from memory; only what changes goes to the store. It is safe
// for concurrent use. Where several processes write to one store, each has to
// Follow what the others do.
type Catalog struct {
	store   Store
	servers []Server // in the order of the configuration
	now     func() time.Time

	definitions cache
	state       atomic.Pointer[state]
	changes     sync.Mutex // held from reading the state until it is replaced
}

// New loads the catalog of the configured servers. now is the clock; nil is
// the system's.
func New(ctx context.Context, s Store, servers []Server, now func() time.Time) (*Catalog, error) {
	if now == nil {
		now = time.Now
	}
	stored, err := s.Catalog(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the catalog: %w", err)
	}
	c := &Catalog{store: s, servers: slices.Clone(servers), now: now}
	loaded := newState(stored)
	c.state.Store(&loaded)
	return c, nil
}

// errOtherName says that the definition is not that of the tool in question.
var errOtherName = errors.New("the definition is for a tool of another name")

// Lookup says what is known of a tool of a server. definition is the raw item
// of the server's listing, or nil when the listing was not seen: then neither
// annotations nor a pin can be judged. It never fails: what cannot be read
// leaves the class unknown, and is drift where something is pinned.
//
// The class is the operator's override; else what the annotations say, which a
// server that is not trusted can only use to raise it; else unknown.
//
// Lookup asks no store and takes no lock.
func (c *Catalog) Lookup(server, name string, trusted bool, definition []byte) Tool {
	t := Tool{Name: name, Class: Unknown, Pinned: PinUnknown}
	known := c.state.Load().server(server)
	pin, pinned := known.pins[name]
	if len(definition) > 0 {
		d, err := c.definitions.get(definition)
		if err == nil && d.name != name {
			err = errOtherName
		}
		if err == nil {
			t.Class, t.Traits = d.hints.class(trusted), d.traits
			t.Digest, t.Annotations = d.digest, d.annotations
		}
		switch {
		case pinned && t.Digest == pin.Digest:
			t.Pinned = Match
		case pinned:
			t.Pinned = Drift
		}
	}
	var added []string
	if o, ok := known.overrides[name]; ok {
		t.Class, added = o.Class, o.Traits
	}
	if t.Pinned == Drift {
		added = append(slices.Clone(added), TraitDrift)
	}
	if len(added) > 0 {
		t.Traits = sortedSet(slices.Concat(t.Traits, added))
	}
	t.Risk = riskOf(t.Class, t.Traits)
	return t
}

// server returns the configuration of a server.
func (c *Catalog) server(name string) (Server, bool) {
	i := slices.IndexFunc(c.servers, func(s Server) bool { return s.Name == name })
	if i < 0 {
		return Server{}, false
	}
	return c.servers[i], true
}
