package identity

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Bounds of ListGrants.
const (
	defaultLimit = 100
	maxLimit     = 10_000
)

// Service is the gRPC GrantService over an [Authenticator].
type Service struct {
	mcpermitv1.UnimplementedGrantServiceServer
	grants *Authenticator
	log    *slog.Logger
}

var _ mcpermitv1.GrantServiceServer = (*Service)(nil)

// NewService returns the service. A nil log is the default logger.
func NewService(a *Authenticator, log *slog.Logger) *Service {
	if log == nil {
		log = slog.Default()
	}
	return &Service{grants: a, log: log}
}

// CreateGrant answers INVALID_ARGUMENT when the grant that is asked for makes
// no sense, and says why.
func (s *Service) CreateGrant(ctx context.Context, req *mcpermitv1.CreateGrantRequest) (*mcpermitv1.CreateGrantResponse, error) {
	want := Grant{
		Subject: Subject{
			ID:     req.GetSubject().GetId(),
			Type:   req.GetSubject().GetType(),
			Groups: req.GetSubject().GetGroups(),
		},
		Owner:   req.GetOwner(),
		Servers: req.GetServers(),
		Tools:   req.GetTools(),
		Labels:  req.GetLabels(),
	}
	if t := req.GetExpiresAt(); t != nil {
		if err := t.CheckValid(); err != nil {
			return nil, status.Error(codes.InvalidArgument, "expires_at is not a time")
		}
		want.ExpiresAt = t.AsTime()
	}
	g, token, err := s.grants.Create(ctx, want)
	if err != nil {
		return nil, s.fault(ctx, "create a grant", err)
	}
	s.log.InfoContext(ctx, "grant created", "grant", g.ID, "subject", g.Subject.ID, "servers", g.Servers)
	return &mcpermitv1.CreateGrantResponse{Grant: toProto(&g), Token: token}, nil
}

// GetGrant answers NOT_FOUND for an id that does not exist.
func (s *Service) GetGrant(ctx context.Context, req *mcpermitv1.GetGrantRequest) (*mcpermitv1.GetGrantResponse, error) {
	g, err := s.grants.Get(ctx, req.GetId())
	if err != nil {
		return nil, s.fault(ctx, "read a grant", err)
	}
	return &mcpermitv1.GetGrantResponse{Grant: toProto(&g)}, nil
}

// ListGrants returns the newest first.
func (s *Service) ListGrants(ctx context.Context, req *mcpermitv1.ListGrantsRequest) (*mcpermitv1.ListGrantsResponse, error) {
	limit := int(req.GetLimit())
	switch {
	case limit < 0:
		return nil, status.Error(codes.InvalidArgument, "limit is negative")
	case limit == 0:
		limit = defaultLimit
	}
	grants, err := s.grants.List(ctx, min(limit, maxLimit), req.GetAll())
	if err != nil {
		return nil, s.fault(ctx, "list grants", err)
	}
	resp := &mcpermitv1.ListGrantsResponse{Grants: make([]*mcpermitv1.Grant, len(grants))}
	for i := range grants {
		resp.Grants[i] = toProto(&grants[i])
	}
	return resp, nil
}

// RevokeGrant takes effect before it returns.
func (s *Service) RevokeGrant(ctx context.Context, req *mcpermitv1.RevokeGrantRequest) (*mcpermitv1.RevokeGrantResponse, error) {
	g, err := s.grants.Revoke(ctx, req.GetId())
	if err != nil {
		return nil, s.fault(ctx, "revoke a grant", err)
	}
	s.log.InfoContext(ctx, "grant revoked", "grant", g.ID, "subject", g.Subject.ID)
	return &mcpermitv1.RevokeGrantResponse{Grant: toProto(&g)}, nil
}

// fault turns an error into a status. What the store says stays in the log.
func (s *Service) fault(ctx context.Context, act string, err error) error {
	switch {
	case errors.Is(err, ErrInvalidGrant):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, ErrNotFound):
		return status.Error(codes.NotFound, "there is no grant of that id")
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	}
	s.log.ErrorContext(ctx, "the store failed", "act", act, "error", err)
	return status.Error(codes.Unavailable, "the store could not "+act+"; the log of the PDP says why")
}

func toProto(g *Grant) *mcpermitv1.Grant {
	return &mcpermitv1.Grant{
		Id:        g.ID,
		Subject:   &mcpermitv1.Subject{Id: g.Subject.ID, Type: g.Subject.Type, Groups: g.Subject.Groups},
		Owner:     g.Owner,
		Servers:   g.Servers,
		Tools:     g.Tools,
		Labels:    g.Labels,
		CreatedAt: toTimestamp(g.CreatedAt),
		ExpiresAt: toTimestamp(g.ExpiresAt),
		RevokedAt: toTimestamp(g.RevokedAt),
	}
}

func toTimestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
