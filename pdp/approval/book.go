package approval

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// maxPending bounds how many calls of one grant may wait at a time, so that an
// agent in a loop fills neither the store nor the approver's page.
const maxPending = 100

// How long a record waits, and an approval is good, where nobody says.
const (
	DefaultOpen  = time.Hour
	DefaultValid = 15 * time.Minute
)

// Retention is how long a record is kept after its time is over. What has become
// of it is on the audit trail for longer.
const Retention = 90 * 24 * time.Hour

// forgotten is how many records go at most when one is opened: more than come,
// so that what has gathered gets less.
const forgotten = 16

// ErrNotApproved says that no call may pass on the approval: it is not
// approved, not any more, or another call has passed on it.
var ErrNotApproved = errors.New("the call is not approved")

// Options of a [Book].
type Options struct {
	// Open is how long a record waits that does not say; default [DefaultOpen].
	Open time.Duration
	// Valid is how long an approval is good that does not say; default
	// [DefaultValid].
	Valid time.Duration
	// Record is where votes are recorded. Without it no vote is taken.
	Record Recorder
	// Notify is told of every change, after it is stored. It must not block.
	Notify func(Event)
	// Mask returns a call's arguments without what must not be kept: what the policy
	// masks, and what is a secret by its form. A call is recognised by the digest of
	// all that it says. Nil: everything is kept.
	Mask func(arguments []byte, pointers []string) []byte
	// Now is the clock; nil is the system's.
	Now func() time.Time
	Log *slog.Logger // default slog.Default()
}

// EventKind is what has become of an approval.
type EventKind string

// The events: a call waits (also one that waits again, since the policy asks
// for more now), has a vote, is decided, and has passed.
const (
	EventOpened  EventKind = "opened"
	EventVote    EventKind = "vote"    // which did not decide
	EventDecided EventKind = "decided" // approved or refused, as its state says
	EventUsed    EventKind = "used"
)

// Event is one change of an approval.
type Event struct {
	Kind     EventKind
	Approval Approval
	At       time.Time
}

// Book opens, decides, uses and shows approvals. It is safe for concurrent use,
// and any number of books may share a store.
type Book struct {
	store   Store
	options Options
	waiting waiters
}

