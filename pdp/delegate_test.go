package pdp_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/identity"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func (p *point) acts(t *testing.T) []audit.Act {
	t.Helper()
	var all []audit.Act
	if err := p.log.Trail().Acts(t.Context(), audit.ActFilter{}, 0, func(a *audit.Act) error {
		all = append(all, *a)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func (p *point) delegate(t *testing.T, req *v1.DelegateGrantRequest) *v1.DelegateGrantResponse {
	t.Helper()
	res, err := p.DelegateGrant(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestDelegatedGrantIsWeaker(t *testing.T) {
	p := newPoint(t)
	parent, call := p.granted(t, identity.Grant{Owner: "olga", Servers: []string{"stripe", "other"}, Delegations: 2, ExpiresAt: time.Now().Add(time.Hour)})
	res := p.delegate(t, &v1.DelegateGrantRequest{
		Evidence: call("", "").GetEvidence(), Subject: &v1.Subject{Id: "agent:2"}, Servers: []string{"stripe"}, Tools: []string{"get_*"}, MaxUses: 1,
	})
	if res.GetToken() == "" || res.GetReasonCode() != 0 || !res.GetExpiresAt().AsTime().Equal(parent.ExpiresAt) {
		t.Fatalf("%v", res)
	}
	below := func(tool, arguments string) *v1.DecideResponse {
		req := p.call(tool, arguments)
		req.Evidence.BearerToken = res.GetToken()
		return p.decide(t, req)
	}
	if got := below("create_refund", `{"amount":1}`); got.GetEffect() != v1.Effect_EFFECT_HIDE {
		t.Errorf("a tool that it does not have: %v", got.GetEffect())
	}
	got := below("get_balance", `{}`)
	if !allowed(got) || got.GetSubject().GetId() != "agent:1/agent:2" || got.GetGrantId() != res.GetGrantId() {
		t.Fatalf("%v", got)
	}
	if r := p.records(t)[got.GetDecisionId()]; len(r.Chain) != 1 || r.Chain[0] != parent.ID {
		t.Errorf("chain on record: %v", r.Chain)
	}
	if got := below("get_balance", `{}`); got.GetReasonCode() != v1.ReasonCode_REASON_CODE_GRANT_USED_UP {
		t.Errorf("%v", got.GetReasonCode())
	}
	acts := p.acts(t)
	if len(acts) != 1 || acts[0].Act != "delegate-grant" || acts[0].Target != res.GetGrantId() || acts[0].Person != "agent:1" || acts[0].Via != "pep" || acts[0].Result != "taken" {
		t.Errorf("acts %+v", acts)
	}
	if _, err := p.grants.Revoke(t.Context(), parent.ID); err != nil {
		t.Fatal(err)
	}
	if got := below("get_balance", `{}`); got.GetReasonCode() != v1.ReasonCode_REASON_CODE_REVOKED_TOKEN {
		t.Errorf("I9: below a grant that was revoked: %v", got.GetReasonCode())
	}
}

func TestRefusedDelegations(t *testing.T) {
	p := newPoint(t)
	_, last := p.granted(t, identity.Grant{})
	_, narrow := p.granted(t, identity.Grant{Delegations: 1})
	for _, c := range []struct {
		name  string
		req   *v1.DelegateGrantRequest
		code  v1.ReasonCode
		says  string
		known bool // who asked, and so on the trail
	}{
		{"no token", &v1.DelegateGrantRequest{Subject: &v1.Subject{Id: "x"}}, v1.ReasonCode_REASON_CODE_UNAUTHENTICATED, "no token", false},
		{"may not", &v1.DelegateGrantRequest{Evidence: last("", "").GetEvidence(), Subject: &v1.Subject{Id: "x"}}, v1.ReasonCode_REASON_CODE_NOT_GRANTED, "below this one", true},
		{"wider", &v1.DelegateGrantRequest{Evidence: narrow("", "").GetEvidence(), Subject: &v1.Subject{Id: "x"}, Servers: []string{"other"}}, v1.ReasonCode_REASON_CODE_INVALID_ARGUMENTS, `"other"`, true},
		{"for nobody", &v1.DelegateGrantRequest{Evidence: narrow("", "").GetEvidence()}, v1.ReasonCode_REASON_CODE_INVALID_ARGUMENTS, "subject", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(p.acts(t))
			res := p.delegate(t, c.req)
			if res.GetToken() != "" || res.GetGrantId() != "" || res.GetReasonCode() != c.code || !strings.Contains(res.GetReason(), c.says) {
				t.Errorf("%v", res)
			}
			acts := p.acts(t)[before:]
			if c.known != (len(acts) == 1) || c.known && (acts[0].Result != "refused" || acts[0].Person != "agent:1") {
				t.Errorf("acts %+v", acts)
			}
		})
	}
	req := &v1.DelegateGrantRequest{ExpiresAt: &timestamppb.Timestamp{Nanos: -1}}
	if _, err := p.DelegateGrant(t.Context(), req); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no time: %v", err)
	}
}

// What can't be recorded is not done: the grant is of no use to anybody.
func TestI5_DelegationThatCannotBeRecorded(t *testing.T) {
	p := newPoint(t)
	parent, call := p.granted(t, identity.Grant{Delegations: 1})
	if err := p.log.Close(); err != nil {
		t.Fatal(err)
	}
	res, err := p.DelegateGrant(t.Context(), &v1.DelegateGrantRequest{Evidence: call("", "").GetEvidence(), Subject: &v1.Subject{Id: "x"}})
	if status.Code(err) != codes.Internal || res.GetToken() != "" {
		t.Errorf("%v, %v", res, err)
	}
	below, err := p.grants.Find(t.Context(), identity.Query{Limit: 9, Parent: parent.ID})
	if err != nil || len(below) != 1 || below[0].RevokedAt.IsZero() {
		t.Errorf("%+v, %v", below, err)
	}
}
