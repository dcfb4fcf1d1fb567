package pep

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const (
	awaitMargin = time.Second            // how much longer than its patience a question may take
	awaitPause  = 200 * time.Millisecond // before a PDP that is away is asked again
)

// Await returns when the approval behind a sealed state is no longer pending,
// when patience has passed, or when ctx ends, whichever comes first. Nothing is
// decided by it: whatever it says, the frame is put to Decide. So what goes
// wrong here is only a wait that did not take place, and counts as pending; and
// where too many calls wait already, one more is not held at all. A PDP that is
// away is waited for as well: it may be the next one that has the answer.
func (e *Enforcer) Await(ctx context.Context, state []byte, patience time.Duration) (pending bool) {
	select {
	case e.waiting <- struct{}{}:
		defer func() { <-e.waiting }()
	default:
		return true
	}
	defer e.meter.waits()()
	last := time.Now().Add(patience)
	within, cancel := context.WithDeadline(ctx, last.Add(awaitMargin))
	defer cancel()
	for {
		q := &v1.AwaitApprovalRequest{RequestState: state, Patience: durationpb.New(time.Until(last))}
		res, err := recovered(within, q, e.decider.AwaitApproval)
		switch {
		case err == nil:
			return res == nil || res.GetPending()
		case ctx.Err() != nil:
			return true
		case status.Code(err) != codes.Unavailable || !time.Now().Add(awaitPause).Before(last):
			e.log.WarnContext(ctx, "an approval could not be waited for", "error", err)
			return true
		}
		select {
		case <-within.Done():
			return true
		case <-time.After(awaitPause):
		}
	}
}
