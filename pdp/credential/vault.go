package credential

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Entry is a value as it was put into a [Vault].
type Entry struct {
	Key
	Generation int64
	Value      []byte // secret
	CreatedAt  time.Time
	UpdatedAt  time.Time
	ExpiresAt  time.Time // zero: it does not say
}

// String leaves the value out, whatever the verb.
func (e Entry) String() string { return fmt.Sprintf("%s, generation %d", e.Key, e.Generation) }

// GoString leaves the value out.
func (e Entry) GoString() string { return e.String() }

// LogValue leaves the value out.
func (e Entry) LogValue() slog.Value { return slog.StringValue(e.String()) }

// Vault keeps secrets sealed. It is safe for concurrent use, over all replicas.
type Vault interface {
	// Get returns ErrNotFound where there is nothing under the key.
	Get(ctx context.Context, k Key) (Entry, error)
	// Put stores e in place of the generation before e.Generation, or as the first,
	// and returns ErrConflict where that is not what is there.
	Put(ctx context.Context, e Entry) error
	// Take returns an entry and deletes it; of concurrent callers one has it.
	Take(ctx context.Context, k Key) (Entry, error)
	// Lease reserves the right to replace a generation for a while, for this replica.
	Lease(ctx context.Context, k Key, generation int64, d time.Duration) (bool, error)
	// Delete returns ErrNotFound where there is nothing under the key.
	Delete(ctx context.Context, k Key) error
}
