package pdp_test

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// asking lets one person of finance decide on refunds.
const asking = `package policy.servers.stripe

# METADATA
# custom: {id: refund-approval}
approve contains {"reason": "Refunds need a person.", "approvers": ["group:finance"], "expires": "1h", "valid": "10m"} if input.tool.name == "create_refund"
`

var (
	finance  = approval.Approver{ID: "grace", Groups: []string{"finance"}}
	finance2 = approval.Approver{ID: "joan", Groups: []string{"finance"}}
)

// desk is a point at whose approvals the tests sit.
type desk struct {
	*point
	clock time.Time
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{point: newPoint(t), clock: time.Now()}
	d.open(t)
	d.under(t, asking)
	return d
}

// open begins anew over the same store, as a decision point that was restarted.
func (d *desk) open(t *testing.T) {
	t.Helper()
	now := func() time.Time { return d.clock }
	book := approval.New(d.store, approval.Options{Now: now, Record: discard{}})
	rounds, err := approval.NewSealer(t.Context(), d.store)
	if err != nil {
		t.Fatal(err)
	}
	d.Now, d.Approvals, d.Rounds, d.ConsoleURL = now, book, rounds, "https://console.example"
}

func (d *desk) under(t *testing.T, module string) {
	t.Helper()
	snapshot := build(t, module)
	d.Policy = func() *policy.Snapshot { return snapshot }
}

// refund asks for the call, without rounds.
func (d *desk) refund(t *testing.T, arguments string) *v1.DecideResponse {
	t.Helper()
	return d.decide(t, d.call("create_refund", arguments))
}

// again asks for the call as a client that comes back with a state.
func (d *desk) again(t *testing.T, arguments string, state []byte) *v1.DecideResponse {
	t.Helper()
	req := d.call("create_refund", arguments)
	req.ApprovalRound = &v1.ApprovalRound{RequestState: state}
	return d.decide(t, req)
}

func (d *desk) approve(t *testing.T, id string, by approval.Approver) {
	t.Helper()
	if _, err := d.Approvals.Approve(t.Context(), id, by, "", "test"); err != nil {
		t.Fatal(err)
	}
}

func allowed(res *v1.DecideResponse) bool { return res.GetEffect() == v1.Effect_EFFECT_ALLOW }

func pending(t *testing.T, res *v1.DecideResponse) string {
	t.Helper()
	if res.GetEffect() != v1.Effect_EFFECT_APPROVE || res.GetApproval().GetId() == "" {
		t.Fatalf("%v %v %q, want a call that waits", res.GetEffect(), res.GetReasonCode(), res.GetReason())
	}
	return res.GetApproval().GetId()
}

// recorded checks what the trail has of the decision.
func (d *desk) recorded(t *testing.T, res *v1.DecideResponse, effect, state string) {
	t.Helper()
	r := d.records(t)[res.GetDecisionId()]
	if r == nil || r.Effect != effect || r.Approval == nil && state != "" || r.Approval != nil && r.Approval.State != state {
		t.Errorf("on record: %+v with approval %+v, want %s with one that is %q", r, r.Approval, effect, state)
	}
}

func refusedFor(t *testing.T, what string, res *v1.DecideResponse, code v1.ReasonCode) {
	t.Helper()
	if res.GetEffect() != v1.Effect_EFFECT_DENY || res.GetReasonCode() != code {
		t.Errorf("%s: %v %v %q, want a refusal with %v", what, res.GetEffect(), res.GetReasonCode(), res.GetReason(), code)
	}
}

