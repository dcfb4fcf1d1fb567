package credential

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// keyring has the data keys of a store, opened. It is safe for concurrent use.
type keyring struct {
	store  Store
	master MasterKey
	old    []MasterKey
	now    func() time.Time

	mu     sync.RWMutex
	opened map[int64]tink.AEAD

	// loading has room for one: a KMS is asked once for each key.
	loading chan struct{}
}

func newKeyring(o Options) *keyring {
	return &keyring{store: o.Store, master: o.Master, old: o.Old, now: o.Now, opened: map[int64]tink.AEAD{}, loading: make(chan struct{}, 1)}
}

// key returns the data key of a number. It returns ErrNoDataKey where there is
// none, or none any more.
func (r *keyring) key(ctx context.Context, id int64) (tink.AEAD, error) {
	if key := r.known(id); key != nil {
		return key, nil
	}
	keys, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.ID == id {
			return r.open(ctx, k)
		}
	}
	return nil, ErrNoDataKey
}

// newest returns the key that seals what is new, which is made where there is
// none. The store is asked each time: another replica may have made a newer one.
func (r *keyring) newest(ctx context.Context) (int64, tink.AEAD, error) {
	for range attempts {
		keys, err := r.load(ctx)
		if err != nil {
			return 0, nil, err
		}
		if len(keys) > 0 {
			k := keys[len(keys)-1]
			key, err := r.open(ctx, k)
			return k.ID, key, err
		}
		if err = r.add(ctx, 1); err != nil && !errors.Is(err, ErrConflict) {
			return 0, nil, err
		}
	}
	return 0, nil, ErrNoDataKey
}

// add makes the data key of a number. It returns ErrConflict where another
// replica was first.
func (r *keyring) add(ctx context.Context, id int64) error {
	key, wrapped, err := newDataKey(ctx, r.master)
	if err != nil {
		return err
	}
	if err := r.store.AddDataKey(ctx, DataKey{ID: id, Wrapped: wrapped, Master: r.master.Name, CreatedAt: r.now().UTC()}); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened[id] = key
	return nil
}

// rotate makes a data key after all others, and returns its number.
func (r *keyring) rotate(ctx context.Context) (int64, error) {
	for {
		keys, err := r.load(ctx)
		if err != nil {
			return 0, err
		}
		next := int64(1)
		if len(keys) > 0 {
			next = keys[len(keys)-1].ID + 1
		}
		if err := r.add(ctx, next); !errors.Is(err, ErrConflict) {
			return next, err
		}
	}
}

// rewrap seals the data keys with the present master key that another one seals.
func (r *keyring) rewrap(ctx context.Context) error {
	keys, err := r.load(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.Master == r.master.Name {
			continue
		}
		h, err := r.unwrap(ctx, k)
		if err != nil {
			return err
		}
		k.Master = r.master.Name
		if k.Wrapped, err = wrap(ctx, r.master, h); err != nil {
			return err
		}
		// One that is gone by now seals nothing.
		if err := r.store.RewrapDataKey(ctx, k); err != nil && !errors.Is(err, ErrNoDataKey) {
			return err
		}
	}
	return nil
}

// deleteBefore deletes the data keys older than that, and says false where one
// seals something all the same.
func (r *keyring) deleteBefore(ctx context.Context, id int64) (bool, error) {
	keys, err := r.load(ctx)
	if err != nil {
		return false, err
	}
	for _, k := range keys {
		if k.ID >= id {
			break
		}
		switch err := r.store.DeleteDataKey(ctx, k.ID); {
		case errors.Is(err, ErrConflict):
			return false, nil
		case err != nil:
			return false, err
		}
	}
	_, err = r.load(ctx) // forgets them
	return err == nil, err
}

// load reads the data keys, the newest last, and forgets those that are gone: a
// key that was deleted must not seal or open anything.
func (r *keyring) load(ctx context.Context) ([]DataKey, error) {
	keys, err := r.store.DataKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the data keys: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.opened {
		// What is newer than all that were read was added after they were.
		if len(keys) > 0 && id <= keys[len(keys)-1].ID && !slices.ContainsFunc(keys, func(k DataKey) bool { return k.ID == id }) {
			delete(r.opened, id)
		}
	}
	return keys, nil
}

func (r *keyring) known(id int64) tink.AEAD {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.opened[id]
}

// open returns a key opened, and keeps it.
func (r *keyring) open(ctx context.Context, k DataKey) (tink.AEAD, error) {
	select {
	case r.loading <- struct{}{}:
		defer func() { <-r.loading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if key := r.known(k.ID); key != nil {
		return key, nil
	}
	h, err := r.unwrap(ctx, k)
	if err != nil {
		return nil, err
	}
	key, err := aead.New(h)
	if err != nil {
		return nil, fmt.Errorf("data key %d: %w", k.ID, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened[k.ID] = key
	return key, nil
}

// unwrap opens a key with the master key that has sealed it.
func (r *keyring) unwrap(ctx context.Context, k DataKey) (*keyset.Handle, error) {
	for _, m := range append([]MasterKey{r.master}, r.old...) {
		if m.Name != k.Master {
			continue
		}
		h, err := unwrap(ctx, m, k.Wrapped)
		if err != nil {
			return nil, fmt.Errorf("data key %d of the stored credentials can't be opened with the master key %s: %w", k.ID, m.Name, err)
		}
		return h, nil
	}
	return nil, fmt.Errorf("data key %d of the stored credentials is sealed with the master key %s, which is not configured (vault.master_key is %s): "+
		"configure it again, or under vault.old to change it with `mcpermit credentials rekey`; nothing was changed", k.ID, k.Master, r.master.Name)
}
