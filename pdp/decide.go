package pdp

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pdp/quota"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// listTTL is how long a client may cache a filtered listing: as stale as a
// listing may be after a change of policy.
const listTTL = 30 * time.Second

// decision is one decision on its way through the steps.
type decision struct {
	req   *v1.DecideRequest
	res   *v1.DecideResponse
	start time.Time

	who      *identity.Identity
	subject  *identity.Subject // also of a refused token that was proven to be ours
	tool     *catalog.Tool
	in       *policy.Input // what the policy saw
	result   policy.Result
	quotas   []quota.Use
	reserved bool                // something is, in the ledger
	spent    bool                // a use of the grant is
	approval *approval.Approval  // the standing one of this call
	material credential.Material // what it is to carry
	round    int                 // of the approval, that the client comes back from
	// maskKnown is set once a policy has said what the record must not show;
	// before that the record holds no arguments at all.
	maskKnown bool
	// settled ends the walk through the steps.
	settled bool
}

func (d *decision) settle(effect v1.Effect, code v1.ReasonCode, reason string) {
	d.res.Effect, d.res.ReasonCode, d.res.Reason = effect, code, reason
	d.settled = true
}

func (d *decision) deny(code v1.ReasonCode, reason string) {
	d.settle(v1.Effect_EFFECT_DENY, code, reason)
}

// steps are the order of a decision. The first that settles it ends the walk.
var steps = []func(*Engine, context.Context, *decision){
	(*Engine).identify, // who
	(*Engine).admit,    // what needs no policy: faults, unknown names, the grant's scope
	(*Engine).look,     // what the catalog knows of the tool
	(*Engine).resume,   // of which approval it is a further round
	(*Engine).evaluate, // may it
	(*Engine).ask,      // ask whom
	(*Engine).equip,    // with what
	(*Engine).reserve,  // how much
	(*Engine).spend,    // how often under this grant
	(*Engine).use,      // whose yes is used up
	(*Engine).oblige,   // and then
}

// Decide implements mcpermit.v1.DecisionService. It returns an error only when
// ctx ends before the record is written.
func (e *Engine) Decide(ctx context.Context, req *v1.DecideRequest) (*v1.DecideResponse, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	ctx, span := e.meter.tracer.Start(ctx, "mcpermit.Decide")
	defer span.End()
	if span.IsRecording() {
		span.SetAttributes(serverKey.String(req.GetServer()), methodKey.String(req.GetMethod()))
	}
	d := &decision{req: req, res: &v1.DecideResponse{DecisionId: id.String()}, start: e.Now()}
	e.walk(ctx, d)
	e.record(ctx, d)
	e.note(d)
	e.meter.decided(ctx, d, e.Now().Sub(d.start))
	return d.res, nil
}

// walk takes the steps, until one settles the decision. Of the caller's time a
// fifth is left: what the steps wait for in vain must be on record, too (I5), and
// the refusal be there in time.
func (e *Engine) walk(ctx context.Context, d *decision) {
	if end, has := ctx.Deadline(); has {
		within, cancel := context.WithDeadline(ctx, end.Add(-time.Until(end)/5))
		defer cancel()
		ctx = within
	}
	for _, step := range steps {
		if step(e, ctx, d); d.settled {
			return
		}
	}
}

func (e *Engine) identify(ctx context.Context, d *decision) {
	who, err := e.Identity.Identify(ctx, evidence(d.req.GetEvidence()), d.req.GetServer())
	var refusal *identity.Refusal
	switch {
	case err == nil:
		d.who, d.subject = who, &who.Subject
		d.res.GrantId = who.GrantID()
	case errors.As(err, &refusal):
		d.subject = refusal.Subject
		d.res.GrantId = refusal.GrantID
		d.deny(refusalCodes[refusal.Code], refusal.Reason)
	default:
		e.Log.ErrorContext(ctx, "who sent a frame could not be checked", "error", err)
		d.deny(v1.ReasonCode_REASON_CODE_UNSPECIFIED, "Who you are could not be checked; try again.")
	}
	if d.subject != nil {
		d.res.Subject = &v1.Subject{Id: d.subject.ID, Type: d.subject.Type, Groups: d.subject.Groups, Issuer: d.subject.Issuer, Actor: d.subject.Actor}
	}
	// A frame that the PEP could not read stays malformed whoever sent it; who
	// it was is for the record.
	if f := d.req.GetFault(); f != nil {
		d.deny(v1.ReasonCode_REASON_CODE_MALFORMED, f.GetReason())
	}
}

