package credential

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kinds of what is kept.
const (
	KindSecret       = "secret"       // a value that an administrator has set
	KindAccount      = "account"      // tokens of an account, or of the gateway itself
	KindRegistration = "registration" // the gateway as a client of an authorization server
	KindFlow         = "flow"         // an authorization that somebody has begun
)

var (
	// ErrNotFound says that there is nothing under the key.
	ErrNotFound = errors.New("no such credential")
	// ErrConflict says that somebody else has changed it in between.
	ErrConflict = errors.New("the credential was changed by somebody else")
	// ErrNoDataKey says that the data key is not there, or not any more.
	ErrNoDataKey = errors.New("no such data key")
)

// Key names what is kept.
type Key struct {
	Kind string
	Name string
	// Holder is whose it is, "" for what all subjects share.
	Holder string
}

// String says what is under the key, for people.
func (k Key) String() string {
	if k.Holder == "" {
		return fmt.Sprintf("%s %q", k.Kind, k.Name)
	}
	return fmt.Sprintf("%s %q of %q", k.Kind, k.Name, k.Holder)
}

// Sealed is what a store keeps under a key: Value is sealed, so that a store, its
// backups and whoever reads them learn nothing.
type Sealed struct {
	Key
	// Generation counts the changes, from 1.
	Generation int64
	Value      []byte
	// DataKey is the number of the data key that seals Value.
	DataKey   int64
	CreatedAt time.Time
	UpdatedAt time.Time
	ExpiresAt time.Time // zero: it does not say
}

// DataKey is a key that seals values, itself sealed by the master key.
type DataKey struct {
	// ID counts the data keys, from 1. The highest seals what is new.
	ID        int64
	Wrapped   []byte
	Master    string // which master key wraps it, for people; no secret
	CreatedAt time.Time
}

// Store keeps sealed values and the keys that seal them. Its methods are safe for
// concurrent use, over all replicas, and return when what they write is durable.
// Times are kept to the microsecond at least, in UTC.
type Store interface {
	// SealedValue returns ErrNotFound for a key that it does not have.
	SealedValue(ctx context.Context, k Key) (Sealed, error)
	// SealedValues returns those of a kind in the order of name and holder, all of
	// them; of every kind for "".
	SealedValues(ctx context.Context, kind string) ([]Sealed, error)
	// PutSealed stores v in place of the generation before v.Generation, or as the
	// first, and ends a lease. It returns ErrConflict where another generation is
	// there, and where one is there that should not be, and ErrNoDataKey where the
	// key that seals it is not. CreatedAt stays the first's.
	PutSealed(ctx context.Context, v Sealed) error
	// ResealSealed replaces Value and DataKey of a generation that the data key was
	// seals. Nothing else changes: not its times, not its lease. Its errors are those
	// of PutSealed, and ErrNotFound.
	ResealSealed(ctx context.Context, v Sealed, was int64) error
	// TakeSealed deletes v as it was read, so that nothing is lost that could not be
	// opened: of concurrent callers one succeeds. It returns ErrConflict where another
	// generation or data key is there by now, and ErrNotFound where nothing is.
	TakeSealed(ctx context.Context, v Sealed) error
	// DeleteSealed returns ErrNotFound as SealedValue does.
	DeleteSealed(ctx context.Context, k Key) error
	// DeleteSealedBefore deletes those of a kind whose ExpiresAt is before the
	// time.
	DeleteSealedBefore(ctx context.Context, kind string, t time.Time) error
	// LeaseSealed reserves the right to replace a generation until the time, for by.
	// It says false where another has it at now, or the generation is gone.
	LeaseSealed(ctx context.Context, k Key, generation int64, by string, now, until time.Time) (bool, error)

	// DataKeys returns all, the newest last.
	DataKeys(ctx context.Context) ([]DataKey, error)
	// AddDataKey stores a key whose ID is the next. It returns ErrConflict where
	// another has come first.
	AddDataKey(ctx context.Context, k DataKey) error
	// RewrapDataKey replaces Wrapped and Master of a key. It returns ErrNoDataKey
	// where there is none.
	RewrapDataKey(ctx context.Context, k DataKey) error
	// DeleteDataKey deletes a key that seals nothing; it returns ErrConflict where
	// it does, and for the newest, so that no ID is used twice. Deleting none is no
	// error.
	DeleteDataKey(ctx context.Context, id int64) error
}