func TestI8_ApprovalLetsTheCallPassOnce(t *testing.T) {
	d := newDesk(t)
	asked := d.refund(t, `{"amount":100,"note":"a"}`)
	id := pending(t, asked)
	d.recorded(t, asked, "approve", "pending")
	if url := asked.GetApproval().GetUrl(); url != "https://console.example/approvals/"+id {
		t.Errorf("the page is %q", url)
	}
	if same := pending(t, d.refund(t, `{ "note":"\u0061", "amount":1e2 }`)); same != id {
		t.Error("the same call, otherwise written, asks a second time")
	}
	d.approve(t, id, finance)
	passed := d.refund(t, `{"note":"a","amount":100.0}`)
	if !allowed(passed) || len(passed.GetObligations()) == 0 || passed.GetApproval().GetId() != id {
		t.Fatalf("%v %q", passed.GetEffect(), passed.GetReason())
	}
	d.recorded(t, passed, "allow", "used")
	if r := d.records(t)[passed.GetDecisionId()]; len(r.Rules) != 1 || r.Rules[0].ID != "refund-approval" {
		t.Errorf("the rule that asked is not on record: %+v", r.Rules)
	}
	if used, err := d.Approvals.Get(t.Context(), id); err != nil || used.UsedBy != passed.GetDecisionId() {
		t.Errorf("used by %q, %v", used.UsedBy, err)
	}
	if next := pending(t, d.refund(t, `{"amount":100,"note":"a"}`)); next == id {
		t.Error("the approval was good twice")
	}
}

