package main

import (
	"cmp"
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// acts are the methods by which people change something, apart from those whose
// services record for themselves. Each is on the audit trail before it is done.
var acts = map[string]func(req any) audit.Act{
	v1.GrantService_RevokeGrant_FullMethodName: func(req any) audit.Act {
		return audit.Act{Act: "revoke-grant", Target: req.(*v1.RevokeGrantRequest).GetId()}
	},
	v1.GrantService_RotateGrant_FullMethodName: func(req any) audit.Act {
		return audit.Act{Act: "rotate-grant", Target: req.(*v1.RotateGrantRequest).GetId(), Reason: overlapText(req.(*v1.RotateGrantRequest))}
	},
	v1.ServerService_PinServer_FullMethodName: func(req any) audit.Act {
		return audit.Act{Act: "pin", Target: req.(*v1.PinServerRequest).GetServer()}
	},
	v1.ServerService_ClassifyTools_FullMethodName: func(req any) audit.Act {
		var tools, classes []string
		for _, c := range req.(*v1.ClassifyToolsRequest).GetClassifications() {
			tools = append(tools, c.GetServer()+"/"+c.GetTool())
			classes = append(classes, cmp.Or(c.GetClass(), "as derived"))
		}
		return audit.Act{Act: "classify", Target: strings.Join(tools, ", "), Reason: strings.Join(classes, ", ")}
	},
	v1.CredentialService_SetSecret_FullMethodName: func(req any) audit.Act {
		r := req.(*v1.SetSecretRequest)
		return audit.Act{Act: "set-secret", Target: credential.ShownName(credential.KindSecret, r.GetName()), Reason: holderText(r.GetHolder())}
	},
	v1.CredentialService_DeleteCredential_FullMethodName: func(req any) audit.Act {
		r := req.(*v1.DeleteCredentialRequest)
		return audit.Act{Act: "delete-credential", Target: credential.ShownName(kindText(r.GetKind()), r.GetName()), Reason: kindText(r.GetKind()) + " " + holderText(r.GetHolder())}
	},
	v1.CredentialService_RotateCredential_FullMethodName: func(req any) audit.Act {
		r := req.(*v1.RotateCredentialRequest)
		return audit.Act{Act: "rotate-credential", Target: credential.ShownName(credential.KindAccount, r.GetName()), Reason: holderText(r.GetHolder())}
	},
	v1.ConsoleService_CreateSignInLink_FullMethodName: func(req any) audit.Act {
		return audit.Act{Act: "sign-in-link", Target: cmp.Or(req.(*v1.CreateSignInLinkRequest).GetPerson(), operator)}
	},
}

// streamedActs are those whose method answers with a stream.
var streamedActs = map[string]audit.Act{
	v1.CredentialService_Rekey_FullMethodName: {Act: "rekey", Target: "vault"},
}

// holderText says whose a credential is.
func holderText(holder string) string {
	if holder == "" {
		return "of all subjects"
	}
	return "of " + holder
}

// overlapText says how long the old token stays good.
func overlapText(req *v1.RotateGrantRequest) string {
	if d := req.GetOverlap().AsDuration(); d > 0 {
		return "the old token is good for another " + d.String()
	}
	return ""
}

// recordPruned revokes a grant that nobody uses.
func (p *decisionPoint) recordPruned(ctx context.Context, g *identity.Grant, revoke func(context.Context) error) error {
	return p.recorded(ctx, by(ctx, audit.Act{Act: "revoke-grant", Target: g.ID, Reason: "unused"}), revoke)
}

// by says who acts: whoever may open the admin socket, or the caller's
// certificate.
func by(ctx context.Context, a audit.Act) audit.Act {
	a.Person, a.Via, a.Result = operator, "cli", "taken"
	if names := callerNames(ctx); names != nil {
		a.Person, a.Via = strings.Join(names, ","), "api"
	}
	return a
}

// recordActs puts on the audit trail what people do over the services. What
// can't be recorded is not done, and what failed then has a second record.
func (p *decisionPoint) recordActs(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if info.FullMethod == v1.GrantService_CreateGrant_FullMethodName {
		return p.recordGrant(ctx, req, next)
	}
	about, is := acts[info.FullMethod]
	if !is {
		return next(ctx, req)
	}
	var res any
	err := p.recorded(ctx, by(ctx, about(req)), func(ctx context.Context) (err error) {
		res, err = next(ctx, req)
		return err
	})
	return res, err
}

// recordStreams is recordActs for methods that answer with a stream.
func (p *decisionPoint) recordStreams(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	a, is := streamedActs[info.FullMethod]
	if !is {
		return next(srv, stream)
	}
	return p.recorded(stream.Context(), by(stream.Context(), a), func(context.Context) error { return next(srv, stream) })
}

// recorded does what is on the audit trail by then; what failed has a second record.
func (p *decisionPoint) recorded(ctx context.Context, a audit.Act, do func(context.Context) error) error {
	if err := p.audit.Act(ctx, a); err != nil {
		return p.unrecorded(ctx, a, err)
	}
	err := do(ctx)
	if err != nil {
		a.Result = "failed"
		if err := p.audit.Act(context.WithoutCancel(ctx), a); err != nil {
			p.log.ErrorContext(ctx, "that an act failed could not be recorded", "act", a.Act, "target", a.Target, "error", err)
		}
	}
	return err
}

// recordGrant records a grant by the id that it has been given. Nobody has seen
// its token by then: one that can't be recorded is revoked.
func (p *decisionPoint) recordGrant(ctx context.Context, req any, next grpc.UnaryHandler) (any, error) {
	res, err := next(ctx, req)
	if err != nil {
		return nil, err
	}
	g := res.(*v1.CreateGrantResponse).GetGrant()
	a := by(ctx, audit.Act{Act: "create-grant", Target: g.GetId(), Reason: "for " + g.GetSubject().GetId()})
	if err := p.audit.Act(ctx, a); err != nil {
		return nil, p.unrecorded(ctx, a, p.grants.Withdraw(ctx, g.GetId(), err))
	}
	return res, nil
}

func (p *decisionPoint) unrecorded(ctx context.Context, a audit.Act, err error) error {
	p.log.ErrorContext(ctx, "an act could not be recorded", "act", a.Act, "target", a.Target, "person", a.Person, "error", err)
	return status.Error(codes.Internal, "this could not be recorded on the audit trail, so it was not done; the log of the PDP says why")
}
