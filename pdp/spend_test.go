package pdp_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// granted makes a grant and a call under it.
func (p *point) granted(t *testing.T, g identity.Grant) (identity.Grant, func(tool, arguments string) *v1.DecideRequest) {
	t.Helper()
	if g.Subject.ID == "" {
		g.Subject.ID = "agent:1"
	}
	if g.Servers == nil && g.Parent == "" {
		g.Servers = []string{"stripe"}
	}
	g, token, err := p.grants.Create(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return g, func(tool, arguments string) *v1.DecideRequest {
		req := p.call(tool, arguments)
		req.Evidence.BearerToken = token
		return req
	}
}

func (p *point) uses(t *testing.T, id string) int64 {
	t.Helper()
	g, err := p.grants.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return g.Uses
}

func TestUsedUpGrantIsRefused(t *testing.T) {
	p := newPoint(t)
	g, call := p.granted(t, identity.Grant{MaxUses: 2})
	for range 2 {
		if res := p.decide(t, call("get_balance", `{}`)); !allowed(res) {
			t.Fatal(res.GetReason())
		}
	}
	// What is refused anyway, and what is no call of a tool, uses nothing.
	_ = p.decide(t, call("create_refund", `{"amount":500000}`))
	ping := call("", "")
	ping.Method, ping.Target = "ping", nil
	if res := p.decide(t, ping); !allowed(res) {
		t.Errorf("ping: %s", res.GetReason())
	}
	res := p.decide(t, call("get_balance", `{}`))
	if allowed(res) || res.GetReasonCode() != v1.ReasonCode_REASON_CODE_GRANT_USED_UP || len(res.GetObligations()) != 0 {
		t.Errorf("a third call: %v %v", res.GetEffect(), res.GetReasonCode())
	}
	if r := p.records(t)[res.GetDecisionId()]; r.ReasonCode != "grant_used_up" || r.Grant != g.ID {
		t.Errorf("on record: %+v", r)
	}
	if n := p.uses(t, g.ID); n != 2 {
		t.Errorf("%d uses", n)
	}
}

// A call that is refused for the grant's uses gives back its quotas, and one that
// is refused for its quota does not cost a use.
func TestUsesAndQuotasAreTakenTogether(t *testing.T) {
	p := newCounting(t)
	_, once := p.granted(t, identity.Grant{MaxUses: 1})
	if res := p.decide(t, once("count", `{}`)); !allowed(res) {
		t.Fatal(res.GetReason())
	}
	if res := p.decide(t, once("count", `{}`)); res.GetReasonCode() != v1.ReasonCode_REASON_CODE_GRANT_USED_UP || len(res.GetQuotas()) != 0 {
		t.Fatalf("%v %v", res.GetReasonCode(), res.GetQuotas())
	}
	g, often := p.granted(t, identity.Grant{MaxUses: 9})
	for range 2 {
		_ = p.decide(t, often("count", `{}`))
	}
	if res := p.decide(t, often("count", `{}`)); res.GetReasonCode() != v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED {
		t.Fatalf("%v", res.GetReasonCode())
	}
	if n := p.uses(t, g.ID); n != 2 {
		t.Errorf("%d uses, want those of the 2 calls that passed", n)
	}
}

func TestOnlyAUseThatCertainlyDidNotArriveIsGivenBack(t *testing.T) {
	p := newPoint(t)
	g, call := p.granted(t, identity.Grant{MaxUses: 2})
	first := p.decide(t, call("get_balance", `{}`))
	p.complete(t, first, false)
	p.complete(t, first, false) // gives nothing back twice
	second, third := p.decide(t, call("get_balance", `{}`)), p.decide(t, call("get_balance", `{}`))
	if !allowed(second) || !allowed(third) {
		t.Fatal("2 of 2 were to be had after one was given back")
	}
	p.complete(t, second, true)
	if allowed(p.decide(t, call("get_balance", `{}`))) || p.uses(t, g.ID) != 2 {
		t.Errorf("%d uses", p.uses(t, g.ID))
	}
}

func TestUseOfACallWhoseRecordFailsIsGivenBack(t *testing.T) {
	p := newPoint(t)
	g, call := p.granted(t, identity.Grant{MaxUses: 2})
	if err := p.log.Close(); err != nil {
		t.Fatal(err)
	}
	if res := p.decide(t, call("get_balance", `{}`)); res.GetReasonCode() != v1.ReasonCode_REASON_CODE_AUDIT_UNAVAILABLE {
		t.Fatal(res.GetReasonCode())
	}
	if n := p.uses(t, g.ID); n != 0 {
		t.Errorf("%d uses", n)
	}
}

// Nobody is asked about a call that could not be made any more.
func TestNobodyIsAskedUnderAUsedUpGrant(t *testing.T) {
	p := newPoint(t)
	_, call := p.granted(t, identity.Grant{MaxUses: 1})
	if res := p.decide(t, call("create_refund", `{"amount":20000}`)); res.GetEffect() != v1.Effect_EFFECT_APPROVE {
		t.Fatalf("%v", res.GetEffect())
	}
	_ = p.decide(t, call("get_balance", `{}`))
	time.Sleep(time.Second) // what is known of the grant is as old at most
	if res := p.decide(t, call("create_refund", `{"amount":30000}`)); res.GetReasonCode() != v1.ReasonCode_REASON_CODE_GRANT_USED_UP {
		t.Errorf("%v %v", res.GetEffect(), res.GetReasonCode())
	}
}

func TestI7_NoRaceOverspendsAGrant(t *testing.T) {
	p := newPoint(t)
	root, one := p.granted(t, identity.Grant{MaxUses: 5, Delegations: 1})
	_, other := p.granted(t, identity.Grant{Parent: root.ID, MaxUses: 4})
	var mu sync.Mutex
	n := 0
	var all sync.WaitGroup
	for i := range 32 {
		call := one
		if i%2 == 0 {
			call = other
		}
		all.Go(func() {
			res, err := p.Decide(t.Context(), call("get_balance", `{}`))
			mu.Lock()
			defer mu.Unlock()
			if err == nil && allowed(res) {
				n++
			}
		})
	}
	all.Wait()
	if n != 5 || p.uses(t, root.ID) != 5 {
		t.Errorf("%d calls passed, %d uses, want 5", n, p.uses(t, root.ID))
	}
}

// Whoever holds a grant could make as many as it likes: a quota per grant is one
// for all that go back to the same.
func TestI7_AGrantBelowHasNoQuotaOfItsOwn(t *testing.T) {
	p := newPoint(t)
	snapshot := build(t, rego)
	p.Policy = func() *policy.Snapshot { return snapshot }
	root, one := p.granted(t, identity.Grant{Delegations: 1})
	_, other := p.granted(t, identity.Grant{Parent: root.ID})
	if res := p.decide(t, one("counted", `{}`)); !allowed(res) {
		t.Fatal(res.GetReason())
	}
	if res := p.decide(t, other("counted", `{}`)); res.GetReasonCode() != v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED {
		t.Errorf("%v", res.GetReasonCode())
	}
}

func TestWhatIsDoneUnderAGrantIsKnown(t *testing.T) {
	p := newPoint(t)
	g, call := p.granted(t, identity.Grant{})
	ping := call("", "")
	ping.Method, ping.Target = "ping", nil
	for _, req := range []*v1.DecideRequest{
		call("get_balance", `{}`), call("get_balance", `{}`), // called
		call("create_refund", `{"amount":500000}`), call("delete_customer", `{}`), // denied and hidden
		call("create_refund", `{"amount":20000}`), ping, // neither
	} {
		_ = p.decide(t, req)
	}
	if err := p.grants.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := p.grants.Get(t.Context(), g.ID)
	if err != nil || got.Calls != 2 || got.Denials != 2 || time.Since(got.LastUsedAt) > time.Minute {
		t.Errorf("%d calls, %d denials, last used %v, %v", got.Calls, got.Denials, got.LastUsedAt, err)
	}
}

func TestGrantThatIsNotGoodYet(t *testing.T) {
	p := newPoint(t)
	_, call := p.granted(t, identity.Grant{NotBefore: time.Now().Add(time.Hour)})
	if res := p.decide(t, call("get_balance", `{}`)); res.GetReasonCode() != v1.ReasonCode_REASON_CODE_INVALID_TOKEN || res.GetSubject().GetId() != "agent:1" {
		t.Errorf("%v", res)
	}
}

// proven is a prover of one subject.
type proven identity.Proof

func (p proven) Prove(_ context.Context, e identity.Evidence) (identity.Proof, error) {
	if e.BearerToken != "an access token" {
		return identity.Proof{}, errors.New("unexpected evidence")
	}
	return identity.Proof(p), nil
}

// A subject that needs a grant and holds none is refused, and that is no 401.
func TestProvenSubjectWithoutAGrant(t *testing.T) {
	p := newPoint(t)
	for needs, want := range map[bool]v1.ReasonCode{true: v1.ReasonCode_REASON_CODE_NOT_GRANTED, false: v1.ReasonCode_REASON_CODE_POLICY} {
		subject := identity.Subject{ID: "ada", Type: "person", Issuer: "https://idp.example", Actor: "agent:7", Claims: []byte(`{"dept":"x"}`)}
		p.Identity = identity.NewAuthenticator(p.store, identity.Options{Prover: proven{Subject: subject, NeedsGrant: needs}})
		req := p.call("get_balance", `{}`)
		req.Evidence = &v1.Evidence{BearerToken: "an access token", Resource: "https://gw.example/mcp/stripe"}
		res := p.decide(t, req)
		if res.GetReasonCode() != want || res.GetGrantId() != "" || res.GetSubject().GetIssuer() != "https://idp.example" {
			t.Errorf("needs a grant: %t: %v", needs, res)
		}
		r := p.records(t)[res.GetDecisionId()]
		if r.Subject.Issuer != "https://idp.example" || r.Subject.Actor != "agent:7" || r.Grant != "" {
			t.Errorf("on record: %+v", r.Subject)
		}
		if !needs {
			if in, err := pdp.InputOf(r); err != nil || in.Grant != nil || string(in.Subject.Claims) != `{"dept":"x"}` {
				t.Errorf("replayed from %+v, %v", in, err)
			}
		}
	}
}

// A quota per grant does not fail where there is none.
func TestQuotaPerGrantWithoutAGrant(t *testing.T) {
	p := newPoint(t)
	p.Identity = identity.NewAuthenticator(p.store, identity.Options{Prover: proven{Subject: identity.Subject{ID: "ada", Type: "person"}}})
	req := p.call("counted", `{}`)
	req.Evidence = &v1.Evidence{BearerToken: "an access token", Resource: "https://gw.example/mcp/stripe"}
	if res := p.decide(t, req); !allowed(res) {
		t.Error(res.GetReason())
	}
	if res := p.decide(t, req); res.GetReasonCode() != v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED {
		t.Errorf("%v", res.GetReasonCode())
	}
}

// What of the input is masked on record is not replayed as something else.
func TestI12_MaskedClaimsAreNotReplayed(t *testing.T) {
	p := newPoint(t)
	subject := identity.Subject{ID: "ada", Type: "person", Claims: []byte(`{"password":"hunter2"}`)}
	p.Identity = identity.NewAuthenticator(p.store, identity.Options{Prover: proven{Subject: subject}})
	req := p.call("get_balance", `{}`)
	req.Evidence = &v1.Evidence{BearerToken: "an access token", Resource: "https://gw.example/mcp/stripe"}
	res := p.decide(t, req)
	r := p.records(t)[res.GetDecisionId()]
	if _, err := pdp.InputOf(r); !errors.Is(err, pdp.ErrMasked) || strings.Contains(string(r.Input), "hunter2") {
		t.Errorf("%s: %v", r.Input, err)
	}
}