var refusalCodes = map[identity.Code]v1.ReasonCode{
	identity.Missing:     v1.ReasonCode_REASON_CODE_UNAUTHENTICATED,
	identity.Invalid:     v1.ReasonCode_REASON_CODE_INVALID_TOKEN,
	identity.Expired:     v1.ReasonCode_REASON_CODE_EXPIRED_TOKEN,
	identity.Revoked:     v1.ReasonCode_REASON_CODE_REVOKED_TOKEN,
	identity.NotYetValid: v1.ReasonCode_REASON_CODE_INVALID_TOKEN,
	identity.NotGranted:  v1.ReasonCode_REASON_CODE_NOT_GRANTED,
}

func (e *Engine) admit(_ context.Context, d *decision) {
	_, known := e.Servers[d.req.GetServer()]
	target := d.req.GetTarget()
	switch {
	case !d.who.CoversServer(d.req.GetServer()):
		d.deny(v1.ReasonCode_REASON_CODE_SERVER_NOT_GRANTED, "This grant does not cover the server.")
	case !known:
		d.deny(v1.ReasonCode_REASON_CODE_UNKNOWN_TARGET, "There is no such server.")
	case target.GetPresence() == v1.Presence_PRESENCE_ABSENT:
		d.hide(v1.ReasonCode_REASON_CODE_UNKNOWN_TARGET)
	case d.req.GetMethod() == "tools/call" && !d.who.CoversTool(target.GetName()):
		d.hide(v1.ReasonCode_REASON_CODE_TOOL_NOT_GRANTED)
	}
}

// hide never says why: the client is told what it would be told of a name
// that does not exist.
func (d *decision) hide(code v1.ReasonCode) {
	d.settle(v1.Effect_EFFECT_HIDE, code, "")
}

func (e *Engine) look(_ context.Context, d *decision) {
	if d.req.GetMethod() != "tools/call" {
		return
	}
	server, target := d.req.GetServer(), d.req.GetTarget()
	tool := e.Catalog.Lookup(server, target.GetName(), e.Servers[server].Trusted, target.GetDefinition())
	d.tool = &tool
	switch {
	case !d.who.CoversClass(tool.Class):
		d.hide(v1.ReasonCode_REASON_CODE_TOOL_NOT_GRANTED)
	case tool.Pinned == "drift":
		d.deny(v1.ReasonCode_REASON_CODE_DRIFT, "The tool's definition has changed since it was reviewed.")
	}
}

func (e *Engine) evaluate(ctx context.Context, d *decision) {
	snapshot := e.Policy()
	if snapshot == nil {
		d.deny(v1.ReasonCode_REASON_CODE_NO_POLICY, "No policy is in force.")
		return
	}
	revision := snapshot.Revision()
	d.res.Policy = &v1.PolicyRevision{Revision: revision.Revision, Digest: revision.Digest}
	in := e.input(d)
	d.in, d.result = in, snapshot.Decide(ctx, in)
	d.maskKnown = d.result.Cause == policy.CauseRule || d.result.Cause == policy.CauseNoMatch || d.result.Cause == policy.CauseScope
	d.res.Rules = matched(d.result.Rules)

	reason := d.result.Reason
	switch d.result.Cause {
	case policy.CauseRule:
		d.res.ReasonCode = v1.ReasonCode_REASON_CODE_POLICY
	case policy.CauseNoMatch:
		d.res.ReasonCode = v1.ReasonCode_REASON_CODE_NO_MATCH
		if d.result.Effect == policy.Hide && e.listed(ctx, snapshot, in) {
			// The subject sees the tool in its listing: to call it unknown would
			// only confuse.
			d.result.Effect, reason = policy.Deny, "No rule allows this call with these arguments."
		} else if d.result.Effect == policy.Deny {
			reason = "No rule allows this."
		}
	case policy.CauseScope:
		d.res.ReasonCode, d.res.Scopes = v1.ReasonCode_REASON_CODE_INSUFFICIENT_SCOPE, d.result.Scopes
	case policy.CauseOverload:
		d.deny(v1.ReasonCode_REASON_CODE_OVERLOADED, "Too many decisions are under way; try again.")
		return
	default:
		e.Log.ErrorContext(ctx, "the policy could not decide", "decision", d.res.GetDecisionId(), "error", d.result.Err)
		d.deny(v1.ReasonCode_REASON_CODE_POLICY_ERROR, "The policy could not decide.")
		return
	}
	e.combine(d, reason)
}

