package proxy

import (
	"context"
	"net/http"
	"time"

	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// A call that a person has to approve is answered with a question where the
// protocol and the client have such a thing (see [mcp.AskApproval]), and in words
// elsewhere. The client comes back with the call and the state of its approval;
// the proxy holds it while the approval is pending, and then puts it to the PDP
// like any other frame, once.
//
// Behind an Envoy nothing is ever asked, since the retry's body could not be
// changed on its way to the server: there all clients are told in words, and what
// looks like an answer to the gateway is the server's business.

// ruleHungUp is on record for a call that its client gave up while it was held.
// It is not decided, so that it does not use the approval up.
const ruleHungUp = "client-gone"

// resume finds out what a call brings back of the gateway's own questions, and
// holds it while its approval is pending.
func (a *act) resume() *mcp.Fault {
	if a.p.o.Transport == v1.Transport_TRANSPORT_ENVOY {
		return nil
	}
	retry, err := mcp.ReadApprovalRetry(a.frame, a.up.Limits)
	if err != nil {
		return faultOf(err)
	}
	a.retry = retry
	if retry == nil || retry.State == nil || retry.Declined || isAnonymous(a.evidence) {
		return nil
	}
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	defer context.AfterFunc(a.p.gate.draining, cancel)()
	a.p.o.Enforcer.Await(ctx, retry.State, a.p.o.ApprovalPatience)
	if a.ctx.Err() != nil {
		return invalid(http.StatusBadRequest, ruleHungUp, "the client hung up while its call waited for an approval")
	}
	return nil
}

// round says how the call stands in the rounds of its approval, nil where no
// further round can be asked for.
func (a *act) round() *v1.ApprovalRound {
	switch {
	case a.p.o.Transport == v1.Transport_TRANSPORT_ENVOY, !mcp.MayAskApproval(a.frame):
		return nil
	case a.retry == nil:
		return &v1.ApprovalRound{}
	case a.retry.Declined:
		return nil
	}
	return &v1.ApprovalRound{RequestState: a.retry.State}
}

// unwrap takes out of the frame what was the gateway's: from here on it is the
// call that goes to the server.
func (a *act) unwrap() {
	if a.retry != nil {
		a.frame, a.body = a.retry.Frame, a.retry.Frame.Bytes
	}
}

// approvalNeeded answers a call that waits for a person: for an approval, or for
// an account of the server's that has to be connected first.
func (a *act) approvalNeeded(d *v1.DecideResponse) []byte {
	p, said := d.GetApproval(), shown(d)
	if a.asks {
		if question := mcp.AskApproval(a.frame, d.GetReason(), said, p.GetRequestState(), int(p.GetRound())); question != nil {
			return question
		}
	}
	if d.GetReasonCode() == v1.ReasonCode_REASON_CODE_ACCOUNT_NEEDED {
		return mcp.AccountNeeded(a.frame, d.GetReason(), said)
	}
	return mcp.ApprovalNeeded(a.frame, d.GetReason(), said)
}

// quotas are those that the client may see of a decision.
func quotas(d *v1.DecideResponse) (all []mcp.Quota) {
	for _, q := range d.GetQuotas() {
		out := mcp.Quota{
			Name: q.GetName(), Limit: q.GetLimit(), Used: q.GetUsed(), Remaining: q.GetRemaining(), Cost: q.GetCost(),
			Window: q.GetWindow(), Exceeded: q.GetExceeded(),
		}
		if at := q.GetResetAt(); at != nil {
			out.ResetAt = at.AsTime().Format(time.RFC3339)
		}
		all = append(all, out)
	}
	return all
}
