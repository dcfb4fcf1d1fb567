package identity

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// memory is a store for tests: it counts reads, can be away, and can hold a
// read until the test lets it go on.
type memory struct {
	mu      sync.Mutex
	records []Record
	reads   int
	away    error
	onRead  func(Record) // called without the lock, after the record was read

	spent     map[string][]string // by decision
	spendings int
	onlyOne   bool // RevokeGrant leaves those below
}

func (m *memory) find(id string) int {
	return slices.IndexFunc(m.records, func(r Record) bool { return r.ID == id })
}

func (m *memory) InsertGrant(_ context.Context, r Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away != nil {
		return m.away
	}
	m.records = append(m.records, r)
	return nil
}

func (m *memory) Grant(ctx context.Context, id string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	m.mu.Lock()
	m.reads++
	i, err, hook := m.find(id), m.away, m.onRead
	var r Record
	if err == nil && i < 0 {
		err = ErrNotFound
	}
	if err == nil {
		r = m.records[i]
	}
	m.mu.Unlock()
	if hook != nil && err == nil {
		hook(r)
	}
	return r, err
}

func (m *memory) Grants(_ context.Context, q Query) ([]Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Grant
	for _, r := range slices.Backward(m.records) {
		if len(list) < q.Limit && selects(q, &r.Grant) {
			list = append(list, r.Grant)
		}
	}
	return list, m.away
}

func selects(q Query, g *Grant) bool {
	used := g.CreatedAt
	if g.NotBefore.After(used) {
		used = g.NotBefore
	}
	if !g.LastUsedAt.IsZero() {
		used = g.LastUsedAt
	}
	return (q.ActiveAt.IsZero() || g.RevokedAt.IsZero() && !g.expired(q.ActiveAt)) &&
		(q.UnusedSince.IsZero() || used.Before(q.UnusedSince)) &&
		(q.Subject == "" || q.Subject == g.Subject.ID) && (q.Parent == "" || q.Parent == g.Parent)
}

func (m *memory) HeldGrants(ctx context.Context, subject string, activeAt time.Time) ([]string, error) {
	grants, err := m.Grants(ctx, Query{Limit: 1000, ActiveAt: activeAt, Subject: subject})
	var ids []string
	for _, g := range grants {
		if g.Held {
			ids = append(ids, g.ID)
		}
	}
	return ids, err
}

func (m *memory) RevokeGrant(_ context.Context, id string, at time.Time) (Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(id)
	switch {
	case m.away != nil:
		return Grant{}, m.away
	case i < 0:
		return Grant{}, ErrNotFound
	}
	m.revoke(id, at)
	return m.records[i].Grant, nil
}

func (m *memory) revoke(id string, at time.Time) {
	for i := range m.records {
		r := &m.records[i]
		if r.ID == id && r.RevokedAt.IsZero() {
			r.RevokedAt = at
		}
		if r.Parent == id && !m.onlyOne {
			m.revoke(r.ID, at)
		}
	}
}

func (m *memory) RotateGrant(_ context.Context, id string, rotation Rotation) (Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(id)
	if m.away != nil {
		return Grant{}, m.away
	}
	if i < 0 || m.records[i].Held || !m.records[i].RevokedAt.IsZero() {
		return Grant{}, ErrNotFound
	}
	r := &m.records[i]
	r.PreviousDigest, r.PreviousUntil = digest{}, rotation.Until
	if !rotation.Until.IsZero() {
		r.PreviousDigest = r.TokenDigest
	}
	r.TokenDigest, r.RotatedAt = rotation.TokenDigest, rotation.At
	return r.Grant, nil
}

func (m *memory) SpendGrants(_ context.Context, s Spending) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spendings++
	if m.away != nil {
		return m.away
	}
	after := slices.Clone(m.records)
	for _, id := range s.Grants {
		r := &after[m.find(id)]
		if r.Uses >= r.MaxUses {
			return ErrUsedUp
		}
		r.Uses++
	}
	m.records = after
	if m.spent == nil {
		m.spent = map[string][]string{}
	}
	m.spent[s.Decision] = s.Grants
	return nil
}

func (m *memory) GiveBackGrants(_ context.Context, decision string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away != nil {
		return m.away
	}
	for _, id := range m.spent[decision] {
		m.records[m.find(id)].Uses--
	}
	maps.DeleteFunc(m.spent, func(id string, _ []string) bool { return id == decision })
	return nil
}

func (m *memory) NoteUsage(_ context.Context, usage []Usage) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away != nil {
		return m.away
	}
	for _, u := range usage {
		if i := m.find(u.GrantID); i >= 0 {
			r := &m.records[i]
			r.Calls, r.Denials = r.Calls+u.Calls, r.Denials+u.Denials
			if u.LastUsedAt.After(r.LastUsedAt) {
				r.LastUsedAt = u.LastUsedAt
			}
		}
	}
	return nil
}

func (m *memory) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *memory) readCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}
