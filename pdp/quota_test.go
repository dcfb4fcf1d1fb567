package pdp_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/policy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// counting has a quota by amount, one by count, and a tool that counts against
// both.
const counting = `package policy.servers.stripe

allow contains "spend" if input.tool.name in {"spend", "both", "count", "broken", "keyed"}

allow contains "free" if input.tool.name == "free"

quota contains {"name": "total", "limit": 2.97, "cost": input.arguments.amount, "window": "24h", "per": ["subject"]} if input.tool.name in {"spend", "both"}

quota contains {"name": "calls", "limit": 2, "window": "1h", "per": ["grant"]} if input.tool.name in {"count", "both"}

quota contains {"name": "keyed", "limit": 1, "window": "1h", "key": input.arguments.customer} if input.tool.name == "keyed"

quota contains {"name": "broken", "limit": 1, "window": "fortnight"} if input.tool.name == "broken"
`

func newCounting(t *testing.T) *point {
	t.Helper()
	p := newPoint(t)
	snapshot := build(t, counting)
	p.Policy = func() *policy.Snapshot { return snapshot }
	return p
}

// spend makes the call and returns the decision.
func (p *point) spend(t *testing.T, tool, arguments string) *v1.DecideResponse {
	t.Helper()
	return p.decide(t, p.call(tool, arguments))
}

func (p *point) complete(t *testing.T, res *v1.DecideResponse, forwarded bool) {
	t.Helper()
	if _, err := p.Complete(t.Context(), &v1.CompleteRequest{DecisionId: res.GetDecisionId(), Outcome: &v1.Outcome{Forwarded: forwarded}}); err != nil {
		t.Fatal(err)
	}
}

func TestI7_CostsThatAreNoAmountAreRefusedAndSayWhy(t *testing.T) {
	p := newCounting(t)
	for _, c := range []struct{ arguments, says string }{
		{`{"amount":-1000}`, "is negative"},
		{`{"amount":null}`, "is null"},
		{`{"amount":"10"}`, "is a string"},
		{`{"amount":true}`, "is a boolean"},
		{`{"amount":[1]}`, "is no number"},
		{`{}`, "is missing"},
		{`{"amount":1e400}`, "digits before the point"},
		{`{"amount":1e-400}`, "digits after the point"},
	} {
		res := p.spend(t, "spend", c.arguments)
		if allowed(res) || res.GetReasonCode() != v1.ReasonCode_REASON_CODE_QUOTA_COST || !strings.Contains(res.GetReason(), c.says) || !strings.Contains(res.GetReason(), `"total"`) {
			t.Errorf("%s: %v %v %q, want a refusal that says %q", c.arguments, res.GetEffect(), res.GetReasonCode(), res.GetReason(), c.says)
		}
	}
	// None of them has used anything, and what is used is exact: 3 × 0.99 = 2.97.
	for i := range 3 {
		if res := p.spend(t, "spend", `{"amount":0.99}`); !allowed(res) {
			t.Fatalf("0.99, time %d: %s", i+1, res.GetReason())
		}
	}
	if res := p.spend(t, "spend", `{"amount":0.000000000000000001}`); allowed(res) {
		t.Error("there was room beyond the limit")
	}
	if res := p.spend(t, "spend", `{"amount":0}`); !allowed(res) {
		t.Errorf("what costs nothing has room: %s", res.GetReason())
	}
}

func TestI7_LargeAmountsAreExact(t *testing.T) {
	p := newPoint(t)
	snapshot := build(t, strings.Replace(counting, "2.97", "9007199254740993", 1))
	p.Policy = func() *policy.Snapshot { return snapshot }
	if res := p.spend(t, "spend", `{"amount":9007199254740992}`); !allowed(res) {
		t.Fatal(res.GetReason())
	}
	if res := p.spend(t, "spend", `{"amount":2}`); allowed(res) {
		t.Error("2 fit into the 1 that was left")
	}
	if res := p.spend(t, "spend", `{"amount":1}`); !allowed(res) {
		t.Error(res.GetReason())
	}
}

func TestExceededQuotaSaysWhich(t *testing.T) {
	p := newCounting(t)
	for range 2 {
		if res := p.spend(t, "count", `{}`); !allowed(res) || len(res.GetQuotas()) != 1 {
			t.Fatalf("%s %v", res.GetReason(), res.GetQuotas())
		}
	}
	res := p.spend(t, "count", `{}`)
	if allowed(res) || res.GetReasonCode() != v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED || len(res.GetQuotas()) != 1 {
		t.Fatalf("%v %v", res.GetReasonCode(), res.GetQuotas())
	}
	q := res.GetQuotas()[0]
	if q.GetName() != "calls" || q.GetLimit() != "2" || q.GetUsed() != "2" || q.GetRemaining() != "0" || q.GetCost() != "1" || !q.GetExceeded() || q.GetResetAt() == nil {
		t.Errorf("the quota is told as %v", q)
	}
	for _, part := range []string{`"calls"`, "2 of 2", q.GetResetAt().AsTime().Add(time.Second - 1).Format(time.RFC3339)} {
		if !strings.Contains(res.GetReason(), part) {
			t.Errorf("the reason %q does not say %q", res.GetReason(), part)
		}
	}
	r := p.records(t)[res.GetDecisionId()]
	if len(r.Quota) != 1 || r.Quota[0].Name != "calls" || r.Quota[0].Used != "2" || r.Quota[0].Limit != "2" || r.Quota[0].Reset.IsZero() {
		t.Errorf("on record: %+v", r.Quota)
	}
	if res := p.spend(t, "spend", `{"amount":5}`); allowed(res) || res.GetQuotas()[0].GetResetAt() != nil || !strings.Contains(res.GetReason(), "never fits") {
		t.Errorf("a cost above the limit: %q", res.GetReason())
	}
}

