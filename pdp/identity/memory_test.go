package identity

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

// memory is a store for tests: it counts reads, can be away, and can hold a
// read until the test lets it go on.
type memory struct {
	mu      sync.Mutex
	records []Record
	reads   int
	away    error
	onRead  func(Record) // called without the lock, after the record was read
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

func (m *memory) Grants(_ context.Context, limit int, activeAt time.Time) ([]Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Grant
	for _, r := range slices.Backward(m.records) {
		if len(list) < limit && (activeAt.IsZero() || r.active(activeAt)) {
			list = append(list, r.Grant)
		}
	}
	return list, m.away
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
	case m.records[i].RevokedAt.IsZero():
		m.records[i].RevokedAt = at
	}
	return m.records[i].Grant, nil
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
