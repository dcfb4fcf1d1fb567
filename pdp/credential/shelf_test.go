package credential

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// shelf is what the vaults of several replicas share.
type shelf struct {
	mu      sync.Mutex
	entries map[Key]Entry
	leases  map[Key]lease
}

type lease struct {
	generation int64
	by         string
	until      time.Time
}

func newShelf() *shelf { return &shelf{entries: map[Key]Entry{}, leases: map[Key]lease{}} }

// shelfVault is the vault of one replica. Its fault, if there is one, fails what it
// is asked to do.
type shelfVault struct {
	*shelf
	replica string
	fault   func(op string) error
	// after is asked when it was done.
	after func(op string) error
}

func (v *shelfVault) begin(ctx context.Context, op string) error {
	if v.fault != nil {
		if err := v.fault(op); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (v *shelfVault) Get(ctx context.Context, k Key) (Entry, error) {
	if err := v.begin(ctx, "get"); err != nil {
		return Entry{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	e, ok := v.entries[k]
	if !ok {
		return Entry{}, ErrNotFound
	}
	return e, nil
}

func (v *shelfVault) Put(ctx context.Context, e Entry) error {
	if err := v.begin(ctx, "put"); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	before, ok := v.entries[e.Key]
	if ok && before.Generation != e.Generation-1 || !ok && e.Generation != 1 {
		return ErrConflict
	}
	e.CreatedAt, e.UpdatedAt = before.CreatedAt, time.Now()
	if !ok {
		e.CreatedAt = e.UpdatedAt
	}
	v.entries[e.Key] = e
	delete(v.leases, e.Key)
	if v.after != nil {
		return v.after("put")
	}
	return nil
}

func (v *shelfVault) Take(ctx context.Context, k Key) (Entry, error) {
	if err := v.begin(ctx, "take"); err != nil {
		return Entry{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	e, ok := v.entries[k]
	if !ok {
		return Entry{}, ErrNotFound
	}
	delete(v.entries, k)
	return e, nil
}

func (v *shelfVault) Lease(ctx context.Context, k Key, generation int64, d time.Duration) (bool, error) {
	if err := v.begin(ctx, "lease"); err != nil {
		return false, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if e, ok := v.entries[k]; !ok || e.Generation != generation {
		return false, nil
	}
	if l, ok := v.leases[k]; ok && l.by != v.replica && time.Now().Before(l.until) {
		return false, nil
	}
	v.leases[k] = lease{generation, v.replica, time.Now().Add(d)}
	return true, nil
}

func (v *shelfVault) Delete(ctx context.Context, k Key) error {
	_, err := v.Take(ctx, k)
	return err
}

// list is what the store of it would list.
func (s *shelf) list(_ context.Context, kind string) ([]Sealed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Sealed
	for _, e := range s.entries {
		if e.Kind == kind {
			list = append(list, Sealed{Key: e.Key, Generation: e.Generation, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt, ExpiresAt: e.ExpiresAt})
		}
	}
	slices.SortFunc(list, func(a, b Sealed) int {
		return strings.Compare(a.Name+"\x00"+a.Holder, b.Name+"\x00"+b.Holder)
	})
	return list, nil
}
