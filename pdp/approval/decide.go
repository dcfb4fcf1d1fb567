package approval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Why a vote is not taken.
var (
	// ErrNotEntitled: no rule that asked names the person as an approver.
	ErrNotEntitled = errors.New("not an approver of this call")
	// ErrOwnCall: nobody decides on his own call, or on one of his own agent.
	ErrOwnCall = errors.New("nobody decides on a call of his own, or of his own agent")
	// ErrDecided: the approval is not pending any more.
	ErrDecided = errors.New("the approval is not pending any more")
	// ErrTooManyVotes: there are as many as a record holds, and they do not do.
	ErrTooManyVotes = errors.New("the approval has as many votes as it can hold, and they are not enough; refuse it")
	// ErrUnrecorded: what cannot be recorded is not done.
	ErrUnrecorded = errors.New("the vote could not be recorded, and was not taken")
)

// Act is what a person did, or tried to do, to an approval.
type Act struct {
	At       time.Time
	Person   string
	Via      string
	Act      string // ActApprove or ActRefuse
	Approval string // its id
	Result   string // ResultTaken, or why not
	Reason   string // in the person's words
}

// Values in an Act.
const (
	ActApprove = "approve"
	ActRefuse  = "refuse"

	ResultTaken       = "taken"
	ResultRepeated    = "repeated" // the person's vote was there already
	ResultNotEntitled = "not entitled"
	ResultOwnCall     = "own call"
	ResultDecided     = "already decided"
	ResultFull        = "too many votes"
	ResultUnknown     = "unknown" // the store failed: it may have been taken or not
)

// Recorder keeps acts on record.
type Recorder interface {
	// Act returns nil when the act is as durably recorded as a decision is.
	Act(ctx context.Context, a Act) error
}

// Approve adds a person's vote; the call may pass, once, when every requirement
// has its votes. The same vote given again counts once and is no error. The
// errors are ErrNotFound, ErrOwnCall, ErrNotEntitled, ErrDecided,
// ErrTooManyVotes and ErrUnrecorded.
//
// The act is on record before the vote counts, so that there is no vote without
// a record. A vote that was recorded as taken and then was not (somebody else
// decided in that moment, the store failed) has a second record that says so.
func (b *Book) Approve(ctx context.Context, id string, by Approver, reason, via string) (Approval, error) {
	return b.decide(ctx, id, by, Vote{Approved: true, Reason: reason, Via: via})
}

// Refuse ends the approval. The reason is told to the agent. Who may approve may
// refuse; errors and record are those of [Book.Approve].
func (b *Book) Refuse(ctx context.Context, id string, by Approver, reason, via string) (Approval, error) {
	return b.decide(ctx, id, by, Vote{Reason: reason, Via: via})
}

func (b *Book) decide(ctx context.Context, id string, by Approver, v Vote) (Approval, error) {
	now := b.now()
	v.Person, v.Groups, v.At, v.Reason = by.ID, slices.Clone(by.Groups), now, words(v.Reason)
	a, err := b.Get(ctx, id)
	if err != nil {
		return Approval{}, err
	}
	judged := a.judge(by, &v)
	if err := b.record(ctx, id, &v, judged); err != nil {
		return Approval{}, err
	}
	switch {
	case errors.Is(judged, errRepeated):
		return a, nil
	case judged != nil:
		return a, told(judged, a.State)
	}
	return b.take(ctx, id, by, &v)
}

// take stores a vote that is on record.
func (b *Book) take(ctx context.Context, id string, by Approver, v *Vote) (Approval, error) {
	var seen Approval
	decided, err := b.store.ChangeApproval(ctx, id, func(a *Approval) error {
		*a = a.At(b.now()) // a transaction may have had to wait
		seen = *a
		if err := a.judge(by, v); err != nil {
			return err
		}
		a.vote(v)
		return nil
	})
	if err != nil {
		return b.notTaken(ctx, id, &seen, v, err)
	}
	kind := EventVote
	if decided.State != Pending {
		kind = EventDecided
	}
	b.tell(kind, &decided, v.At)
	return decided, nil
}

// notTaken puts right what the record says of a vote.
func (b *Book) notTaken(ctx context.Context, id string, seen *Approval, v *Vote, cause error) (Approval, error) {
	// Whoever asked may have left by now; the record wants the truth all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	unknown := result(cause) == ResultUnknown
	if unknown {
		// A store can fail after it has taken the vote.
		if a, err := b.Get(ctx, id); err == nil && slices.ContainsFunc(a.Votes, v.is) {
			return a, nil
		}
	}
	if err := b.record(ctx, id, v, cause); err != nil {
		b.options.Log.ErrorContext(ctx, "a vote was recorded and not taken, and that could not be recorded", "approval", id, "person", v.Person, "error", err)
	}
	switch {
	case errors.Is(cause, errRepeated):
		return *seen, nil
	case unknown:
		return Approval{}, fmt.Errorf("decide on an approval: %w", cause)
	}
	return *seen, told(cause, seen.State)
}

func (b *Book) record(ctx context.Context, id string, v *Vote, judged error) error {
	act := ActRefuse
	if v.Approved {
		act = ActApprove
	}
	if b.options.Record == nil {
		return fmt.Errorf("%w: there is nothing to record it in", ErrUnrecorded)
	}
	err := b.options.Record.Act(ctx, Act{
		At: v.At, Person: v.Person, Via: v.Via, Act: act, Approval: id, Result: result(judged), Reason: v.Reason,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnrecorded, err)
	}
	return nil
}

// errRepeated says that the vote is there already.
var errRepeated = errors.New("the vote is there already")

// judge says why the vote must not be taken, nil when it may be.
func (a *Approval) judge(by Approver, v *Vote) error {
	if err := a.Entitles(by); err != nil {
		return err
	}
	// Whoever repeats a vote, having missed the answer, learns what has come of it.
	voted := a.Voted(by.ID, v.Approved)
	switch {
	case voted && (a.State == Pending || a.State == Approved && v.Approved || a.State == Refused && !v.Approved):
		return errRepeated
	case a.State != Pending:
		return ErrDecided
	case v.Approved && len(a.Votes) >= maxVotes:
		return ErrTooManyVotes
	}
	return nil
}

// vote counts a vote that may be taken.
func (a *Approval) vote(v *Vote) {
	a.Votes = append(slices.Clip(a.Votes), *v)
	switch {
	case !v.Approved:
		a.State, a.DecidedAt = Refused, v.At
	case met(a.Requirements, a.Votes):
		a.approve(v.At)
	}
}

func result(judged error) string {
	switch {
	case judged == nil:
		return ResultTaken
	case errors.Is(judged, errRepeated):
		return ResultRepeated
	case errors.Is(judged, ErrOwnCall):
		return ResultOwnCall
	case errors.Is(judged, ErrNotEntitled):
		return ResultNotEntitled
	case errors.Is(judged, ErrDecided):
		return ResultDecided
	case errors.Is(judged, ErrTooManyVotes):
		return ResultFull
	}
	return ResultUnknown
}

// told adds to ErrDecided what has become of the approval.
func told(err error, s State) error {
	if errors.Is(err, ErrDecided) {
		return fmt.Errorf("%w: it is %s", err, s)
	}
	return err
}
