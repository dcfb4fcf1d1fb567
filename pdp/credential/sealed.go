package credential

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// attempts is how often something is tried again because others have changed the
// same thing meanwhile.
const attempts = 8

// Options are what a [SealedVault] stands on.
type Options struct {
	Store  Store
	Master MasterKey
	// Old are earlier master keys, with which some data keys may still be sealed.
	Old []MasterKey
	Now func() time.Time // default time.Now
	Log *slog.Logger     // default slog.Default
	// Replica is by whom leases are taken. Default: a random one for each vault.
	Replica string
}

// SealedVault keeps entries in a store, each sealed with a data key (AES-256-GCM),
// and the data keys sealed with a master key. Whoever has the store without the
// master key learns names, holders and times, and no value.
type SealedVault struct {
	store   Store
	keys    *keyring
	now     func() time.Time
	log     *slog.Logger
	replica string
}

var _ Vault = (*SealedVault)(nil)

// NewVault opens the vault of a store. The data keys that are there have to open
// with the master key or an old one: otherwise the error says which of them is
// needed, and nothing is changed.
func NewVault(ctx context.Context, o Options) (*SealedVault, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Replica == "" {
		o.Replica = rand.Text()
	}
	v := &SealedVault{store: o.Store, keys: newKeyring(o), now: o.Now, log: o.Log, replica: o.Replica}
	keys, err := v.keys.load(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if _, err := v.keys.open(ctx, k); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// UnreadableError says that a value does not open: somebody has changed it in the
// database, or moved it there.
type UnreadableError struct{ What string }

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("the stored %s does not open: it was changed in the database, or moved there", e.What)
}

// Get implements [Vault].
func (v *SealedVault) Get(ctx context.Context, k Key) (Entry, error) {
	_, e, err := v.get(ctx, k)
	return e, err
}

// get reads a value and opens it. One whose data key has been deleted meanwhile
// was sealed again before that, and is read again.
func (v *SealedVault) get(ctx context.Context, k Key) (Sealed, Entry, error) {
	for range attempts {
		s, err := v.store.SealedValue(ctx, k)
		if err != nil {
			return Sealed{}, Entry{}, err
		}
		e, err := v.open(ctx, s)
		if !errors.Is(err, ErrNoDataKey) {
			return s, e, err
		}
	}
	return Sealed{}, Entry{}, ErrNoDataKey
}

func (v *SealedVault) open(ctx context.Context, s Sealed) (Entry, error) {
	key, err := v.keys.key(ctx, s.DataKey)
	if err != nil {
		return Entry{}, err
	}
	value, err := key.Decrypt(s.Value, binding(s.Key, s.Generation))
	if err != nil {
		return Entry{}, &UnreadableError{What: s.String()}
	}
	e := bare(s)
	e.Value = value
	return e, nil
}

// bare is an entry without its value.
func bare(s Sealed) Entry {
	return Entry{Key: s.Key, Generation: s.Generation, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, ExpiresAt: s.ExpiresAt}
}

// Put implements [Vault]. The times of creation and change are the vault's.
func (v *SealedVault) Put(ctx context.Context, e Entry) error {
	e.UpdatedAt = v.now().UTC()
	return v.put(ctx, e)
}

func (v *SealedVault) put(ctx context.Context, e Entry) error {
	if e.Kind == KindFlow { // as good a time as any to clear away what nobody came back for
		if err := v.store.DeleteSealedBefore(ctx, KindFlow, e.UpdatedAt); err != nil {
			return err
		}
	}
	s := Sealed{Key: e.Key, Generation: e.Generation, CreatedAt: e.UpdatedAt, UpdatedAt: e.UpdatedAt, ExpiresAt: e.ExpiresAt}
	return v.seal(ctx, s, e.Value, v.store.PutSealed)
}

// seal seals a value with the newest data key and stores it by the function; with
// another key where that one has been deleted meanwhile.
func (v *SealedVault) seal(ctx context.Context, s Sealed, value []byte, store func(context.Context, Sealed) error) error {
	err := ErrNoDataKey
	for range attempts {
		id, key, failed := v.keys.newest(ctx)
		if failed != nil {
			return failed
		}
		s.DataKey = id
		if s.Value, failed = key.Encrypt(value, binding(s.Key, s.Generation)); failed != nil {
			return fmt.Errorf("seal a %s: %w", s.Key, failed)
		}
		if err = store(ctx, s); !errors.Is(err, ErrNoDataKey) {
			return err
		}
	}
	return err
}

// Set is Put in place of whatever is there, and says what is there now, without
// the value.
func (v *SealedVault) Set(ctx context.Context, k Key, value []byte) (Entry, error) {
	for range attempts {
		was, err := v.store.SealedValue(ctx, k)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return Entry{}, err
		}
		e := Entry{Key: k, Generation: was.Generation + 1, Value: value, CreatedAt: was.CreatedAt, UpdatedAt: v.now().UTC()}
		if e.Generation == 1 {
			e.CreatedAt = e.UpdatedAt
		}
		if err = v.put(ctx, e); errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return Entry{}, err
		}
		e.Value = nil
		return e, nil
	}
	return Entry{}, ErrConflict
}

// Take implements [Vault]. What can't be opened stays.
func (v *SealedVault) Take(ctx context.Context, k Key) (Entry, error) {
	for range attempts {
		s, e, err := v.get(ctx, k)
		if err != nil {
			return Entry{}, err
		}
		if err = v.store.TakeSealed(ctx, s); err == nil {
			return e, nil
		}
		if !errors.Is(err, ErrConflict) {
			return Entry{}, err
		}
	}
	return Entry{}, ErrConflict
}

// Lease implements [Vault].
func (v *SealedVault) Lease(ctx context.Context, k Key, generation int64, d time.Duration) (bool, error) {
	now := v.now()
	return v.store.LeaseSealed(ctx, k, generation, v.replica, now, now.Add(d))
}

// Delete implements [Vault].
func (v *SealedVault) Delete(ctx context.Context, k Key) error { return v.store.DeleteSealed(ctx, k) }

// List returns the entries of a kind, without their values, in the order of name
// and holder.
func (v *SealedVault) List(ctx context.Context, kind string) ([]Entry, error) {
	all, err := v.store.SealedValues(ctx, kind)
	if err != nil {
		return nil, err
	}
	list := make([]Entry, len(all))
	for i, s := range all {
		list[i] = bare(s)
	}
	return list, nil
}
