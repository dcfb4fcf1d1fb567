package catalog

import (
	"maps"
	"time"
)

// state is everything that the catalog knows, by server. It is immutable: a
// change copies what it touches.
type state map[string]*serverState

// serverState is what is known of one server's tools, by tool name.
type serverState struct {
	listedAt  time.Time // zero: no listing was seen
	savedAt   time.Time // listedAt as the store has it
	listed    map[string]Listed
	pins      map[string]Pin
	overrides map[string]Classification
}

// noServer is what is known of a server of which nothing is.
var noServer = &serverState{}

func (s state) server(name string) *serverState {
	if known, ok := s[name]; ok {
		return known
	}
	return noServer
}

// change returns a copy of the state in which the named server may be written
// to, and that server.
func (s state) change(name string) (state, *serverState) {
	old := s.server(name)
	fresh := *old
	fresh.listed = cloneMap(old.listed)
	fresh.pins = cloneMap(old.pins)
	fresh.overrides = cloneMap(old.overrides)
	next := cloneMap(s)
	next[name] = &fresh
	return next, &fresh
}

// cloneMap differs from maps.Clone in that a nil map gives one to write to.
func cloneMap[M ~map[K]V, K comparable, V any](m M) M {
	c := make(M, len(m))
	maps.Copy(c, m)
	return c
}

// newState puts what was stored into order.
func newState(stored Stored) state {
	s := state{}
	server := func(name string) *serverState {
		if s[name] == nil {
			s[name] = &serverState{
				listed: map[string]Listed{}, pins: map[string]Pin{}, overrides: map[string]Classification{},
			}
		}
		return s[name]
	}
	for name, at := range stored.ListedAt {
		server(name).listedAt, server(name).savedAt = at, at
	}
	for _, l := range stored.Listed {
		server(l.Server).listed[l.Name] = l
	}
	for _, p := range stored.Pins {
		server(p.Server).pins[p.Name] = p
	}
	for _, o := range stored.Overrides {
		server(o.Server).overrides[o.Tool] = o
	}
	return s
}
