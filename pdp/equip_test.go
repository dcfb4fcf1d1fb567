package pdp_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// source gives one material, and renews it by counting its generation.
type source struct {
	material credential.Material
	err      error
	asked    []credential.Request
	renewed  []int64
}

func (s *source) For(_ context.Context, r credential.Request) (credential.Material, error) {
	s.asked = append(s.asked, r)
	return s.material, s.err
}

func (s *source) Renew(_ context.Context, _ credential.Request, generation int64) (credential.Material, error) {
	s.renewed = append(s.renewed, generation)
	m := s.material
	m.Generation++
	return m, s.err
}

func (p *point) equippedBy(s *source) *point {
	p.Credentials = s
	p.ConsoleURL = "https://console.example"
	return p
}

func material() credential.Material {
	return credential.Material{
		Headers: []credential.Header{{Name: "Authorization", Value: "Bearer t1"}}, Query: []credential.Header{{Name: "key", Value: "q"}},
		Env: []credential.Header{{Name: "TOKEN", Value: "e"}}, Name: "user", Holder: "ada", Generation: 1,
	}
}

func TestAnAllowedCallCarriesItsCredential(t *testing.T) {
	s := &source{material: material()}
	p := newPoint(t).equippedBy(s)
	res := p.decide(t, p.call("get_balance", "{}"))
	var got []string
	for _, o := range res.GetObligations() {
		got = append(got, o.String())
	}
	want := []string{`set_header:{name:"Authorization" value:"Bearer t1"}`, `set_query:{name:"key" value:"q"}`, `set_environment:{name:"TOKEN" value:"e"}`}
	for i := range got {
		got[i] = strings.Join(strings.Fields(got[i]), " ") // protobuf varies its blanks on purpose
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if u := res.GetCredential(); u.GetName() != "user" || u.GetHolder() != "ada" || u.GetGeneration() != 1 {
		t.Errorf("credential %v", u)
	}
	if diff := cmp.Diff([]credential.Request{{Server: "stripe", Holder: "ada"}}, s.asked); diff != "" {
		t.Error(diff)
	}
}

// T7: a subject that the holder of a grant has named uses the accounts of whoever got
// the first grant, and not those of whom it is named after.
func TestT7_ADelegatedCallUsesTheAccountsOfItsRoot(t *testing.T) {
	s := &source{material: material()}
	p := newPoint(t).equippedBy(s)
	_, call := p.granted(t, identity.Grant{Servers: []string{"stripe"}, Delegations: 2, ExpiresAt: time.Now().Add(time.Hour)})
	res := p.delegate(t, &v1.DelegateGrantRequest{Evidence: call("", "").GetEvidence(), Subject: &v1.Subject{Id: "ada"}})
	req := p.call("get_balance", "{}")
	req.Evidence.BearerToken = res.GetToken()
	p.decide(t, req)
	if diff := cmp.Diff([]credential.Request{{Server: "stripe", Holder: "agent:1"}}, s.asked); diff != "" {
		t.Error(diff)
	}
}

// A grant's token is nobody else's to see: only an access token can be exchanged.
func TestI6_TheGrantTokenIsNotExchanged(t *testing.T) {
	s := &source{material: material()}
	p := newPoint(t).equippedBy(s)
	p.decide(t, p.call("get_balance", "{}"))
	if s.asked[0].SubjectToken != "" {
		t.Error("the grant's token is offered for an exchange")
	}
}

func TestRefusedCallsNeedNoCredential(t *testing.T) {
	s := &source{err: errors.New("must not be asked")}
	p := newPoint(t).equippedBy(s)
	for _, arguments := range []string{`{"amount":60000}`, `{"amount":20000}`} { // denied; waits for a person
		p.decide(t, p.call("create_refund", arguments))
	}
	if len(s.asked) > 0 {
		t.Errorf("asked: %+v", s.asked)
	}
}

func TestACallWithoutItsCredentialCostsNothing(t *testing.T) {
	s := &source{}
	p := newPoint(t).equippedBy(s)
	for _, c := range []struct {
		err    error
		code   v1.ReasonCode
		reason string
	}{
		{&credential.AccountNeeded{Server: "stripe", Name: "user", Holder: "a b"}, v1.ReasonCode_REASON_CODE_ACCOUNT_NEEDED, "a b has not connected an account of stripe."},
		{&credential.UnknownError{Server: "stripe", Name: "gone"}, v1.ReasonCode_REASON_CODE_POLICY_ERROR, "could not decide"},
		{errors.New("secret detail"), v1.ReasonCode_REASON_CODE_CREDENTIAL_UNAVAILABLE, "could not be had"},
	} {
		s.err = c.err
		res := p.decide(t, p.call("counted", "{}"))
		if res.GetEffect() != v1.Effect_EFFECT_DENY || res.GetReasonCode() != c.code || !strings.Contains(res.GetReason(), c.reason) {
			t.Errorf("%v: %v %v %q", c.err, res.GetEffect(), res.GetReasonCode(), res.GetReason())
		}
		if strings.Contains(res.GetReason(), "secret detail") || len(res.GetObligations()) > 0 || len(res.GetQuotas()) > 0 {
			t.Errorf("%v: %v", c.err, res)
		}
	}
	s.err = nil
	if res := p.decide(t, p.call("counted", "{}")); res.GetEffect() != v1.Effect_EFFECT_ALLOW {
		t.Errorf("the one call of the quota: %v %q", res.GetEffect(), res.GetReason())
	}
}

func (p *point) renew(t *testing.T, res *v1.DecideResponse) *v1.RenewCredentialResponse {
	t.Helper()
	again, err := p.RenewCredential(t.Context(), &v1.RenewCredentialRequest{DecisionId: res.GetDecisionId(), Server: "stripe", Credential: res.GetCredential()})
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestACredentialIsRenewedOnceForADecision(t *testing.T) {
	s := &source{material: material()}
	p := newPoint(t).equippedBy(s)
	listing := p.call("", "")
	listing.Method, listing.Target = "ping", nil
	for _, req := range []*v1.DecideRequest{listing} {
		res := p.decide(t, req)
		if res.GetEffect() != v1.Effect_EFFECT_ALLOW {
			t.Fatalf("%v", res)
		}
		if !res.GetCredential().GetRetriable() {
			t.Fatalf("%s is not retriable", req.GetMethod())
		}
		if again := p.renew(t, res); !again.GetRetry() || len(again.GetObligations()) != 3 {
			t.Errorf("first: %v", again)
		}
		if again := p.renew(t, res); again.GetRetry() || len(again.GetObligations()) > 0 {
			t.Errorf("second: %v", again)
		}
	}
}

// A call that may have changed something is not sent again, but the next one finds
// a good credential.
func TestI7_ACallThatMayHaveActedIsNotSentAgain(t *testing.T) {
	s := &source{material: material()}
	p := newPoint(t).equippedBy(s)
	res := p.decide(t, p.call("create_refund", `{"amount":100}`))
	if res.GetCredential().GetRetriable() {
		t.Error("a refund is retriable")
	}
	if again := p.renew(t, res); again.GetRetry() || len(again.GetObligations()) > 0 {
		t.Errorf("%v", again)
	}
	if diff := cmp.Diff([]int64{1}, s.renewed); diff != "" {
		t.Error(diff)
	}
}

// Credentials reach enforcement points by decisions alone.
func TestI6_RenewalIsForADecisionThatWasMadeHere(t *testing.T) {
	s := &source{material: material()}
	p := newPoint(t).equippedBy(s)
	res := p.decide(t, p.call("get_balance", "{}"))
	for name, change := range map[string]func(*v1.RenewCredentialRequest){
		"another decision": func(r *v1.RenewCredentialRequest) { r.DecisionId = "0192f0c0-0000-7000-8000-000000000000" },
		"another server":   func(r *v1.RenewCredentialRequest) { r.Server = "other" },
		"another holder":   func(r *v1.RenewCredentialRequest) { r.Credential.Holder = "root" },
		"retriable now":    func(r *v1.RenewCredentialRequest) { r.Credential.Retriable = !r.Credential.GetRetriable() },
		"no credential":    func(r *v1.RenewCredentialRequest) { r.Credential = nil },
	} {
		req := &v1.RenewCredentialRequest{DecisionId: res.GetDecisionId(), Server: "stripe", Credential: proto.CloneOf(res.GetCredential())}
		change(req)
		again, err := p.RenewCredential(t.Context(), req)
		if err != nil || again.GetRetry() || len(again.GetObligations()) > 0 || len(s.renewed) > 0 {
			t.Errorf("%s: %v, %v", name, again, err)
		}
		res = p.decide(t, p.call("get_balance", "{}")) // what was asked for wrongly is used up
	}
}
