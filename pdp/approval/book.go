package approval

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxPending bounds how many calls of one grant may wait at a time, so that an
// agent in a loop fills neither the store nor the approver's page.
const maxPending = 100

var (
	// ErrNotFound says that there is no approval of that id.
	ErrNotFound = errors.New("no such approval")
	// ErrTooManyPending says that too many calls under the grant wait already.
	ErrTooManyPending = errors.New("too many calls under this grant wait for approval")
)

// Store keeps approvals. Its methods are safe for concurrent use. Times are
// kept to the microsecond at least, in UTC.
type Store interface {
	// OpenApproval returns the record with the same Binding that is pending and
	// not expired at a.CreatedAt, or stores a and returns it when there is none.
	// Of concurrent callers with one binding exactly one stores. It returns
	// ErrTooManyPending when maxPending records of a.GrantID are pending and not
	// expired, and none of them is this one.
	OpenApproval(ctx context.Context, a Approval, maxPending int) (Approval, error)
	// Approval returns ErrNotFound for an id that it does not have.
	Approval(ctx context.Context, id string) (Approval, error)
	// Approvals returns at most limit records, newest first; with a non-zero
	// pendingAt only those that are pending and not expired at that time.
	Approvals(ctx context.Context, limit int, pendingAt time.Time) ([]Approval, error)
}

// Book opens and shows approvals. It is safe for concurrent use.
type Book struct {
	store Store
	now   func() time.Time
}

// New returns a book over the records in s. now is the clock; nil is the
// system's.
func New(s Store, now func() time.Time) *Book {
	if now == nil {
		now = time.Now
	}
	return &Book{store: s, now: now}
}

// Request opens a pending record for a call, or returns the one that is
// already pending for the identical call. It sets id, state, arguments digest
// and creation time; a record without an expiry gets [DefaultExpiry].
//
// An error means that there is no record: the call has to be denied.
func (b *Book) Request(ctx context.Context, a Approval) (Approval, error) {
	now := b.now().UTC().Truncate(time.Microsecond)
	if a.ExpiresAt.IsZero() {
		a.ExpiresAt = now.Add(DefaultExpiry)
	}
	a.ExpiresAt = a.ExpiresAt.UTC().Truncate(time.Microsecond)
	switch {
	case a.Subject.ID == "" || a.GrantID == "" || a.Server == "" || a.Method == "":
		return Approval{}, errors.New("an approval needs a subject, a grant, a server and a method")
	case !now.Before(a.ExpiresAt):
		return Approval{}, errors.New("the approval would expire before it is opened; let the rule give a longer time")
	}
	var err error
	if a.ArgumentsDigest, err = DigestArguments(a.Arguments); err != nil {
		return Approval{}, err
	}
	a.ID, a.State, a.CreatedAt = rand.Text(), Pending, now
	a.Arguments = slices.Clone(a.Arguments)
	opened, err := b.store.OpenApproval(ctx, a, maxPending)
	if err != nil {
		return Approval{}, fmt.Errorf("open an approval: %w", err)
	}
	return opened.at(now), nil
}

// Get returns one record; the error wraps ErrNotFound when there is none of
// that id.
func (b *Book) Get(ctx context.Context, id string) (Approval, error) {
	a, err := b.store.Approval(ctx, id)
	if err != nil {
		return Approval{}, fmt.Errorf("read an approval: %w", err)
	}
	return a.at(b.now()), nil
}

// List returns at most limit records, newest first: the pending ones, or with
// all also those that are no longer pending.
func (b *Book) List(ctx context.Context, limit int, all bool) ([]Approval, error) {
	now := b.now()
	var pendingAt time.Time
	if !all {
		pendingAt = now
	}
	list, err := b.store.Approvals(ctx, limit, pendingAt)
	if err != nil {
		return nil, fmt.Errorf("list approvals: %w", err)
	}
	for i := range list {
		list[i] = list[i].at(now)
	}
	return list, nil
}
