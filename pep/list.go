package pep

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// maxListBytes bounds the definitions in one question to the PDP; a longer
// listing is put to it in parts.
const maxListBytes = 2 << 20

// DecideList says of each item of r whether it may be listed. ok is false when
// there is no decision; then no item may be, and a listing that left them out
// would be a lie: say that it failed.
func (e *Enforcer) DecideList(ctx context.Context, r *v1.DecideListRequest) (keep []bool, ok bool) {
	keep = make([]bool, len(r.GetItems()))
	for from := 0; from < len(keep); {
		to := part(r.GetItems(), from)
		items, err := e.decidePart(ctx, r, from, to)
		if err != nil {
			e.log.WarnContext(ctx, "no decision on a listing, so it is refused", "server", r.GetServer(), "method", r.GetMethod(), "error", err)
			return make([]bool, len(keep)), false
		}
		for i, item := range items {
			keep[from+i] = item.GetEffect() == v1.Effect_EFFECT_ALLOW
		}
		from = to
	}
	return keep, true
}

// part returns the end of the longest part of items that starts at from and
// fits one question; it has at least one item.
func part(items []*v1.Target, from int) int {
	size, to := 0, from
	for to < len(items) {
		size += len(items[to].GetDefinition()) + len(items[to].GetName())
		if size > maxListBytes && to > from {
			break
		}
		to++
	}
	return to
}

// Recheck asks, without a decision on record, whether the evidence with which
// something was allowed is still good at the server. What it returns is why not,
// REASON_CODE_UNSPECIFIED if it is, and REASON_CODE_PDP_UNAVAILABLE where nobody
// says.
func (e *Enforcer) Recheck(ctx context.Context, evidence *v1.Evidence, server string) v1.ReasonCode {
	res, err := inTime(ctx, e.deadline, &v1.DecideListRequest{Evidence: evidence, Server: server, Method: "tools/list"}, e.decider.DecideList)
	if err != nil {
		return v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE
	}
	return res.GetReasonCode()
}

func (e *Enforcer) decidePart(ctx context.Context, r *v1.DecideListRequest, from, to int) ([]*v1.ItemDecision, error) {
	ask := r
	if from != 0 || to != len(r.GetItems()) { // a part is not the whole
		ask = &v1.DecideListRequest{
			Evidence: r.GetEvidence(), Client: r.GetClient(), Server: r.GetServer(), Context: r.GetContext(),
			Method: r.GetMethod(), DecisionId: r.GetDecisionId(), Items: r.GetItems()[from:to],
		}
	}
	patience := e.deadline * time.Duration(1+(to-from)/25)
	res, err := inTime(ctx, patience, ask, e.decider.DecideList)
	if err != nil {
		return nil, err
	}
	if len(res.GetItems()) != to-from {
		return nil, fmt.Errorf("the PDP decided on %d of %d items", len(res.GetItems()), to-from)
	}
	return res.GetItems(), nil
}
