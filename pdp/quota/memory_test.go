package quota

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// memory is a store for tests. What the functions answer decides what goes
// wrong: before nothing is stored then, after it is.
type memory struct {
	mu            sync.Mutex
	counters      map[string]Counter
	reservations  map[string]Reservation
	updates       int
	before, after func(ctx context.Context) error
}

func newMemory() *memory {
	return &memory{counters: map[string]Counter{}, reservations: map[string]Reservation{}}
}

func (m *memory) Update(ctx context.Context, now time.Time, keys Keys, f func(Loaded) Changes) error {
	if m.before != nil {
		if err := m.before(ctx); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.updates++
	load := func() Loaded {
		l := Loaded{map[string]Counter{}, map[string]Reservation{}}
		for _, id := range keys.Counters {
			if c, ok := m.counters[id]; ok {
				l.Counters[id] = c
			}
		}
		for _, id := range keys.Reservations {
			if r, ok := m.reservations[id]; ok {
				l.Reservations[id] = r
			}
		}
		return l
	}
	f(load()) // as if somebody had been faster
	changes := f(load())
	for _, c := range changes.Counters {
		m.counters[c.ID] = c
	}
	for _, r := range changes.Reservations {
		if _, there := m.reservations[r.ID]; !there {
			m.reservations[r.ID] = r
		}
	}
	for _, id := range changes.Released {
		delete(m.reservations, id)
	}
	for id, c := range m.counters {
		if c.ExpiresAt.Before(now) {
			delete(m.counters, id)
		}
	}
	for id, r := range m.reservations {
		if r.ExpiresAt.Before(now) {
			delete(m.reservations, id)
		}
	}
	if m.after != nil {
		return m.after(ctx)
	}
	return nil
}

func (m *memory) Reservations(ctx context.Context, ids []string) ([]Reservation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Reservation
	for _, id := range ids {
		if r, ok := m.reservations[id]; ok {
			out = append(out, r)
		}
	}
	return out, ctx.Err()
}

func (m *memory) Counters(ctx context.Context, ids []string) ([]Counter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Counter
	for _, id := range ids {
		if c, ok := m.counters[id]; ok {
			out = append(out, c)
		}
	}
	return out, ctx.Err()
}

func (m *memory) FindCounters(ctx context.Context, now time.Time, f Filter) ([]Counter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Counter
	for _, c := range m.counters {
		of := f.Of == "" || slices.ContainsFunc(c.Per, func(p Part) bool { return p.Value == f.Of })
		after := cmp.Or(cmp.Compare(c.Quota, f.AfterQuota), cmp.Compare(c.ID, f.AfterID)) > 0
		if of && after && (f.ID == "" || f.ID == c.ID) && (f.Quota == "" || f.Quota == c.Quota) && now.Before(c.ExpiresAt) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Counter) int { return cmp.Or(cmp.Compare(a.Quota, b.Quota), cmp.Compare(a.ID, b.ID)) })
	return out[:min(len(out), f.Limit)], ctx.Err()
}
