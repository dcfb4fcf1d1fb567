package pdp_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/store"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const rego = `package policy.servers.stripe

# METADATA
# title: Refund cap
# custom: {id: refund-cap}
deny contains "Refund exceeds the policy limit." if {
	input.tool.name == "create_refund"
	not input.arguments.amount <= 50000
}

approve contains {"reason": "A person looks at refunds above 100.00", "approvers": ["group:finance"], "expires": "10m"} if {
	input.tool.name == "create_refund"
	input.arguments.amount > 10000
}

hide contains "Not offered to agents" if input.tool.name == "delete_customer"

allow contains "Within the cap" if {
	input.tool.name == "create_refund"
	input.arguments.amount > 0
	input.arguments.amount <= 50000
}

allow contains "Reading is free" if input.tool.name == "get_balance"

allow contains "Counted" if input.tool.name == "counted"

quota contains {"name": "q", "limit": 1, "window": "1h", "per": ["grant"]} if input.tool.name == "counted"

mask contains "/note" if input.tool.name == "create_refund"
`

const refundTool = `{"name":"create_refund","inputSchema":{"type":"object","properties":{"amount":{"type":"integer"},"note":{"type":"string"}},"required":["amount"],"additionalProperties":false}}`

// point is an engine over real parts.
type point struct {
	*pdp.Engine
	token  string
	grants *identity.Authenticator
	log    *audit.Log
	store  *store.SQLite
	dir    string
}

// discard keeps no record of votes.
type discard struct{}

func (discard) Act(context.Context, approval.Act) error { return nil }

func newPoint(t testing.TB) *point {
	t.Helper()
	ctx := t.Context()
	dir := t.TempDir()
	s, err := store.Open(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	log, err := audit.Open(audit.Options{Dir: dir + "/audit", Fsync: audit.FsyncNever})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	cat, err := catalog.New(ctx, s, []catalog.Server{{Name: "stripe"}, {Name: "other"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	values, err := credential.NewValues(credential.ValuesOptions{Servers: map[string]credential.ServerValues{
		"stripe": {Headers: []credential.Header{{Name: "Authorization", Value: "Bearer upstream-secret"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	snapshot := build(t, rego)
	grants := identity.NewAuthenticator(s, identity.Options{})
	p := &point{grants: grants, log: log, store: s, dir: dir, Engine: pdp.NewEngine(pdp.Parts{
		Identity: grants, Policy: func() *policy.Snapshot { return snapshot }, Catalog: cat,
		Approvals:   approval.New(s, approval.Options{Record: discard{}}),
		Quotas:      quota.NewLedger(quota.Options{Amounts: s}),
		Credentials: values,
		Audit:       log, Servers: map[string]pdp.Server{"stripe": {}, "other": {}},
	})}
	_, p.token, err = grants.Create(ctx, identity.Grant{Subject: identity.Subject{ID: "ada", Type: "person"}, Servers: []string{"stripe"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func build(t testing.TB, module string) *policy.Snapshot {
	t.Helper()
	parsed, err := ast.ParseModuleWithOpts("stripe.rego", module, ast.ParserOptions{ProcessAnnotation: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := policy.Build(t.Context(), &bundle.Bundle{
		Data:    map[string]any{},
		Modules: []bundle.ModuleFile{{URL: "stripe.rego", Path: "stripe.rego", Raw: []byte(module), Parsed: parsed}},
	}, policy.Options{Deadline: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// call is a tools/call of the tool by the point's grant.
func (p *point) call(tool, arguments string) *v1.DecideRequest {
	return &v1.DecideRequest{
		Evidence: &v1.Evidence{BearerToken: p.token, Peer: "127.0.0.1:1"}, Server: "stripe",
		Kind: v1.FrameKind_FRAME_KIND_REQUEST, Method: "tools/call", Id: "1",
		Target: &v1.Target{Name: tool}, Arguments: []byte(arguments),
		Context: &v1.FrameContext{Transport: v1.Transport_TRANSPORT_HTTP, Direction: v1.Direction_DIRECTION_TO_SERVER},
	}
}

func (p *point) decide(t *testing.T, req *v1.DecideRequest) *v1.DecideResponse {
	t.Helper()
	res, err := p.Decide(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestDecide(t *testing.T) {
	p := newPoint(t)
	with := func(req *v1.DecideRequest, change func(*v1.DecideRequest)) *v1.DecideRequest {
		change(req)
		return req
	}
	for _, c := range []struct {
		name   string
		req    *v1.DecideRequest
		effect v1.Effect
		code   v1.ReasonCode
		reason string
	}{
		{"allowed", p.call("create_refund", `{"amount":5000}`), v1.Effect_EFFECT_ALLOW, v1.ReasonCode_REASON_CODE_POLICY, "Within the cap"},
		{"over the cap", p.call("create_refund", `{"amount":500000}`), v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_POLICY, "Refund exceeds the policy limit."},
		// OPA lifts the reference out of the negation, so that the deny rule does
		// not fire without an amount; only the bounded allow keeps the call out.
		{"no amount", p.call("create_refund", `{}`), v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_NO_MATCH, "No rule allows this call with these arguments."},
		{"a person first", p.call("create_refund", `{"amount":20000}`), v1.Effect_EFFECT_APPROVE, v1.ReasonCode_REASON_CODE_APPROVAL_REQUIRED, "A person looks at refunds above 100.00"},
		{"hidden by a rule", p.call("delete_customer", `{}`), v1.Effect_EFFECT_HIDE, v1.ReasonCode_REASON_CODE_POLICY, ""},
		{"hidden by the default", p.call("unheard_of", `{}`), v1.Effect_EFFECT_HIDE, v1.ReasonCode_REASON_CODE_NO_MATCH, ""},
		{"listed, no rule for these arguments", p.call("create_refund", `{"amount":0}`), v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_NO_MATCH, "No rule allows this call with these arguments."},
		{"not in the server's listing", with(p.call("get_balance", `{}`), func(r *v1.DecideRequest) { r.Target.Presence = v1.Presence_PRESENCE_ABSENT }), v1.Effect_EFFECT_HIDE, v1.ReasonCode_REASON_CODE_UNKNOWN_TARGET, ""},
		{"arguments against the schema", with(p.call("create_refund", `{"amount":"5000"}`), func(r *v1.DecideRequest) { r.Target.Definition = []byte(refundTool) }), v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_POLICY, "Refund exceeds the policy limit."},
		{"undeclared argument", with(p.call("create_refund", `{"amount":5,"Amount":6}`), func(r *v1.DecideRequest) { r.Target.Definition = []byte(refundTool) }), v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_INVALID_ARGUMENTS, "*"},
		{"unknown method", with(p.call("", ``), func(r *v1.DecideRequest) { r.Method, r.Target = "vendor/thing", nil }), v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_NO_MATCH, "No rule allows this."},
		{"ping", with(p.call("", ``), func(r *v1.DecideRequest) { r.Method, r.Target = "ping", nil }), v1.Effect_EFFECT_ALLOW, v1.ReasonCode_REASON_CODE_NO_MATCH, "*"},
		{"sampling towards the client", with(p.call("", ``), func(r *v1.DecideRequest) {
			r.Method, r.Target, r.Context.Direction = "sampling/createMessage", nil, v1.Direction_DIRECTION_TO_CLIENT
		}), v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_NO_MATCH, "*"},
		{"no token", with(p.call("get_balance", `{}`), func(r *v1.DecideRequest) { r.Evidence.BearerToken = "" }), v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_UNAUTHENTICATED, "*"},
		{"somebody's token", with(p.call("get_balance", `{}`), func(r *v1.DecideRequest) { r.Evidence.BearerToken = "eyJhbGciOiJub25lIn0.e30." }), v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_INVALID_TOKEN, "*"},
		{"another server", with(p.call("get_balance", `{}`), func(r *v1.DecideRequest) { r.Server = "other" }), v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_SERVER_NOT_GRANTED, "*"},
		{"malformed", with(p.call("get_balance", `{}`), func(r *v1.DecideRequest) { r.Fault = &v1.Fault{Rule: "duplicate-name", Reason: "two names are equal"} }), v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_MALFORMED, "two names are equal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := p.decide(t, c.req)
			if c.reason == "*" {
				c.reason = res.GetReason()
			}
			got := []any{res.GetEffect(), res.GetReasonCode(), res.GetReason()}
			if diff := cmp.Diff([]any{c.effect, c.code, c.reason}, got); diff != "" {
				t.Error(diff)
			}
			record, err := p.log.Find(t.Context(), res.GetDecisionId())
			if err != nil {
				t.Fatalf("I5: %v", err)
			}
			if want := strings.ToLower(strings.TrimPrefix(c.effect.String(), "EFFECT_")); record.Effect != want {
				t.Errorf("the record says %s, want %s", record.Effect, want)
			}
		})
	}
}

func TestDecideNamesTheRule(t *testing.T) {
	p := newPoint(t)
	res := p.decide(t, p.call("create_refund", `{"amount":500000}`))
	r := res.GetRules()[0]
	got := []any{len(res.GetRules()), r.GetPath(), r.GetId(), r.GetFile(), r.GetLine(), r.GetTitle()}
	if diff := cmp.Diff([]any{1, "policy.servers.stripe.deny", "refund-cap", "stripe.rego", int32(6), "Refund cap"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecideObligations(t *testing.T) {
	p := newPoint(t)
	allowed := p.decide(t, p.call("get_balance", `{}`))
	if n := len(allowed.GetObligations()); n != 1 || allowed.GetObligations()[0].GetSetHeader().GetValue() != "Bearer upstream-secret" {
		t.Errorf("%d obligations", n)
	}
	denied := p.decide(t, p.call("create_refund", `{"amount":500000}`))
	if len(denied.GetObligations()) != 0 {
		t.Error("I6: a denial carries the credential")
	}
}

// TestI6_RecordIsMasked holds that neither token nor credential nor what the
// policy masks is in the trail.
func TestI6_RecordIsMasked(t *testing.T) {
	p := newPoint(t)
	res := p.decide(t, p.call("create_refund", `{"amount":5000,"note":"for Ms Lovelace"}`))
	record, err := p.log.Find(t.Context(), res.GetDecisionId())
	if err != nil {
		t.Fatal(err)
	}
	b, err := record.JSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{p.token, "upstream-secret", "Lovelace"} {
		if strings.Contains(string(b), secret) {
			t.Errorf("the record has %q: %s", secret, b)
		}
	}
	if !strings.Contains(string(record.Arguments), "5000") {
		t.Errorf("the amount is gone too: %s", record.Arguments)
	}
}

// TestI9_RevokedAtOnce holds that the call after a revocation is refused.
func TestI9_RevokedAtOnce(t *testing.T) {
	p := newPoint(t)
	res := p.decide(t, p.call("get_balance", `{}`))
	if _, err := p.grants.Revoke(t.Context(), res.GetGrantId()); err != nil {
		t.Fatal(err)
	}
	res = p.decide(t, p.call("get_balance", `{}`))
	if res.GetEffect() != v1.Effect_EFFECT_DENY || res.GetReasonCode() != v1.ReasonCode_REASON_CODE_REVOKED_TOKEN {
		t.Errorf("after revocation: %v", res)
	}
}

// TestI5_NoRecordNoCall holds that a call that can't be recorded is refused.
func TestI5_NoRecordNoCall(t *testing.T) {
	p := newPoint(t)
	if err := p.log.Close(); err != nil {
		t.Fatal(err)
	}
	res := p.decide(t, p.call("get_balance", `{}`))
	if res.GetEffect() != v1.Effect_EFFECT_DENY || res.GetReasonCode() != v1.ReasonCode_REASON_CODE_AUDIT_UNAVAILABLE || len(res.GetObligations()) != 0 {
		t.Errorf("without a trail: %v", res)
	}
}

// TestI1_NoPolicy holds that without a policy everything is denied.
func TestI1_NoPolicy(t *testing.T) {
	p := newPoint(t)
	p.Policy = func() *policy.Snapshot { return nil }
	if res := p.decide(t, p.call("get_balance", `{}`)); res.GetReasonCode() != v1.ReasonCode_REASON_CODE_NO_POLICY || res.GetEffect() != v1.Effect_EFFECT_DENY {
		t.Errorf("without a policy: %v", res)
	}
	list, err := p.DecideList(t.Context(), p.listing("get_balance"))
	if err != nil || list.GetItems()[0].GetEffect() == v1.Effect_EFFECT_ALLOW {
		t.Errorf("without a policy something is listed: %v %v", list, err)
	}
}

func (p *point) listing(names ...string) *v1.DecideListRequest {
	req := &v1.DecideListRequest{Evidence: &v1.Evidence{BearerToken: p.token}, Server: "stripe", Method: "tools/list"}
	for _, n := range names {
		req.Items = append(req.Items, &v1.Target{Name: n, Definition: []byte(`{"name":"` + n + `","inputSchema":{"type":"object"}}`)})
	}
	return req
}

func TestI4_Listing(t *testing.T) {
	p := newPoint(t)
	shown := func(req *v1.DecideListRequest) []bool {
		t.Helper()
		res, err := p.DecideList(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		out := make([]bool, len(res.GetItems()))
		for i, item := range res.GetItems() {
			out[i] = item.GetEffect() == v1.Effect_EFFECT_ALLOW
		}
		return out
	}
	names := []string{"create_refund", "delete_customer", "get_balance", "unheard_of"}
	if diff := cmp.Diff([]bool{true, false, true, false}, shown(p.listing(names...))); diff != "" {
		t.Error(diff)
	}
	// A grant for some tools lists those only; the others are unknown.
	_, narrow, err := p.grants.Create(t.Context(), identity.Grant{Subject: identity.Subject{ID: "bot", Type: "agent"}, Servers: []string{"*"}, Tools: []string{"get_*"}})
	if err != nil {
		t.Fatal(err)
	}
	req := p.listing(names...)
	req.Evidence.BearerToken = narrow
	if diff := cmp.Diff([]bool{false, false, true, false}, shown(req)); diff != "" {
		t.Error(diff)
	}
	call := p.call("create_refund", `{"amount":1}`)
	call.Evidence.BearerToken = narrow
	if res := p.decide(t, call); res.GetEffect() != v1.Effect_EFFECT_HIDE {
		t.Errorf("a tool that the grant does not cover: %v", res.GetEffect())
	}
	req.Evidence.BearerToken = "mcpg_nobody"
	if diff := cmp.Diff([]bool{false, false, false, false}, shown(req)); diff != "" {
		t.Error(diff)
	}
}

// Listed tells people what a listing would show, without one.
func TestListedAgreesWithAListing(t *testing.T) {
	p := newPoint(t)
	names := []string{"create_refund", "delete_customer", "get_balance", "unheard_of"}
	for _, g := range []identity.Grant{
		{Subject: identity.Subject{ID: "bot", Type: "agent"}, Servers: []string{"*"}, Tools: []string{"get_*"}},
		{Subject: identity.Subject{ID: "eve", Type: "agent"}, Servers: []string{"other"}},
		{Subject: identity.Subject{ID: "ann", Type: "person"}, Servers: []string{"stripe"}},
	} {
		grant, token, err := p.grants.Create(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		req := p.listing(names...)
		req.Evidence.BearerToken = token
		res, err := p.DecideList(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]bool, len(names))
		tools := make([]catalog.Tool, len(names))
		for i, item := range res.GetItems() {
			want[i] = item.GetEffect() == v1.Effect_EFFECT_ALLOW
			tools[i] = p.Catalog.Lookup("stripe", names[i], false, req.GetItems()[i].GetDefinition())
		}
		got, err := p.Listed(t.Context(), &identity.Identity{Subject: grant.Subject, Grant: &grant}, "stripe", tools)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: a listing (-) and Listed (+):\n%s", g.Subject.ID, diff)
		}
	}
}

func TestApproveOpensOnePendingRecord(t *testing.T) {
	p := newPoint(t)
	first := p.decide(t, p.call("create_refund", `{"amount":20000,"note":"x"}`))
	again := p.decide(t, p.call("create_refund", `{ "note":"x", "amount":20000}`))
	other := p.decide(t, p.call("create_refund", `{"amount":20001,"note":"x"}`))
	if first.GetApproval().GetId() == "" || first.GetApproval().GetId() != again.GetApproval().GetId() {
		t.Errorf("the same call opened %v and %v", first.GetApproval(), again.GetApproval())
	}
	if first.GetApproval().GetId() == other.GetApproval().GetId() {
		t.Error("another amount has the same approval")
	}
	if open := time.Until(first.GetApproval().GetExpiresAt().AsTime()); open < 9*time.Minute || open > 10*time.Minute {
		t.Errorf("open for %v, the rule says 10m", open)
	}
}

// TestDecideEnds holds that a caller that went away gets no allow.
func TestDecideEnds(t *testing.T) {
	p := newPoint(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("gone"))
	res, err := p.Decide(ctx, p.call("get_balance", `{}`))
	if err == nil && res.GetEffect() == v1.Effect_EFFECT_ALLOW {
		t.Errorf("allowed for nobody: %v", res)
	}
}

// TestListSaysWhyNothingIsListed has what a PEP asks about open streams.
func TestListSaysWhyNothingIsListed(t *testing.T) {
	p := newPoint(t)
	ask := func(change func(*v1.DecideListRequest)) v1.ReasonCode {
		req := p.listing()
		change(req)
		res, err := p.DecideList(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return res.GetReasonCode()
	}
	same := func(*v1.DecideListRequest) {}
	if got := ask(same); got != v1.ReasonCode_REASON_CODE_UNSPECIFIED {
		t.Errorf("a good grant: %v", got)
	}
	if got := ask(func(r *v1.DecideListRequest) { r.Server = "other" }); got != v1.ReasonCode_REASON_CODE_SERVER_NOT_GRANTED {
		t.Errorf("another server: %v", got)
	}
	if got := ask(func(r *v1.DecideListRequest) { r.Evidence.BearerToken = "" }); got != v1.ReasonCode_REASON_CODE_UNAUTHENTICATED {
		t.Errorf("no token: %v", got)
	}
	grants, err := p.grants.List(t.Context(), 10, false)
	if err != nil || len(grants) != 1 {
		t.Fatalf("%v, %v", grants, err)
	}
	if _, err := p.grants.Revoke(t.Context(), grants[0].ID); err != nil {
		t.Fatal(err)
	}
	if got := ask(same); got != v1.ReasonCode_REASON_CODE_REVOKED_TOKEN {
		t.Errorf("I9, a revoked grant: %v", got)
	}
}

// TestAWholeListingForgetsWhatIsGone: a page or a part says nothing of the rest.
func TestAWholeListingForgetsWhatIsGone(t *testing.T) {
	p := newPoint(t)
	list := func(whole bool, names ...string) {
		req := p.listing(names...)
		req.Whole = whole
		if _, err := p.DecideList(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	known := func() (n int) {
		tools, err := p.Catalog.Tools("stripe")
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range tools {
			if tool.Listed {
				n++
			}
		}
		return n
	}
	list(true, "get_balance", "create_refund")
	list(false, "get_balance")
	list(false)
	if got := known(); got != 2 {
		t.Errorf("%d tools are known after a part of the listing, want 2", got)
	}
	list(true, "get_balance")
	if got := known(); got != 1 {
		t.Errorf("%d tools are known after the whole listing, want 1", got)
	}
}

// TestADecisionIsCompletedOnce: a PEP that got no answer in time asks again.
func TestADecisionIsCompletedOnce(t *testing.T) {
	p := newPoint(t)
	now := time.Now()
	p.Now = func() time.Time { return now }
	first, second := p.decide(t, p.call("get_balance", `{}`)), p.decide(t, p.call("get_balance", `{}`))
	complete := func(id string, status int32) error {
		_, err := p.Complete(t.Context(), &v1.CompleteRequest{DecisionId: id, Outcome: &v1.Outcome{Forwarded: true, Status: status}})
		return err
	}
	for i, id := range []string{first.GetDecisionId(), first.GetDecisionId(), second.GetDecisionId(), first.GetDecisionId()} {
		if err := complete(id, int32(200+i)); err != nil {
			t.Fatal(err)
		}
		now = now.Add(15 * time.Second)
	}
	if err := complete("no id", 200); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a completion of nothing: %v", err)
	}
	if err := p.log.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(p.dir, "audit", "*.jsonl"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("%v, %v", segments, err)
	}
	trail, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(trail), `"type":"outcome"`); n != 2 || strings.Contains(string(trail), `"status":201`) || strings.Contains(string(trail), `"status":203`) {
		t.Errorf("%d outcomes on record, want one for each decision:\n%s", n, trail)
	}
}