// combine turns what the policy said into the decision's effect. Arguments
// that do not satisfy the tool's schema are never allowed, whatever the policy
// makes of them.
func (e *Engine) combine(d *decision, reason string) {
	code := d.res.GetReasonCode()
	invalid := e.invalid(d)
	byRule := d.result.Cause == policy.CauseRule || d.result.Cause == policy.CauseScope
	switch effect := d.result.Effect; {
	case effect == policy.Hide:
		d.hide(code)
	case effect == policy.Deny && (byRule || invalid == nil):
		d.deny(code, reason)
	case invalid != nil:
		d.deny(v1.ReasonCode_REASON_CODE_INVALID_ARGUMENTS, invalid.Error())
	case effect == policy.Approve:
		d.res.Effect, d.res.ReasonCode, d.res.Reason = v1.Effect_EFFECT_APPROVE, v1.ReasonCode_REASON_CODE_APPROVAL_REQUIRED, reason
	case effect == policy.Allow:
		d.res.Effect, d.res.Reason = v1.Effect_EFFECT_ALLOW, reason
	default:
		d.deny(v1.ReasonCode_REASON_CODE_POLICY_ERROR, "The policy could not decide.")
	}
}

// invalid checks the arguments of a tool call against the tool's input schema.
func (e *Engine) invalid(d *decision) error {
	if d.tool == nil || len(d.req.GetTarget().GetDefinition()) == 0 {
		return nil
	}
	err := e.Catalog.Validate(d.req.GetTarget().GetDefinition(), arguments(d.req.GetMethod(), d.req.GetArguments()))
	if unclear := (*catalog.Uncheckable)(nil); errors.As(err, &unclear) {
		e.Log.Warn("arguments could not be held against the tool's schema", "server", d.req.GetServer(), "tool", d.tool.Name, "error", unclear.Cause)
	}
	return err
}

// listed says whether the subject sees the tool that it calls in tools/list.
func (e *Engine) listed(ctx context.Context, s *policy.Snapshot, in *policy.Input) bool {
	if in.Tool == nil {
		return false
	}
	base := *in
	base.Method, base.Tool, base.Arguments = "tools/list", nil, nil
	listed, err := s.List(ctx, &base, []policy.Item{{Tool: in.Tool}})
	return err == nil && listed[0]
}

// record writes the audit record. An allowed frame whose record cannot be
// written is refused (I5).
func (e *Engine) record(ctx context.Context, d *decision) {
	err := e.Audit.Record(ctx, e.auditRecord(ctx, d))
	if err == nil {
		return
	}
	e.Log.ErrorContext(ctx, "the audit record could not be written", "decision", d.res.GetDecisionId(), "error", err)
	if d.res.GetEffect() == v1.Effect_EFFECT_ALLOW {
		e.giveBack(ctx, d)
		d.res.Obligations = nil
		d.deny(v1.ReasonCode_REASON_CODE_AUDIT_UNAVAILABLE, "The call could not be recorded and was refused; try again.")
	}
}
