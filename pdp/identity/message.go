package identity

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// wanted is the grant that a request asks for. The error is a status.
func wanted(req *mcpermitv1.CreateGrantRequest) (Grant, error) {
	g := Grant{
		Subject: Subject{
			ID:     req.GetSubject().GetId(),
			Type:   req.GetSubject().GetType(),
			Groups: req.GetSubject().GetGroups(),
		},
		Owner:       req.GetOwner(),
		Servers:     req.GetServers(),
		Tools:       req.GetTools(),
		Classes:     req.GetClasses(),
		Policies:    req.GetPolicies(),
		Labels:      req.GetLabels(),
		MaxUses:     req.GetMaxUses(),
		BoundTo:     req.GetBoundTo(),
		Held:        req.GetHeld(),
		Parent:      req.GetParentId(),
		Delegations: int(req.GetDelegations()),
	}
	for _, t := range []struct {
		name string
		from *timestamppb.Timestamp
		to   *time.Time
	}{{"not_before", req.GetNotBefore(), &g.NotBefore}, {"expires_at", req.GetExpiresAt(), &g.ExpiresAt}} {
		if t.from == nil {
			continue
		}
		if err := t.from.CheckValid(); err != nil {
			return Grant{}, status.Error(codes.InvalidArgument, t.name+" is not a time")
		}
		*t.to = t.from.AsTime()
	}
	return g, nil
}

func toProto(g *Grant) *mcpermitv1.Grant {
	return &mcpermitv1.Grant{
		Id:          g.ID,
		Subject:     &mcpermitv1.Subject{Id: g.Subject.ID, Type: g.Subject.Type, Groups: g.Subject.Groups},
		Owner:       g.Owner,
		Servers:     g.Servers,
		Tools:       g.Tools,
		Classes:     g.Classes,
		Policies:    g.Policies,
		Labels:      g.Labels,
		MaxUses:     g.MaxUses,
		BoundTo:     g.BoundTo,
		Held:        g.Held,
		ParentId:    g.Parent,
		Delegations: int32(g.Delegations),
		CreatedAt:   toTimestamp(g.CreatedAt),
		NotBefore:   toTimestamp(g.NotBefore),
		ExpiresAt:   toTimestamp(g.ExpiresAt),
		RevokedAt:   toTimestamp(g.RevokedAt),
		RotatedAt:   toTimestamp(g.RotatedAt),
		Uses:        g.Uses,
		Calls:       g.Calls,
		Denials:     g.Denials,
		LastUsedAt:  toTimestamp(g.LastUsedAt),
	}
}

func allToProto(grants []Grant) []*mcpermitv1.Grant {
	all := make([]*mcpermitv1.Grant, len(grants))
	for i := range grants {
		all[i] = toProto(&grants[i])
	}
	return all
}

func toTimestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
