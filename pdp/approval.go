package pdp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pdp/approval"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// maxRounds is how often a client is asked to come back for one approval. SDKs
// give up after ten.
const maxRounds = 8

// resume reads the state of an earlier round that a client has sent back. One
// that is not ours, is another call's, or whose approval does not stand any more
// is refused, whatever the policy says of the call.
func (e *Engine) resume(ctx context.Context, d *decision) {
	sealed := d.req.GetApprovalRound().GetRequestState()
	if len(sealed) == 0 {
		return
	}
	if e.Rounds == nil || e.Approvals == nil {
		d.deny(v1.ReasonCode_REASON_CODE_APPROVAL_STATE, badState)
		return
	}
	round, err := e.Rounds.Open(string(sealed), nil, d.start)
	if err != nil {
		d.deny(v1.ReasonCode_REASON_CODE_APPROVAL_STATE, badState)
		return
	}
	record, err := e.Approvals.Get(ctx, round.ApprovalID)
	switch {
	case errors.Is(err, approval.ErrNotFound):
		d.deny(v1.ReasonCode_REASON_CODE_APPROVAL_STATE, badState)
		return
	case err != nil:
		e.unasked(ctx, d, err)
		return
	}
	call := e.call(d)
	binding, err := call.Bound()
	switch {
	case err != nil || binding != round.Binding:
		d.deny(v1.ReasonCode_REASON_CODE_APPROVAL_STATE, "The state that came with the call is another call's. Make the call again without it.")
	case record.State == approval.Used:
		d.deny(v1.ReasonCode_REASON_CODE_APPROVAL_STATE, "The approval has been used. Make the call again without its state to ask for another.")
	case record.State == approval.Expired:
		d.deny(v1.ReasonCode_REASON_CODE_APPROVAL_STATE, "The approval has expired. Make the call again without its state to ask for another.")
	default:
		d.round = round.Round
	}
}

const badState = "The state that came with the call is not this gateway's, or not good any more. Make the call again without it."

// ask looks for a person's approval of the call, or opens one. A call that has
// been approved goes on; using the approval up comes last.
func (e *Engine) ask(ctx context.Context, d *decision) {
	if d.res.GetEffect() != v1.Effect_EFFECT_APPROVE {
		return
	}
	if e.Approvals == nil {
		d.settled = true
		return
	}
	if e.roomLeft(ctx, d); d.settled {
		return
	}
	if d.req.GetMethod() == "tools/call" && d.who.UsedUp() { // a person would be asked in vain
		d.deny(v1.ReasonCode_REASON_CODE_GRANT_USED_UP, usedUp)
		return
	}
	record, err := e.Approvals.Request(ctx, e.approval(d))
	if err != nil {
		e.unasked(ctx, d, err)
		return
	}
	d.approval = &record
	d.res.Approval = &v1.PendingApproval{Id: record.ID, ExpiresAt: timestamppb.New(record.ExpiresAt), Approvers: whoDecides(record.Requirements)}
	switch record.State {
	case approval.Approved:
		d.res.Effect, d.res.ReasonCode = v1.Effect_EFFECT_ALLOW, v1.ReasonCode_REASON_CODE_POLICY
	case approval.Refused:
		d.deny(v1.ReasonCode_REASON_CODE_APPROVAL_REFUSED, refusalText(&record))
	case approval.Pending:
		d.settled = true
		e.nextRound(ctx, d, &record)
	default:
		d.deny(v1.ReasonCode_REASON_CODE_APPROVAL_STATE, "The approval does not stand any more; make the call again.")
	}
}

// whoDecides says it for people, "" where any one approver may.
func whoDecides(requirements []approval.Requirement) string {
	var all []string
	for _, r := range requirements {
		who := strings.Join(r.Approvers, ", ")
		switch {
		case r.Required > 1 && who == "":
			who = fmt.Sprintf("%d approvers", r.Required)
		case r.Required > 1:
			who = fmt.Sprintf("%d of %s", r.Required, who)
		case len(r.Approvers) > 1:
			who = "one of " + who
		}
		if who != "" && !slices.Contains(all, who) {
			all = append(all, who)
		}
	}
	return strings.Join(all, " and ")
}

// unasked denies a call whose approval could not be looked for.
func (e *Engine) unasked(ctx context.Context, d *decision, err error) {
	reason := "A person has to approve this call, and the request for it could not be stored; try again."
	if errors.Is(err, approval.ErrTooManyPending) {
		reason = "Too many calls under this grant wait for a person already; wait until some are decided."
	} else {
		e.Log.ErrorContext(ctx, "the approval could not be asked for", "decision", d.res.GetDecisionId(), "error", err)
	}
	d.deny(v1.ReasonCode_REASON_CODE_APPROVAL_REQUIRED, reason)
}

func refusalText(a *approval.Approval) string {
	text := "A person refused this call."
	for _, v := range a.Votes {
		if !v.Approved && v.Reason != "" {
			text = fmt.Sprintf("A person refused this call: %s", v.Reason)
		}
	}
	return text
}

