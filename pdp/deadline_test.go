package pdp_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/quota"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// silence is what never answers.
type silence struct{}

func (silence) wait(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Stores and sources of which one thing hangs until its caller gives up.
type (
	noGrant struct {
		identity.Store
		silence
	}
	noUse struct {
		identity.Store
		silence
	}
	noQuota struct {
		quota.Store
		silence
	}
	noRequest struct {
		approval.Store
		silence
	}
	noAnswer struct {
		approval.Store
		silence
	}
	noCredential struct{ silence }
)

func (s noGrant) Grant(ctx context.Context, _ string) (identity.Record, error) {
	return identity.Record{}, s.wait(ctx)
}

func (s noUse) SpendGrants(ctx context.Context, _ identity.Spending) error { return s.wait(ctx) }

func (s noQuota) Update(ctx context.Context, _ time.Time, _ quota.Keys, _ func(quota.Loaded) quota.Changes) error {
	return s.wait(ctx)
}

func (s noRequest) OpenApproval(ctx context.Context, _ approval.Approval, _ int) (approval.Approval, error) {
	return approval.Approval{}, s.wait(ctx)
}

func (s noAnswer) ChangeApproval(ctx context.Context, _ string, _ func(*approval.Approval) error) (approval.Approval, error) {
	return approval.Approval{}, s.wait(ctx)
}

func (s noCredential) For(ctx context.Context, _ credential.Request) (credential.Material, error) {
	return credential.Material{}, s.wait(ctx)
}

func (s noCredential) Renew(ctx context.Context, _ credential.Request, _ int64) (credential.Material, error) {
	return credential.Material{}, s.wait(ctx)
}

// silenced is a point of which one part hangs, and a call that needs the part.
func silenced(t *testing.T, part string) (*point, *v1.DecideRequest) {
	t.Helper()
	p := newPoint(t)
	call := p.call("get_balance", `{}`)
	switch part {
	case "identity":
		p.Identity = identity.NewAuthenticator(noGrant{Store: p.store}, identity.Options{})
	case "uses":
		_, limited := p.granted(t, identity.Grant{MaxUses: 1})
		call = limited("get_balance", `{}`)
		p.Identity = identity.NewAuthenticator(noUse{Store: p.store}, identity.Options{})
	case "quota":
		call = p.call("counted", `{}`)
		p.Quotas = quota.NewLedger(quota.Options{Amounts: noQuota{Store: p.store}})
	case "approval":
		call = p.call("create_refund", `{"amount":20000}`)
		p.Approvals = approval.New(noRequest{Store: p.store}, approval.Options{Record: discard{}})
	case "approved":
		call = p.call("create_refund", `{"amount":20000}`)
		id := p.decide(t, call).GetApproval().GetId()
		grace := approval.Approver{ID: "grace", Groups: []string{"finance"}}
		if _, err := p.Approvals.Approve(t.Context(), id, grace, "", "test"); err != nil {
			t.Fatal(err)
		}
		p.Approvals = approval.New(noAnswer{Store: p.store}, approval.Options{Record: discard{}})
	case "credential":
		p.Credentials = noCredential{}
	}
	return p, call
}

// TestI5_APartThatHangsLeavesTimeForTheRecord holds that a frame whose decision
// waits in vain for one of its parts is refused while its caller still listens,
// and is on record once.
func TestI5_APartThatHangsLeavesTimeForTheRecord(t *testing.T) {
	for part, want := range map[string]struct {
		code   v1.ReasonCode
		reason string
	}{
		"identity":   {v1.ReasonCode_REASON_CODE_UNSPECIFIED, "Who you are could not be checked; try again."},
		"uses":       {v1.ReasonCode_REASON_CODE_UNSPECIFIED, "A use of the grant could not be counted; try again."},
		"quota":      {v1.ReasonCode_REASON_CODE_QUOTA_UNAVAILABLE, "could not be counted; try again."},
		"approval":   {v1.ReasonCode_REASON_CODE_APPROVAL_REQUIRED, "could not be stored; try again."},
		"approved":   {v1.ReasonCode_REASON_CODE_APPROVAL_REQUIRED, "could not be stored; try again."},
		"credential": {v1.ReasonCode_REASON_CODE_CREDENTIAL_UNAVAILABLE, "could not be had; try again."},
	} {
		t.Run(part, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, call := silenced(t, part)
				before := len(p.records(t))
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
				defer cancel()
				res, err := p.Decide(ctx, call)
				if took := time.Since(began); err != nil || took != 200*time.Millisecond || ctx.Err() != nil {
					t.Errorf("it took %s of 250ms: %v, %v", took, err, ctx.Err())
				}
				if res.GetEffect() != v1.Effect_EFFECT_DENY || res.GetReasonCode() != want.code || !strings.Contains(res.GetReason(), want.reason) || len(res.GetObligations()) > 0 {
					t.Errorf("%v", res)
				}
				records := p.records(t)
				if r := records[res.GetDecisionId()]; len(records) != before+1 || r == nil || r.Effect != "deny" || r.Reason != res.GetReason() {
					t.Errorf("I5: %d records, %+v", len(records)-before, r)
				}
				time.Sleep(time.Minute) // what serves several callers at once gives up by itself
			})
		})
	}
}
