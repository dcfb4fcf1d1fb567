// Package shelf keeps credentials in memory, unsealed, for tests of what stands on a
// vault.
package shelf

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcpermit/mcpermit/pdp/credential"
)

// Shelf is what the vaults of several replicas share. It is safe for concurrent use.
type Shelf struct {
	mu      sync.Mutex
	entries map[credential.Key]credential.Entry
	leases  map[credential.Key]lease
}

type lease struct {
	by    string
	until time.Time
}

// New returns an empty one.
func New() *Shelf {
	return &Shelf{entries: map[credential.Key]credential.Entry{}, leases: map[credential.Key]lease{}}
}

// Vault is the one of a replica.
func (s *Shelf) Vault(replica string) credential.Vault { return &vault{s, replica} }

// List returns what is kept of a kind, without the values.
func (s *Shelf) List(_ context.Context, kind string) ([]credential.Sealed, error) {
	var list []credential.Sealed
	for _, e := range s.Entries() {
		if e.Kind == kind {
			list = append(list, credential.Sealed{Key: e.Key, Generation: e.Generation, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt, ExpiresAt: e.ExpiresAt})
		}
	}
	return list, nil
}

// Entries are all, by kind, name and holder.
func (s *Shelf) Entries() []credential.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []credential.Entry
	for _, e := range s.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b credential.Entry) int {
		return strings.Compare(a.Kind+"\x00"+a.Name+"\x00"+a.Holder, b.Kind+"\x00"+b.Name+"\x00"+b.Holder)
	})
	return list
}

// Set puts an entry as it is, as one who puts a backup back.
func (s *Shelf) Set(e credential.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[e.Key] = e
}

type vault struct {
	*Shelf
	replica string
}

func (v *vault) Get(_ context.Context, k credential.Key) (credential.Entry, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e, ok := v.entries[k]
	if !ok {
		return e, credential.ErrNotFound
	}
	return e, nil
}

func (v *vault) Put(_ context.Context, e credential.Entry) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := v.entries[e.Key]
	if before.Generation != e.Generation-1 {
		return credential.ErrConflict
	}
	e.UpdatedAt = time.Now()
	if e.CreatedAt = before.CreatedAt; before.Generation == 0 {
		e.CreatedAt = e.UpdatedAt
	}
	v.entries[e.Key] = e
	delete(v.leases, e.Key)
	return nil
}

func (v *vault) Take(_ context.Context, k credential.Key) (credential.Entry, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e, ok := v.entries[k]
	if !ok {
		return e, credential.ErrNotFound
	}
	delete(v.entries, k)
	return e, nil
}

func (v *vault) Delete(ctx context.Context, k credential.Key) error {
	_, err := v.Take(ctx, k)
	return err
}

func (v *vault) Lease(_ context.Context, k credential.Key, generation int64, d time.Duration) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l, held := v.leases[k]
	if v.entries[k].Generation != generation || held && l.by != v.replica && time.Now().Before(l.until) {
		return false, nil
	}
	v.leases[k] = lease{v.replica, time.Now().Add(d)}
	return true, nil
}