// nextRound says where a person decides, and seals what the client is to bring
// back. After the last round, and where nobody could open a page, the client is
// told in words.
func (e *Engine) nextRound(ctx context.Context, d *decision, record *approval.Approval) {
	if e.ConsoleURL != "" {
		d.res.Approval.Url = e.ConsoleURL + "/approvals/" + record.ID
	}
	if d.req.GetApprovalRound() == nil || e.Rounds == nil || e.ConsoleURL == "" || d.round >= maxRounds {
		return
	}
	next := approval.Round{
		ApprovalID: record.ID, Round: d.round + 1, Binding: record.Binding(),
		Expires: record.ExpiresAt.Add(record.Valid), // it may be approved at the last moment
	}
	sealed, err := e.Rounds.Seal(next, nil) // the binding names subject and grant
	if err != nil {
		e.Log.ErrorContext(ctx, "the state of an approval could not be sealed; the client is told in words", "error", err)
		return
	}
	d.res.Approval.RequestState, d.res.Approval.Round = []byte(sealed), int32(next.Round)
}

// use takes up the approval for this one call (I8). Of several identical calls
// that come at once, one does.
func (e *Engine) use(ctx context.Context, d *decision) {
	if d.approval == nil {
		return
	}
	record, err := e.Approvals.Use(ctx, d.approval.ID, d.res.GetDecisionId())
	if err == nil {
		d.approval = &record
		return
	}
	e.giveBack(ctx, d)
	if !errors.Is(err, approval.ErrNotApproved) {
		e.unasked(ctx, d, err)
		return
	}
	d.deny(v1.ReasonCode_REASON_CODE_APPROVAL_STATE, "The approval was used by an identical call, or has expired. Make the call again to ask for another.")
}

// call is the exact call that an approval is bound to.
func (e *Engine) call(d *decision) approval.Approval {
	a := approval.Approval{
		Subject: approval.Subject{ID: d.subject.ID, Type: d.subject.Type, Groups: d.subject.Groups},
		Owner:   d.who.Owner(),
		GrantID: d.who.GrantID(),
		Server:  d.req.GetServer(), Method: d.req.GetMethod(), Name: d.req.GetTarget().GetName(),
		Arguments: said(d.req.GetMethod(), d.req.GetArguments()),
		Responses: d.req.GetInputResponses(),
	}
	if d.tool != nil {
		a.DefinitionDigest, a.ToolClass, a.ToolRisk = d.tool.Digest, d.tool.Class, d.tool.Risk
	}
	return a
}

// said is what a call says: its arguments, or for methods without any its
// parameters, but for what is about the frame and not about the call.
func said(method string, sent []byte) []byte {
	if method == "tools/call" || method == "prompts/get" {
		return sent
	}
	var params map[string]jsontext.Value
	if json.Unmarshal(sent, &params) != nil {
		return sent
	}
	delete(params, "_meta")
	call, err := json.Marshal(params, json.Deterministic(true))
	if err != nil {
		return sent
	}
	return call
}

// approval is the call with what the policy in force asks of people. Where
// several rules ask, each has to have its votes; the shortest times count.
func (e *Engine) approval(d *decision) approval.Approval {
	a := e.call(d)
	a.OpenedBy, a.Reason, a.Masked = d.res.GetDecisionId(), d.res.GetReason(), d.result.Mask
	a.Policy = approval.Policy{Revision: d.res.GetPolicy().GetRevision(), Digest: d.res.GetPolicy().GetDigest()}
	for _, r := range d.result.Rules {
		a.Rules = append(a.Rules, approval.Rule{Path: r.Path, ID: r.ID, File: r.File, Line: r.Line, Title: r.Title, Reason: r.Reason})
	}
	var open time.Duration
	for _, want := range d.result.Approvals {
		a.Requirements = append(a.Requirements, approval.Requirement{Approvers: want.Approvers, Required: want.Required})
		open, a.Valid = shorter(open, want.Expires), shorter(a.Valid, want.Valid)
	}
	if open > 0 {
		a.ExpiresAt = d.start.Add(open)
	}
	return a
}

// shorter is the shorter of two times, of which 0 says nothing.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// maxPatience bounds how long one AwaitApproval holds.
const maxPatience = time.Minute

// AwaitApproval implements mcpermit.v1.DecisionService.
func (e *Engine) AwaitApproval(ctx context.Context, req *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	if e.Rounds == nil || e.Approvals == nil {
		return &v1.AwaitApprovalResponse{Pending: true}, nil
	}
	round, err := e.Rounds.Open(string(req.GetRequestState()), nil, e.Now())
	if err != nil {
		return &v1.AwaitApprovalResponse{Pending: true}, nil // Decide refuses it, on record
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.waits, cancel)()
	record, err := e.Approvals.Await(ctx, round.ApprovalID, min(req.GetPatience().AsDuration(), maxPatience))
	switch {
	case err == nil:
		return &v1.AwaitApprovalResponse{Pending: record.State == approval.Pending}, nil
	case errors.Is(err, approval.ErrNotFound):
		return &v1.AwaitApprovalResponse{}, nil
	}
	return nil, status.Error(codes.Unavailable, "the approval could not be read")
}

// EndWaits has every AwaitApproval return now, those to come as well: a decision
// point that is about to stop must not wait for people. Whoever waits asks the
// next one.
func (e *Engine) EndWaits() { e.endWaits() }