func TestI8_OfTwoRetriesAtOnceOnePasses(t *testing.T) {
	d := newDesk(t)
	d.approve(t, pending(t, d.refund(t, `{"amount":1}`)), finance)
	var mu sync.Mutex
	passed := 0
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if res, err := d.Decide(t.Context(), d.call("create_refund", `{"amount":1}`)); err == nil && allowed(res) {
				mu.Lock()
				passed++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if passed != 1 {
		t.Errorf("%d passed", passed)
	}
}

func TestI8_WhatWasNotApprovedDoesNotPass(t *testing.T) {
	d := newDesk(t)
	id := pending(t, d.refund(t, `{"amount":1}`))
	d.approve(t, id, finance)

	if other := pending(t, d.refund(t, `{"amount":2}`)); other == id {
		t.Error("other arguments")
	}
	changed := d.call("create_refund", `{"amount":1}`)
	changed.Target.Definition, changed.Target.Presence = []byte(refundTool), v1.Presence_PRESENCE_LISTED
	if other := pending(t, d.decide(t, changed)); other == id {
		t.Error("another definition of the tool")
	}
	grant, token, err := d.grants.Create(t.Context(), identity.Grant{Subject: identity.Subject{ID: "ada", Type: "person"}, Servers: []string{"stripe"}})
	if err != nil {
		t.Fatal(err)
	}
	foreign := d.call("create_refund", `{"amount":1}`)
	foreign.Evidence.BearerToken = token
	if other := pending(t, d.decide(t, foreign)); other == id {
		t.Error("another grant of the same subject")
	}
	_ = grant
	if !allowed(d.refund(t, `{"amount":1}`)) {
		t.Error("the approved call does not pass any more")
	}
}

func TestI8_ThePolicyInForceDecidesAgain(t *testing.T) {
	d := newDesk(t)
	d.approve(t, pending(t, d.refund(t, `{"amount":1}`)), finance)

	d.under(t, asking+`deny contains "Frozen." if input.tool.name == "create_refund"`)
	res := d.refund(t, `{"amount":1}`)
	refusedFor(t, "the policy denies now", res, v1.ReasonCode_REASON_CODE_POLICY)

	d.under(t, strings.Replace(asking, `"approvers"`, `"required": 2, "approvers"`, 1))
	id := pending(t, d.refund(t, `{"amount":1}`)) // asks for two people now
	d.approve(t, id, finance2)

	d.under(t, strings.Replace(asking, "group:finance", "group:board", 1))
	pending(t, d.refund(t, `{"amount":1}`)) // and now for others

	d.under(t, asking)
	if !allowed(d.refund(t, `{"amount":1}`)) {
		t.Error("a policy that asks for what was given does not take it")
	}
	d.under(t, `package policy.servers.stripe
allow contains "free" if input.tool.name == "create_refund"`)
	if res := d.refund(t, `{"amount":1}`); !allowed(res) || res.GetApproval() != nil {
		t.Error("a policy that allows needs no approval")
	}
}

func TestI8_AllRulesThatAskHaveToBeMet(t *testing.T) {
	d := newDesk(t)
	d.under(t, asking+`
approve contains {"reason": "And the board.", "approvers": ["hedy"], "expires": "30m"} if input.tool.name == "create_refund"
`)
	res := d.refund(t, `{"amount":1}`)
	id := pending(t, res)
	if got := res.GetApproval().GetExpiresAt().AsTime(); !got.Equal(d.clock.Add(30 * time.Minute).UTC().Truncate(time.Microsecond)) {
		t.Errorf("it waits until %v: the shorter time counts", got)
	}
	d.approve(t, id, finance)
	pending(t, d.refund(t, `{"amount":1}`))
	d.approve(t, id, approval.Approver{ID: "hedy"})
	if !allowed(d.refund(t, `{"amount":1}`)) {
		t.Error("both have approved")
	}
}

func TestRefusalIsToldToTheAgent(t *testing.T) {
	d := newDesk(t)
	id := pending(t, d.refund(t, `{"amount":1}`))
	if _, err := d.Approvals.Refuse(t.Context(), id, finance, "Not this customer.", "test"); err != nil {
		t.Fatal(err)
	}
	res := d.refund(t, `{"amount":1}`)
	refusedFor(t, "refused", res, v1.ReasonCode_REASON_CODE_APPROVAL_REFUSED)
	if !strings.Contains(res.GetReason(), "Not this customer.") {
		t.Errorf("the agent is told %q", res.GetReason())
	}
	d.recorded(t, res, "deny", "refused")
	d.clock = d.clock.Add(time.Hour)
	if next := pending(t, d.refund(t, `{"amount":1}`)); next == id {
		t.Error("a refusal ends with the time of its record")
	}
}

func TestI8_ApprovalsRunOut(t *testing.T) {
	d := newDesk(t)
	id := pending(t, d.refund(t, `{"amount":1}`))
	d.clock = d.clock.Add(time.Hour)
	late := pending(t, d.refund(t, `{"amount":1}`))
	if late == id {
		t.Fatal("a call waited for longer than its rule says")
	}
	d.approve(t, late, finance)
	d.clock = d.clock.Add(10 * time.Minute)
	if next := pending(t, d.refund(t, `{"amount":1}`)); next == late {
		t.Error("an approval was good for longer than its rule says")
	}
}

func TestI8_RestartBetweenAskAndAnswer(t *testing.T) {
	d := newDesk(t)
	first := d.again(t, `{"amount":1}`, nil)
	id, state := pending(t, first), first.GetApproval().GetRequestState()
	d.open(t)
	d.approve(t, id, finance)
	d.open(t)
	if res := d.again(t, `{"amount":1}`, state); !allowed(res) {
		t.Errorf("%v %q", res.GetReasonCode(), res.GetReason())
	}
}

func TestI8_RevokedGrantUsesNoApproval(t *testing.T) {
	d := newDesk(t)
	id := pending(t, d.refund(t, `{"amount":1}`))
	d.approve(t, id, finance)
	a, err := d.Approvals.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.grants.Revoke(t.Context(), a.GrantID); err != nil {
		t.Fatal(err)
	}
	refusedFor(t, "a revoked grant", d.refund(t, `{"amount":1}`), v1.ReasonCode_REASON_CODE_REVOKED_TOKEN)
	if a, err = d.Approvals.Get(t.Context(), id); err != nil || a.State != approval.Approved {
		t.Errorf("the approval is %v, %v", a.State, err)
	}
}

func TestRoundsEndInWords(t *testing.T) {
	d := newDesk(t)
	if res := d.refund(t, `{"amount":1}`); res.GetApproval().GetRequestState() != nil {
		t.Error("a client that cannot be asked to come back is given a state")
	}
	var state []byte
	seen := map[int32]bool{}
	for range 8 {
		res := d.again(t, `{"amount":1}`, state)
		pending(t, res)
		if state = res.GetApproval().GetRequestState(); len(state) == 0 || seen[res.GetApproval().GetRound()] {
			t.Fatalf("round %d has no state, or the number of another", res.GetApproval().GetRound())
		}
		seen[res.GetApproval().GetRound()] = true
	}
	if res := d.again(t, `{"amount":1}`, state); len(res.GetApproval().GetRequestState()) > 0 {
		t.Error("a ninth round")
	}
}

func TestI8_StateOfAnotherCallOrTimeIsRefused(t *testing.T) {
	d := newDesk(t)
	first := d.again(t, `{"amount":1}`, nil)
	id, state := pending(t, first), first.GetApproval().GetRequestState()
	const code = v1.ReasonCode_REASON_CODE_APPROVAL_STATE

	tampered := append([]byte(nil), state...)
	tampered[len(tampered)-1] ^= 1
	refusedFor(t, "tampered", d.again(t, `{"amount":1}`, tampered), code)
	refusedFor(t, "made up", d.again(t, `{"amount":1}`, []byte("state")), code)
	refusedFor(t, "other arguments", d.again(t, `{"amount":2}`, state), code)
	other := d.call("get_balance", `{"amount":1}`)
	other.ApprovalRound = &v1.ApprovalRound{RequestState: state}
	refusedFor(t, "another tool", d.decide(t, other), code)

	d.approve(t, id, finance)
	if !allowed(d.again(t, `{"amount":1}`, state)) {
		t.Fatal("the call that was approved does not pass")
	}
	replayed := d.again(t, `{"amount":1}`, state)
	refusedFor(t, "used", replayed, code)
	d.recorded(t, replayed, "deny", "")

	late := d.again(t, `{"amount":3}`, nil).GetApproval().GetRequestState()
	d.clock = d.clock.Add(time.Hour)
	res := d.again(t, `{"amount":3}`, late)
	refusedFor(t, "nobody decided in time", res, code)
	if !strings.Contains(res.GetReason(), "expired") {
		t.Errorf("the client is told %q", res.GetReason())
	}
	d.clock = d.clock.Add(time.Hour)
	refusedFor(t, "a state of long ago", d.again(t, `{"amount":3}`, late), code)
}

func TestAwaitApproval(t *testing.T) {
	d := newDesk(t)
	res := d.again(t, `{"amount":1}`, nil)
	id, state := pending(t, res), res.GetApproval().GetRequestState()
	wait := func(state []byte, patience time.Duration) bool {
		res, err := d.AwaitApproval(t.Context(), &v1.AwaitApprovalRequest{RequestState: state, Patience: durationpb.New(patience)})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetPending()
	}
	if !wait(state, time.Millisecond) || !wait([]byte("nonsense"), time.Millisecond) {
		t.Error("what nobody has decided is not pending")
	}
	time.AfterFunc(20*time.Millisecond, func() {
		_, _ = d.Approvals.Approve(t.Context(), id, finance, "", "test")
	})
	if wait(state, time.Minute) {
		t.Error("it was approved, and is still pending")
	}
}

func TestWaitsEndWhenTheDecisionPointStops(t *testing.T) {
	d := newDesk(t)
	state := d.again(t, `{"amount":1}`, nil).GetApproval().GetRequestState()
	ended := make(chan error)
	wait := func() {
		_, err := d.AwaitApproval(t.Context(), &v1.AwaitApprovalRequest{RequestState: state, Patience: durationpb.New(time.Minute)})
		ended <- err
	}
	go wait()
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	d.EndWaits()
	for _, which := range []string{"the one under way", "a later one"} {
		select {
		case err := <-ended:
			if status.Code(err) != codes.Unavailable {
				t.Errorf("%s: %v", which, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s goes on", which)
		}
		if which == "the one under way" {
			go wait()
		}
	}
}

func TestTheClientIsToldWhoDecides(t *testing.T) {
	d := newDesk(t)
	for want, members := range map[string][]string{
		"":                                       {`{"reason": "a"}`},
		"group:finance":                          {`{"reason": "a", "approvers": ["group:finance"]}`},
		"one of group:finance, erin":             {`{"reason": "a", "approvers": ["group:finance", "erin"]}`},
		"2 of group:finance":                     {`{"reason": "a", "approvers": ["group:finance"], "required": 2}`},
		"2 approvers":                            {`{"reason": "a", "required": 2}`},
		"group:finance and 2 of group:legal, bo": {`{"reason": "a", "approvers": ["group:finance"]}`, `{"reason": "b"}`, `{"reason": "c", "approvers": ["group:legal", "bo"], "required": 2}`, `{"reason": "d", "approvers": ["group:finance"]}`},
	} {
		module := "package policy.servers.stripe\n"
		for _, m := range members {
			module += "approve contains " + m + " if input.tool.name == \"create_refund\"\n"
		}
		d.under(t, module)
		if got := d.refund(t, `{"amount": 50000, "for": `+strconv.Quote(want)+`}`).GetApproval().GetApprovers(); got != want {
			t.Errorf("%v: %q, want %q", members, got, want)
		}
	}
}

// TestApprovedCallCounts: the quota is taken when the call passes, and a call for
// which there is no room waits for nobody.
func TestI7_ApprovedCallCounts(t *testing.T) {
	d := newDesk(t)
	d.under(t, asking+`quota contains {"name": "q", "limit": 10, "window": "1h", "cost": input.arguments.amount} if input.tool.name == "create_refund"`)
	a, b := pending(t, d.refund(t, `{"amount":8}`)), pending(t, d.refund(t, `{"amount":7}`))
	d.approve(t, a, finance)
	d.approve(t, b, finance)
	if !allowed(d.refund(t, `{"amount":8}`)) {
		t.Fatal("what waits uses nothing")
	}
	refusedFor(t, "no room for what was approved", d.refund(t, `{"amount":7}`), v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED)
	if still, err := d.Approvals.Get(t.Context(), b); err != nil || still.State != approval.Approved {
		t.Errorf("the approval is %v, %v: no call has passed on it", still.State, err)
	}
	refusedFor(t, "no room", d.refund(t, `{"amount":6}`), v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED)
	refusedFor(t, "no amount", d.refund(t, `{}`), v1.ReasonCode_REASON_CODE_QUOTA_COST)
	refusedFor(t, "no room for the same again", d.refund(t, `{"amount":8}`), v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED)
}

// TestI7_CallThatLosesItsApprovalIsGivenBack: between being found approved and
// being used, an approval can run out or be used by another call.
func TestI7_CallThatLosesItsApprovalIsGivenBack(t *testing.T) {
	d := newDesk(t)
	d.under(t, asking+`quota contains {"name": "q", "limit": 1, "window": "24h"} if input.tool.name == "create_refund"`)
	d.approve(t, pending(t, d.refund(t, `{"amount":1}`)), finance)
	looks := 0
	d.Approvals = approval.New(d.store, approval.Options{Record: discard{}, Now: func() time.Time {
		if looks++; looks > 1 {
			return d.clock.Add(time.Hour)
		}
		return d.clock
	}})
	refusedFor(t, "too late", d.refund(t, `{"amount":1}`), v1.ReasonCode_REASON_CODE_APPROVAL_STATE)
	d.open(t)
	if !allowed(d.refund(t, `{"amount":1}`)) {
		t.Error("what the refused call had reserved was not given back")
	}
}

func TestI8_AnswersToTheServerArePartOfTheCall(t *testing.T) {
	d := newDesk(t)
	answered := func(responses string) *v1.DecideResponse {
		req := d.call("create_refund", `{"amount":1}`)
		req.InputResponses = []byte(responses)
		return d.decide(t, req)
	}
	id := pending(t, answered(`{"to":{"action":"accept","content":{"iban":"A"}}}`))
	d.approve(t, id, finance)
	for _, other := range []string{"", `{"to":{"action":"accept","content":{"iban":"B"}}}`} {
		if pending(t, answered(other)) == id {
			t.Errorf("the approval is for other answers than %q", other)
		}
	}
	if !allowed(answered(`{"to":{"content":{"iban":"A"},"action":"accept"}}`)) {
		t.Error("the call that was approved does not pass")
	}
}

// TestI8_WhatIsAboutTheFrameIsNoPartOfTheCall: methods without arguments are
// known by their parameters, of which _meta is another in every frame.
func TestI8_WhatIsAboutTheFrameIsNoPartOfTheCall(t *testing.T) {
	d := newDesk(t)
	d.under(t, `package policy.servers.stripe
approve contains "Ledgers need a person." if input.resource.scheme == "ledger"`)
	read := func(params string) *v1.DecideResponse {
		req := d.call("ledger://2026", params)
		req.Method = "resources/read"
		return d.decide(t, req)
	}
	id := pending(t, read(`{"uri":"ledger://2026","_meta":{"progressToken":1}}`))
	if again := pending(t, read(`{"_meta":{"progressToken":2},"uri":"ledger://2026"}`)); again != id {
		t.Error("the same call asks a second time")
	}
	if other := pending(t, read(`{"uri":"ledger://2026","cursor":"x"}`)); other == id {
		t.Error("another parameter is the same call")
	}
	d.approve(t, id, finance)
	if !allowed(read(`{"uri":"ledger://2026"}`)) {
		t.Error("the call that was approved does not pass")
	}
}
