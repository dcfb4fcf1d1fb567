package pdp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pdp/quota"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// reserve counts an allowed call against its quotas, all or none. What is
// reserved stays counted unless Complete says that the upstream certainly did not
// act (I7).
func (e *Engine) reserve(ctx context.Context, d *decision) {
	if d.res.GetEffect() != v1.Effect_EFFECT_ALLOW || len(d.result.Quotas) == 0 {
		return
	}
	limits := e.limits(ctx, d)
	if d.settled {
		return
	}
	uses, err := e.Quotas.Reserve(ctx, d.res.GetDecisionId(), d.start, limits)
	if err == nil {
		d.reserved = true
	}
	e.counted(ctx, d, uses, err)
}

// roomLeft refuses a call that a person would be asked about in vain: there is no
// room for it in a quota. Nothing is reserved.
func (e *Engine) roomLeft(ctx context.Context, d *decision) {
	if len(d.result.Quotas) == 0 {
		return
	}
	limits := e.limits(ctx, d)
	if d.settled {
		return
	}
	uses, err := e.Quotas.Peek(ctx, d.start, limits)
	for _, u := range uses {
		if err == nil && u.Exceeded {
			err = quota.ErrExceeded
		}
	}
	e.counted(ctx, d, uses, err)
}

// counted puts what the ledger says into the decision.
func (e *Engine) counted(ctx context.Context, d *decision, uses []quota.Use, err error) {
	d.quotas, d.res.Quotas = uses, quotaUses(uses)
	switch {
	case err == nil:
	case errors.Is(err, quota.ErrExceeded):
		d.deny(v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED, exceeded(uses))
	case isPolicyFault(err):
		e.uncountable(ctx, d, err)
	default:
		e.Log.ErrorContext(ctx, "the quota store does not answer", "decision", d.res.GetDecisionId(), "error", err)
		d.deny(v1.ReasonCode_REASON_CODE_QUOTA_UNAVAILABLE, "The call's quota could not be counted; try again.")
	}
}

// uncountable denies a call whose policy sets quotas that are none.
func (e *Engine) uncountable(ctx context.Context, d *decision, err error) {
	e.Log.ErrorContext(ctx, "the policy's quotas cannot be counted", "decision", d.res.GetDecisionId(), "error", err)
	d.deny(v1.ReasonCode_REASON_CODE_POLICY_ERROR, "The policy could not decide.")
}

func isPolicyFault(err error) bool {
	var conflict *quota.ConflictError
	return errors.As(err, &conflict)
}

// exceeded says which limit has no room, how much of it is used, and when there
// is room again.
func exceeded(uses []quota.Use) string {
	for _, u := range uses {
		if !u.Exceeded {
			continue
		}
		text := fmt.Sprintf("Quota %q has no room for this call: it costs %s, and %s of %s is used (%s).", u.Name, u.Cost, u.Used, u.Limit, u.Window)
		if u.Reset.IsZero() {
			return text + " The call is above the limit and never fits."
		}
		whole := u.Reset.UTC().Add(time.Second - 1).Truncate(time.Second) // never too early
		return text + " Try again after " + whole.Format(time.RFC3339) + "."
	}
	return "A quota has no room for this call."
}

// limits are the quotas of the decision as they apply to its call. It settles
// the decision where there is one that cannot be counted.
func (e *Engine) limits(ctx context.Context, d *decision) []quota.Limit {
	if e.Quotas == nil {
		d.deny(v1.ReasonCode_REASON_CODE_QUOTA_UNAVAILABLE, "The policy sets a quota, and this decision point counts none.")
		return nil
	}
	limits, err := quotaLimits(d.result.Quotas, d.in, d.who.RootID())
	var cost *costError
	switch {
	case errors.As(err, &cost):
		d.deny(v1.ReasonCode_REASON_CODE_QUOTA_COST, cost.Error())
	case err != nil:
		e.uncountable(ctx, d, err)
	}
	return limits
}

// costError is what the caller has to be told of a cost that is no amount.
type costError struct{ quota, fault string }

func (e *costError) Error() string {
	return fmt.Sprintf("What this call costs against quota %q %s.", e.quota, e.fault)
}

