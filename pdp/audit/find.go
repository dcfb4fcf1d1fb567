package audit

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Find returns the record of one decision, its outcome joined, or ErrNotFound.
//
// Decision ids are UUIDs of version 7, which tell when they were made: sealed
// segments of other times are searched only when the record is not where it should be.
func (t *Trail) Find(ctx context.Context, decisionID string) (*Record, error) {
	if decisionID == "" {
		return nil, ErrNotFound
	}
	segs, err := t.segments(t.bound())
	if err != nil {
		return nil, err
	}
	likely := make([]bool, len(segs))
	if made, ok := madeAt(decisionID); ok {
		// The record's time is the policy's, taken a moment later; clocks get set.
		const about = 10 * time.Minute
		likely, _ = t.wanted(ctx, segs, &Filter{Since: made.Add(-about), Until: made.Add(about)})
	}
	for _, where := range []bool{true, false} {
		for i, seg := range slices.Backward(segs) {
			if likely[i] != where {
				continue
			}
			r, err := t.findIn(ctx, seg, decisionID)
			if err != nil {
				return nil, err
			}
			if r != nil {
				return r, t.findOutcome(ctx, segs[i:], r)
			}
		}
	}
	return nil, ErrNotFound
}

// madeAt returns when a UUID of version 7 was made.
func madeAt(id string) (time.Time, bool) {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 {
		return time.Time{}, false
	}
	sec, nsec := u.Time().UnixTime()
	return time.Unix(sec, nsec), true
}

func (t *Trail) findIn(ctx context.Context, seg segment, id string) (found *Record, err error) {
	s := newSieve(Filter{DecisionID: id})
	err = t.eachBack(ctx, seg, func(e *entry) error {
		if e.is(typeRecord) {
			if found = s.pick(e); found != nil {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return found, err
}

// findOutcome joins the outcome of r, which stands in the first of segs. Streams
// may last for days, so all segments are searched; but for what was never sent an
// outcome, if there is one, follows closely.
func (t *Trail) findOutcome(ctx context.Context, segs []segment, r *Record) error {
	if r.Effect != "allow" {
		segs = head(segs, 2)
	}
	open := outcomes{}
	for _, seg := range segs {
		err := t.eachBack(ctx, seg, func(e *entry) error {
			if e.is(typeOutcome) && e.seq > r.Seq && e.decisionID() == r.DecisionID {
				open.put(e)
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if open.join(r) {
			return nil
		}
	}
	return nil
}
