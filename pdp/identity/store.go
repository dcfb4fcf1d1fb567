package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// ErrNotFound says that there is no grant of that id.
var ErrNotFound = errors.New("no such grant")

// ErrUsedUp says that a grant, or one above it, has no uses left.
var ErrUsedUp = errors.New("the uses of the grant are used up")

// Record is a grant as it is stored, with the SHA-256 of its token. Those of a
// grant that is held are zero, and match nothing.
type Record struct {
	Grant
	TokenDigest [sha256.Size]byte
	// PreviousDigest is of the token before the last rotation, which is good
	// before PreviousUntil; zero: it is not.
	PreviousDigest [sha256.Size]byte
	PreviousUntil  time.Time
}

// Query selects grants; members that are zero select everything.
type Query struct {
	Limit int // at most so many, the newest
	// ActiveAt selects those that are neither revoked nor expired at that time.
	ActiveAt time.Time
	// UnusedSince selects those that have not been used from that time on, as far
	// as is known: a grant that never was, was there before it and could be used.
	UnusedSince time.Time
	Subject     string // id
	Parent      string // id of the grant right above
}

// Rotation is a new token in place of the one before it.
type Rotation struct {
	TokenDigest [sha256.Size]byte
	At          time.Time
	// Until is how long the old token is good; zero: it ends at once.
	Until time.Time
}

// Spending is one use of each of some grants, by a decision.
type Spending struct {
	Decision  string
	Grants    []string  // ids, sorted, each once
	At        time.Time // of the decision
	ExpiresAt time.Time // from then on it need not be given back
}

// Usage is what was done under a grant since it was last written down.
type Usage struct {
	GrantID        string
	Calls, Denials int64
	LastUsedAt     time.Time
}

// Store keeps grants. Its methods are safe for concurrent use. Times are kept
// to the microsecond at least, in UTC.
type Store interface {
	// InsertGrant returns when the record is durable.
	InsertGrant(ctx context.Context, r Record) error
	// Grant returns ErrNotFound for an id that it does not have.
	Grant(ctx context.Context, id string) (Record, error)
	// Grants returns the grants that the query selects, newest first.
	Grants(ctx context.Context, q Query) ([]Grant, error)
	// HeldGrants returns the ids of the grants that the subject holds, newest
	// first: those that are neither revoked nor expired at that time.
	HeldGrants(ctx context.Context, subject string, activeAt time.Time) ([]string, error)
	// RevokeGrant returns when the revocation is durable, of the grant and of all
	// below it. The time of a grant that was already revoked stays. It returns
	// ErrNotFound as Grant does.
	RevokeGrant(ctx context.Context, id string, at time.Time) (Grant, error)
	// RotateGrant returns ErrNotFound also for a grant that is revoked, and for one
	// that has no token.
	RotateGrant(ctx context.Context, id string, r Rotation) (Grant, error)
	// SpendGrants counts one use of each grant, or none and returns ErrUsedUp when
	// one has as many uses as it may have. It must never be overspent, by whoever
	// else uses the same store.
	SpendGrants(ctx context.Context, s Spending) error
	// GiveBackGrants takes a spending back, once. One that is not known is no error.
	GiveBackGrants(ctx context.Context, decision string) error
	// NoteUsage adds to what is known of the use of grants. Those that do not exist
	// are passed over.
	NoteUsage(ctx context.Context, usage []Usage) error
}
