package catalog

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"
)

// memory is a store for tests; it counts what is asked of it.
type memory struct {
	mu     sync.Mutex
	stored Stored
	reads  int
	writes int
	away   error
	forget bool // keep nothing, for tests that write a lot
}

func (m *memory) Catalog(context.Context) (Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	return Stored{
		ListedAt: maps.Clone(m.stored.ListedAt), Listed: slices.Clone(m.stored.Listed),
		Pins: slices.Clone(m.stored.Pins), Overrides: slices.Clone(m.stored.Overrides),
	}, m.away
}

func (m *memory) SaveListing(_ context.Context, server string, at time.Time, put []Listed, gone []string) error {
	return m.write(func() {
		if m.stored.ListedAt == nil {
			m.stored.ListedAt = map[string]time.Time{}
		}
		m.stored.ListedAt[server] = at
		for _, l := range put {
			m.stored.Listed = append(without(m.stored.Listed, func(o Listed) bool { return o.Server == server && o.Name == l.Name }), l)
		}
		for _, name := range gone {
			m.stored.Listed = without(m.stored.Listed, func(o Listed) bool { return o.Server == server && o.Name == name })
		}
	})
}

func (m *memory) SavePins(_ context.Context, pins []Pin) error {
	return m.write(func() {
		for _, p := range pins {
			m.stored.Pins = append(without(m.stored.Pins, func(o Pin) bool { return o.Server == p.Server && o.Name == p.Name }), p)
		}
	})
}

func (m *memory) SaveOverrides(_ context.Context, overrides []Classification) error {
	return m.write(func() {
		for _, c := range overrides {
			m.stored.Overrides = without(m.stored.Overrides, func(o Classification) bool { return o.Server == c.Server && o.Tool == c.Tool })
			if c.Class != "" {
				m.stored.Overrides = append(m.stored.Overrides, c)
			}
		}
	})
}

func (m *memory) write(f func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	if m.away == nil && !m.forget {
		f()
	}
	return m.away
}

func without[T any](list []T, drop func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), drop)
}

// two servers, one of them trusted.
var servers = []Server{{Name: "plain", Labels: map[string]string{"a": "b"}}, {Name: "trusted", Trusted: true}}

func newCatalog(t *testing.T, m *memory) *Catalog {
	t.Helper()
	c, err := New(t.Context(), m, servers, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tool returns a definition with the given annotations, or none for "".
func tool(name, annotations string) Definition {
	raw := `{"name":"` + name + `","description":"does it","inputSchema":{"type":"object"}`
	if annotations != "" {
		raw += `,"annotations":` + annotations
	}
	return Definition{Name: name, Raw: []byte(raw + "}")}
}

func observe(t *testing.T, c *Catalog, server string, whole bool, definitions ...Definition) {
	t.Helper()
	if err := c.Observe(t.Context(), server, definitions, whole); err != nil {
		t.Fatal(err)
	}
}
