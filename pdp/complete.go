package pdp

import (
	"context"
	"errors"
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
//
// What the call had reserved and used is given back only if the upstream certainly did
// not see it; whatever else became of it, it counts (I7).
func (e *Engine) Complete(ctx context.Context, req *v1.CompleteRequest) (*v1.CompleteResponse, error) {
	id, err := uuid.Parse(req.GetDecisionId())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "decision_id is not the id of a decision")
	}
	o := req.GetOutcome()
	first, forwarded := e.completed.add(id, o.GetForwarded(), e.Now())
	if first {
		e.Audit.Outcome(req.GetDecisionId(), audit.Outcome{
			Forwarded: o.GetForwarded(), Status: int(o.GetStatus()), IsError: o.GetIsError(),
			Bytes: o.GetBytes(), DurationUS: o.GetDuration().AsDuration().Microseconds(),
			Error: o.GetError(), Listed: int(o.GetListed()), Hidden: int(o.GetHidden()),
		})
	}
	if forwarded {
		return &v1.CompleteResponse{}, nil
	}
	err = e.Identity.GiveBack(ctx, req.GetDecisionId())
	if e.Quotas != nil {
		err = errors.Join(err, e.Quotas.Release(ctx, req.GetDecisionId()))
	}
	if err != nil {
		e.Log.WarnContext(ctx, "what a call had reserved could not be given back yet", "decision", req.GetDecisionId(), "error", err)
		return nil, status.Error(codes.Unavailable, "what the call had reserved could not be given back; ask again")
	}
	return &v1.CompleteResponse{}, nil
}

// completedFor is how long a completion is remembered at least: longer than a
// PEP keeps asking.
const completedFor = 45 * time.Second