func TestI7_SeveralQuotasAreTakenAllOrNone(t *testing.T) {
	p := newCounting(t)
	if res := p.spend(t, "both", `{"amount":2}`); !allowed(res) || len(res.GetQuotas()) != 2 {
		t.Fatalf("%s %v", res.GetReason(), res.GetQuotas())
	}
	// There is room for one more call, and not for its amount.
	for range 3 {
		if allowed(p.spend(t, "both", `{"amount":2}`)) {
			t.Fatal("overspent")
		}
	}
	if res := p.spend(t, "count", `{}`); !allowed(res) {
		t.Errorf("the calls that were refused for their amount were counted: %s", res.GetReason())
	}
}

func TestI7_OnlyWhatCertainlyDidNotArriveIsGivenBack(t *testing.T) {
	p := newCounting(t)
	first := p.spend(t, "count", `{}`)
	p.complete(t, first, false)
	p.complete(t, first, false) // gives nothing back twice
	second, third := p.spend(t, "count", `{}`), p.spend(t, "count", `{}`)
	if !allowed(second) || !allowed(third) || allowed(p.spend(t, "count", `{}`)) {
		t.Fatal("2 of 2 were to be had after one was given back")
	}
	p.complete(t, second, true)
	p.complete(t, second, false) // contradicts what was said first
	if allowed(p.spend(t, "count", `{}`)) {
		t.Error("a call that was forwarded was given back")
	}
	// third never completes: it counts
}

func TestI7_CallWhoseRecordFailsIsGivenBack(t *testing.T) {
	p := newCounting(t)
	if err := p.log.Close(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if res := p.spend(t, "count", `{}`); res.GetReasonCode() != v1.ReasonCode_REASON_CODE_AUDIT_UNAVAILABLE {
			t.Fatalf("%v %s: the calls before were not given back", res.GetReasonCode(), res.GetReason())
		}
	}
}

func TestI7_NoRaceOverspends(t *testing.T) {
	p := newCounting(t)
	var mu sync.Mutex
	n := 0
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			res, err := p.Decide(t.Context(), p.call("both", `{"amount":0.01}`))
			mu.Lock()
			defer mu.Unlock()
			if err == nil && allowed(res) {
				n++
			}
		})
	}
	all.Wait()
	if n != 2 {
		t.Errorf("%d calls passed, want 2", n)
	}
}

func TestQuotaOutlivesThePolicyThatKeepsItsName(t *testing.T) {
	p := newCounting(t)
	p.spend(t, "count", `{}`)
	p.spend(t, "count", `{}`)
	raised := build(t, strings.Replace(counting, `"calls", "limit": 2, "window": "1h"`, `"calls", "limit": 3, "window": "day"`, 1))
	p.Policy = func() *policy.Snapshot { return raised }
	if !allowed(p.spend(t, "count", `{}`)) || allowed(p.spend(t, "count", `{}`)) {
		t.Error("3 of a limit of 3 were to be had, 2 of them before the limit was raised")
	}
}

func TestQuotaByAKeyOfTheAuthor(t *testing.T) {
	p := newCounting(t)
	for _, c := range []struct {
		arguments string
		want      bool
	}{
		{`{"customer":{"id":1,"n":"a"}}`, true},
		{`{"customer":{"n":"a","id":1.0}}`, false}, // the same, otherwise written
		{`{"customer":{"id":2,"n":"a"}}`, true},
		{`{}`, true},
		{`{"customer":null}`, false},
	} {
		if res := p.spend(t, "keyed", c.arguments); allowed(res) != c.want {
			t.Errorf("%s: allowed %v, want %v", c.arguments, allowed(res), c.want)
		}
	}
}

func TestQuotaThatCannotBeCountedDenies(t *testing.T) {
	p := newCounting(t)
	if res := p.spend(t, "broken", `{}`); allowed(res) || res.GetReasonCode() != v1.ReasonCode_REASON_CODE_POLICY_ERROR {
		t.Errorf("a window that is none: %v", res.GetReasonCode())
	}
	p.Quotas = nil
	if res := p.spend(t, "count", `{}`); allowed(res) || res.GetReasonCode() != v1.ReasonCode_REASON_CODE_QUOTA_UNAVAILABLE {
		t.Errorf("nobody counts: %v", res.GetReasonCode())
	}
	if !allowed(p.spend(t, "free", `{}`)) {
		t.Error("a call without a quota needs nobody who counts")
	}
}

func TestRemaining(t *testing.T) {
	p := newCounting(t)
	res := p.spend(t, "both", `{"amount":2}`)
	in, err := pdp.InputOf(p.records(t)[res.GetDecisionId()])
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // asking changes nothing
		uses, err := p.Remaining(t.Context(), in, p.Policy().Decide(t.Context(), in).Quotas)
		if err != nil || len(uses) != 2 {
			t.Fatalf("%v %v", uses, err)
		}
		if uses[0].GetName() != "calls" || uses[0].GetRemaining() != "1" || uses[1].GetRemaining() != "0.97" || !uses[1].GetExceeded() {
			t.Errorf("%v", uses)
		}
	}
}