// New returns a book over the records in s.
func New(s Store, o Options) *Book {
	if o.Open <= 0 {
		o.Open = DefaultOpen
	}
	if o.Valid <= 0 {
		o.Valid = DefaultValid
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Book{store: s, options: o}
}

// now is the time, as exact as stores keep it.
func (b *Book) now() time.Time { return b.options.Now().UTC().Truncate(time.Microsecond) }

// Request returns the approval of the identical call that stands (pending,
// approved or refused), or opens a pending one. It sets id, state, arguments
// digest and times; what a does not say about how long it is open and good
// follows from the options, and a record without requirements needs one
// approver, whoever it is.
//
// What a requires is what the policy in force asks for. It takes the place of
// what the standing record requires, and the record's votes are held against it:
// an approval that has too few now is pending again. A refusal stays one.
//
// An error means that there is no record: the call has to be denied.
func (b *Book) Request(ctx context.Context, a Approval) (Approval, error) {
	now := b.now()
	if err := b.prepare(&a, now); err != nil {
		return Approval{}, err
	}
	// A record that is used or expires in between makes room for a new one.
	for range 3 {
		standing, err := b.store.OpenApproval(ctx, a, maxPending)
		if err != nil {
			return Approval{}, fmt.Errorf("open an approval: %w", err)
		}
		if standing.ID == a.ID {
			b.tell(EventOpened, &standing, now)
			if err := b.store.ForgetApprovals(ctx, now.Add(-Retention), forgotten); err != nil {
				b.options.Log.WarnContext(ctx, "approvals of long ago could not be deleted", "error", err)
			}
			return standing, nil
		}
		standing, err = b.renew(ctx, standing, &a)
		if !errors.Is(err, errGone) {
			return standing, err
		}
	}
	return Approval{}, errors.New("open an approval: those of this call are used up as fast as they are asked for")
}

// prepare completes a record that is to be opened.
func (b *Book) prepare(a *Approval, now time.Time) (err error) {
	if a.ExpiresAt.IsZero() {
		a.ExpiresAt = now.Add(b.options.Open)
	}
	a.ExpiresAt = a.ExpiresAt.UTC().Truncate(time.Microsecond)
	if a.Valid <= 0 {
		a.Valid = b.options.Valid
	}
	a.Valid = max(a.Valid.Truncate(time.Microsecond), time.Microsecond)
	switch {
	case a.Subject.ID == "" || a.GrantID == "" || a.Server == "" || a.Method == "":
		return errors.New("an approval needs a subject, a grant, a server and a method")
	case !now.Before(a.ExpiresAt):
		return errors.New("the approval would expire before it is opened; let the rule give a longer time")
	case len(a.Requirements) > maxRequirements:
		return fmt.Errorf("an approval has at most %d requirements", maxRequirements)
	}
	if len(a.Requirements) == 0 {
		a.Requirements = []Requirement{{Required: 1}}
	}
	for _, r := range a.Requirements {
		if r.Required < 1 || r.Required > maxVotes {
			return fmt.Errorf("an approval can require 1 to %d persons, not %d", maxVotes, r.Required)
		}
	}
	if err = a.digest(); err != nil {
		return err
	}
	a.ID, a.State, a.CreatedAt = rand.Text(), Pending, now
	a.Votes, a.DecidedAt, a.UsedAt, a.UsedBy = nil, time.Time{}, time.Time{}, ""
	a.Arguments, a.Responses = b.kept(a.Arguments, a.Masked), b.kept(a.Responses, nil)
	return nil
}

// kept is a copy of what a call says, without its secrets.
func (b *Book) kept(said []byte, masked []string) []byte {
	if b.options.Mask != nil && len(said) > 0 {
		said = b.options.Mask(said, masked)
	}
	return slices.Clone(said)
}

// errGone says that a record stands no longer.
var errGone = errors.New("the approval does not stand any more")

// renew holds a standing record against what the policy in force asks for.
func (b *Book) renew(ctx context.Context, standing Approval, asked *Approval) (Approval, error) {
	if standing.State == Refused || standing.asks(asked) {
		return standing, nil
	}
	var was State
	var now time.Time
	renewed, err := b.store.ChangeApproval(ctx, standing.ID, func(a *Approval) error {
		now = b.now()
		*a = a.At(now)
		was = a.State
		if !was.Stands() {
			return errGone
		}
		if was != Refused {
			a.ask(asked, now)
		}
		return nil
	})
	if err != nil {
		return Approval{}, fmt.Errorf("renew an approval: %w", err)
	}
	switch {
	case was == Approved && renewed.State == Pending:
		b.tell(EventOpened, &renewed, now)
	case was == Pending && renewed.State == Approved:
		b.tell(EventDecided, &renewed, now)
	}
	return renewed, nil
}

// asks reports whether the record was asked for by the policy that asks now, in
// the same words.
func (a *Approval) asks(now *Approval) bool {
	return a.Policy == now.Policy && a.Reason == now.Reason && a.Valid == now.Valid &&
		slices.EqualFunc(a.Requirements, now.Requirements, func(x, y Requirement) bool {
			return x.Required == y.Required && slices.Equal(x.Approvers, y.Approvers)
		}) &&
		slices.Equal(a.Masked, now.Masked) && slices.Equal(a.Rules, now.Rules)
}

// ask makes the record one that the policy of asked has asked for.
func (a *Approval) ask(asked *Approval, now time.Time) {
	a.Policy, a.Reason, a.Rules, a.Masked = asked.Policy, asked.Reason, asked.Rules, asked.Masked
	a.Requirements, a.Valid = asked.Requirements, asked.Valid
	switch enough := met(a.Requirements, a.Votes); {
	case a.State == Approved && !enough:
		a.State, a.DecidedAt, a.ExpiresAt = Pending, time.Time{}, asked.ExpiresAt
	case a.State == Pending && enough:
		a.approve(now)
	}
}

func (a *Approval) approve(now time.Time) {
	a.State, a.DecidedAt, a.ExpiresAt = Approved, now, now.Add(a.Valid)
}

// Use lets one call pass on the approval: of all who try, with whatever book,
// exactly one is answered without an error. decisionID is the decision that lets
// the call pass. Otherwise the error wraps ErrNotApproved, and the record tells
// its state.
func (b *Book) Use(ctx context.Context, id, decisionID string) (Approval, error) {
	var now time.Time
	var seen Approval
	used, err := b.store.ChangeApproval(ctx, id, func(a *Approval) error {
		now = b.now() // a transaction may have had to wait
		*a = a.At(now)
		if seen = *a; a.State != Approved || !met(a.Requirements, a.Votes) {
			return ErrNotApproved
		}
		a.State, a.UsedBy, a.UsedAt = Used, decisionID, now
		return nil
	})
	if errors.Is(err, ErrNotApproved) {
		return seen, fmt.Errorf("%w: it is %s", ErrNotApproved, seen.State)
	}
	if err != nil {
		return Approval{}, fmt.Errorf("use an approval: %w", err)
	}
	b.tell(EventUsed, &used, now)
	return used, nil
}

// tell says to those who wait, and to who wants to know, that a record has
// changed.
func (b *Book) tell(kind EventKind, a *Approval, at time.Time) {
	b.waiting.wake(a.ID)
	if b.options.Notify != nil {
		b.options.Notify(Event{Kind: kind, Approval: *a, At: at})
	}
}

// Get returns one record; the error wraps ErrNotFound when there is none of
// that id.
func (b *Book) Get(ctx context.Context, id string) (Approval, error) {
	a, err := b.store.Approval(ctx, id)
	if err != nil {
		return Approval{}, fmt.Errorf("read an approval: %w", err)
	}
	return a.At(b.now()), nil
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
		list[i] = list[i].At(now)
	}
	return list, nil
}
