package pep

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// awaitMargin is how much longer than its patience a question may take.
const awaitMargin = time.Second

// Await returns when the approval behind a sealed state is no longer pending,
// when patience has passed, or when ctx ends, whichever comes first. Nothing is
// decided by it: whatever it says, the frame is put to Decide. So what goes
// wrong here is only a wait that did not take place, and counts as pending; and
// where too many calls wait already, one more is not held at all.
func (e *Enforcer) Await(ctx context.Context, state []byte, patience time.Duration) (pending bool) {
	select {
	case e.waiting <- struct{}{}:
		defer func() { <-e.waiting }()
	default:
		return true
	}
	defer e.meter.waits()()
	waiting, cancel := context.WithTimeout(ctx, patience+awaitMargin)
	defer cancel()
	q := &v1.AwaitApprovalRequest{RequestState: state, Patience: durationpb.New(patience)}
	res, err := recovered(waiting, q, e.decider.AwaitApproval)
	if err != nil && ctx.Err() == nil {
		e.log.WarnContext(ctx, "an approval could not be waited for", "error", err)
	}
	return err != nil || res == nil || res.GetPending()
}
