package pdp

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mcpermit/mcpermit/pdp/audit"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Complete implements mcpermit.v1.DecisionService. A PEP that got no answer
// asks again, for half a minute: a decision is completed by the first request
// that arrives, and later ones change nothing.
func (e *Engine) Complete(_ context.Context, req *v1.CompleteRequest) (*v1.CompleteResponse, error) {
	id, err := uuid.Parse(req.GetDecisionId())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "decision_id is not the id of a decision")
	}
	if !e.completed.first(id, e.Now()) {
		return &v1.CompleteResponse{}, nil
	}
	o := req.GetOutcome()
	e.Audit.Outcome(req.GetDecisionId(), audit.Outcome{
		Forwarded: o.GetForwarded(), Status: int(o.GetStatus()), IsError: o.GetIsError(),
		Bytes: o.GetBytes(), DurationUS: o.GetDuration().AsDuration().Microseconds(),
		Error: o.GetError(), Listed: int(o.GetListed()), Hidden: int(o.GetHidden()),
	})
	return &v1.CompleteResponse{}, nil
}

// completedFor is how long a completion is remembered at least: longer than a
// PEP keeps asking.
const completedFor = 45 * time.Second

// completions remembers which decisions were completed of late, in two
// generations.
type completions struct {
	mu        sync.Mutex
	now, past map[uuid.UUID]struct{}
	begun     time.Time // of now
}

// first reports whether the decision has not been completed before, and
// remembers that it is now.
func (c *completions) first(id uuid.UUID, at time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil || at.Sub(c.begun) > completedFor {
		c.past, c.now, c.begun = c.now, make(map[uuid.UUID]struct{}), at
	}
	_, now := c.now[id]
	_, past := c.past[id]
	c.now[id] = struct{}{}
	return !now && !past
}
