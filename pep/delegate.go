package pep

import (
	"context"
	"errors"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// delegatePatience is how long it may take to make a grant. Nobody's call waits
// for it.
const delegatePatience = 5 * time.Second

// Delegate asks for a grant below the one that stands behind the evidence. The
// answer is never nil; without a token in it there is no grant, and its reason
// says why. That the client has gone does not end the question.
func (e *Enforcer) Delegate(ctx context.Context, r *v1.DelegateGrantRequest) *v1.DelegateGrantResponse {
	res, err := inTime(ctx, delegatePatience, r, e.decider.DelegateGrant)
	if errors.Is(err, errLate) && res.GetToken() != "" {
		// Its token is nobody's, so that it harms nobody.
		e.log.WarnContext(ctx, "a grant was made too late for who asked for it; revoke it", "grant", res.GetGrantId())
	}
	if err != nil {
		e.log.WarnContext(ctx, "a grant could not be delegated", "error", err)
		return &v1.DelegateGrantResponse{
			ReasonCode: v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE,
			Reason:     "The decision point did not answer in time; try again.",
		}
	}
	if res.GetToken() != "" && res.GetGrantId() != "" {
		return res
	}
	refusal := &v1.DelegateGrantResponse{ReasonCode: res.GetReasonCode(), Reason: res.GetReason()}
	if refusal.GetReasonCode() == v1.ReasonCode_REASON_CODE_UNSPECIFIED {
		refusal.ReasonCode = v1.ReasonCode_REASON_CODE_POLICY_ERROR
	}
	return refusal
}