// quotaLimits applies quotas to the call that the policy saw, which was made under
// grants that go back to root. The error is a *costError where the call is at
// fault, and about the policy otherwise.
func quotaLimits(quotas []policy.Quota, in *policy.Input, root string) ([]quota.Limit, error) {
	limits := make([]quota.Limit, len(quotas))
	for i, q := range quotas {
		l := quota.Limit{Name: q.Name, ByCount: q.Cost == "" && q.CostFault == ""}
		var err error
		if l.Limit, err = quota.ParseAmount(q.Limit); err != nil {
			return nil, fmt.Errorf("quota %q: limit %w", q.Name, err)
		}
		if l.Window, err = quota.ParseWindow(q.Window, q.Timezone, q.Burst); err != nil {
			return nil, fmt.Errorf("quota %q: %w", q.Name, err)
		}
		if l.Cost, err = callCost(q); err != nil {
			return nil, err
		}
		l.Per = parts(q, in, root)
		limits[i] = l
	}
	return limits, nil
}

// callCost is what the call costs, exactly (I7).
func callCost(q policy.Quota) (quota.Amount, error) {
	switch {
	case q.CostFault != "":
		return quota.Amount{}, &costError{q.Name, q.CostFault}
	case q.Cost == "":
		return quota.Count(1), nil
	}
	cost, err := quota.ParseAmount(q.Cost)
	if err != nil {
		return quota.Amount{}, &costError{q.Name, err.Error()}
	}
	return cost, nil
}

// parts are what the quota is counted per, for this call. What is counted per grant
// is counted for all that were made from one together: whoever holds a grant could
// make as many as it likes.
func parts(q policy.Quota, in *policy.Input, root string) []quota.Part {
	out := make([]quota.Part, 0, len(q.Per)+1)
	for _, name := range q.Per {
		part := quota.Part{Name: name}
		switch name {
		case "grant":
			part.Value = grantPart(root, in)
		case "subject":
			part.Value = in.Subject.ID
		case "client":
			part.Value = in.Client.Name
		case "server":
			part.Value = in.Server.Name
		case "tool":
			if in.Tool != nil {
				part.Value = in.Tool.Name
			}
		}
		out = append(out, part)
	}
	if q.Key != "" {
		out = append(out, quota.Part{Name: "key", Value: q.Key})
	}
	return out
}

// grantPart is what "per grant" counts: whoever has none is counted alone, and not
// with all others. No grant's id has a colon.
func grantPart(root string, in *policy.Input) string {
	if root == "" {
		return "subject:" + in.Subject.ID
	}
	return root
}

func quotaUses(uses []quota.Use) []*v1.QuotaUse {
	if len(uses) == 0 {
		return nil
	}
	out := make([]*v1.QuotaUse, len(uses))
	for i, u := range uses {
		out[i] = &v1.QuotaUse{
			Name: u.Name, Limit: u.Limit.String(), Used: u.Used.String(), Remaining: u.Remaining.String(), Cost: u.Cost.String(),
			Window: u.Window, Exceeded: u.Exceeded,
		}
		if !u.Reset.IsZero() {
			out[i].ResetAt = timestamppb.New(u.Reset)
		}
	}
	return out
}

func auditQuotas(uses []quota.Use) []audit.Quota {
	if len(uses) == 0 {
		return nil
	}
	out := make([]audit.Quota, len(uses))
	for i, u := range uses {
		out[i] = audit.Quota{Name: u.Name, Used: u.Used.String(), Limit: u.Limit.String(), Reset: u.Reset}
	}
	return out
}

// Remaining implements policy.Counter: the quotas of a call that policy was
// asked about, as they stand now. Nothing is reserved.
func (e *Engine) Remaining(ctx context.Context, in *policy.Input, quotas []policy.Quota) ([]*v1.QuotaUse, error) {
	if len(quotas) == 0 || e.Quotas == nil {
		return nil, nil
	}
	root, err := e.rootOf(ctx, in.Grant)
	if err != nil {
		return nil, err
	}
	limits, err := quotaLimits(quotas, in, root)
	if err != nil {
		return nil, err
	}
	uses, err := e.Quotas.Peek(ctx, e.Now(), limits)
	return quotaUses(uses), err
}

// rootOf is the id of the grant from which one that policy was asked about was
// made in the end; its own where that is not known, as in an example.
func (e *Engine) rootOf(ctx context.Context, g *policy.Grant) (string, error) {
	if g == nil {
		return "", nil
	}
	if g.Parent == "" {
		return g.ID, nil
	}
	root, err := e.Identity.Root(ctx, g.Parent)
	if errors.Is(err, identity.ErrNotFound) {
		return g.ID, nil
	}
	return root, err
}
