package quota

import (
	"context"
	"time"
)

// Store keeps counters and reservations. Its methods are safe for concurrent
// use, also by other processes where the store is a shared one. Times are kept
// to the microsecond, in UTC. What State, Terms and Holds mean is the ledger's
// business.
type Store interface {
	// Update loads what keys name, calls f with what of it there is, and stores
	// the changes that f returns: all or nothing, and as if nobody else had
	// changed these counters and reservations meanwhile. It may call f again
	// after it found that somebody had; f is pure but for its result.
	//
	// In passing it deletes a bounded number of counters and reservations that
	// had expired before now. What has expired and is still there may be loaded.
	//
	// When Update returns nil, the changes survive whatever the store says that
	// it survives. Otherwise nothing was stored, or it is not known.
	Update(ctx context.Context, now time.Time, keys Keys, f func(Loaded) Changes) error
	// Reservations returns those of the ids that there are, in any order.
	Reservations(ctx context.Context, ids []string) ([]Reservation, error)
	// Counters returns those of the ids that there are, in any order, as of one
	// moment.
	Counters(ctx context.Context, ids []string) ([]Counter, error)
	// FindCounters returns the counters that match and had not expired at now,
	// ordered by quota and id, byte by byte.
	FindCounters(ctx context.Context, now time.Time, f Filter) ([]Counter, error)
}

// Keys are ids of what to load. No id is there twice.
type Keys struct {
	Counters     []string
	Reservations []string
}

// Loaded is what there was of the keys, by id. It is f's own.
type Loaded struct {
	Counters     map[string]Counter
	Reservations map[string]Reservation
}

// Changes are what to store. Counters are among the keys; they replace what
// there was. A reservation that is there already stays as it is.
type Changes struct {
	Counters     []Counter
	Reservations []Reservation
	Released     []string // ids of reservations to delete; they are among the keys
}

// Counter is one quota as used by one combination of what it is counted per.
type Counter struct {
	ID        string
	Quota     string
	Per       []Part // sorted by name
	Terms     string // JSON: limit and window, as last asked for
	State     []byte
	UpdatedAt time.Time
	ExpiresAt time.Time // from then on nothing of it is used
}

// Reservation is what one call has reserved in one store, as long as it could
// be given back.
type Reservation struct {
	ID        string // of the decision
	Holds     string // JSON
	ExpiresAt time.Time
}

// Filter narrows a list of counters.
type Filter struct {
	ID    string // this one
	Quota string // of this quota
	Of    string // that have this as the value of one of their parts
	// After is the last counter of the page before; zero begins.
	AfterQuota, AfterID string
	Limit               int // at most so many
}
