package pdp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/identity"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// DelegateGrant implements mcpermit.v1.DecisionService. A refusal is a response
// without a token; an error says that the question could not be answered, and
// that no grant was made that anybody could use. Made grants, and refusals of
// whoever is known, are acts on the trail.
func (e *Engine) DelegateGrant(ctx context.Context, req *v1.DelegateGrantRequest) (*v1.DelegateGrantResponse, error) {
	want, err := delegated(req)
	if err != nil {
		return nil, err
	}
	// A grant that is held is looked for by server; a token has but one.
	var server string
	if len(want.Servers) > 0 {
		server = want.Servers[0]
	}
	who, err := e.Identity.Identify(ctx, evidence(req.GetEvidence()), server)
	if err != nil {
		return e.undelegated(ctx, nil, err)
	}
	g, token, err := e.Identity.Delegate(ctx, who, want)
	if err != nil {
		return e.undelegated(ctx, who, err)
	}
	if err := e.recordDelegation(ctx, who, &g); err != nil {
		return nil, err
	}
	e.Log.InfoContext(ctx, "grant delegated", "grant", g.ID, "subject", g.Subject.ID, "parent", g.Parent)
	res := &v1.DelegateGrantResponse{GrantId: g.ID, Token: token}
	if !g.ExpiresAt.IsZero() {
		res.ExpiresAt = timestamppb.New(g.ExpiresAt)
	}
	return res, nil
}

// delegated is the grant that is asked for.
func delegated(req *v1.DelegateGrantRequest) (identity.Grant, error) {
	s := req.GetSubject()
	g := identity.Grant{
		Subject: identity.Subject{ID: s.GetId(), Type: s.GetType(), Groups: s.GetGroups()},
		Servers: req.GetServers(), Tools: req.GetTools(), Classes: req.GetClasses(), Policies: req.GetPolicies(),
		Labels: req.GetLabels(), MaxUses: req.GetMaxUses(), Delegations: int(req.GetDelegations()),
	}
	for _, t := range []struct {
		name string
		from *timestamppb.Timestamp
		to   *time.Time
	}{{"not_before", req.GetNotBefore(), &g.NotBefore}, {"expires_at", req.GetExpiresAt(), &g.ExpiresAt}} {
		if t.from == nil {
			continue
		}
		if t.from.CheckValid() != nil {
			return g, status.Error(codes.InvalidArgument, t.name+" is not a time")
		}
		*t.to = t.from.AsTime()
	}
	return g, nil
}

// undelegated answers why no grant was made.
func (e *Engine) undelegated(ctx context.Context, who *identity.Identity, err error) (*v1.DelegateGrantResponse, error) {
	var res *v1.DelegateGrantResponse
	refusal := (*identity.Refusal)(nil)
	act := audit.Act{Act: delegateGrant, Via: "pep", Result: "refused"}
	switch {
	case errors.As(err, &refusal):
		res = &v1.DelegateGrantResponse{ReasonCode: refusalCodes[refusal.Code], Reason: refusal.Reason}
		if act.Target = refusal.GrantID; refusal.Subject != nil {
			act.Person = refusal.Subject.ID
		}
	case errors.Is(err, identity.ErrInvalidGrant):
		res = &v1.DelegateGrantResponse{ReasonCode: v1.ReasonCode_REASON_CODE_INVALID_ARGUMENTS, Reason: err.Error()}
		act.Person, act.Target = who.Subject.ID, who.GrantID()
	default:
		e.Log.ErrorContext(ctx, "a grant could not be delegated", "error", err)
		return nil, status.Error(codes.Unavailable, "the grant could not be made; try again")
	}
	if act.Reason = res.GetReason(); act.Person == "" {
		return res, nil
	}
	if err := e.Audit.Act(ctx, act); err != nil {
		e.Log.ErrorContext(ctx, "that a delegation was refused could not be recorded", "error", err)
	}
	return res, nil
}

// delegateGrant is what the trail calls it.
const delegateGrant = "delegate-grant"

// recordDelegation records a grant by the id that it has been given. Nobody has
// seen its token by then: one that can't be recorded is revoked.
func (e *Engine) recordDelegation(ctx context.Context, who *identity.Identity, g *identity.Grant) error {
	err := e.Audit.Act(ctx, audit.Act{
		Act: delegateGrant, Target: g.ID, Person: who.Subject.ID, Via: "pep", Result: "taken",
		Reason: fmt.Sprintf("for %s below %s", g.Subject.ID, g.Parent),
	})
	if err == nil {
		return nil
	}
	e.Log.ErrorContext(ctx, "a delegation could not be recorded", "grant", g.ID, "error", e.Identity.Withdraw(ctx, g.ID, err))
	return status.Error(codes.Internal, "this could not be recorded on the audit trail, so it was not done; the log of the PDP says why")
}
