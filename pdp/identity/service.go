package identity

import (
	"context"
	"errors"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
	record func(ctx context.Context, g *Grant, revoke func(context.Context) error) error
	log    *slog.Logger
}

// ServiceOptions of a Service.
type ServiceOptions struct {
	// Pruned revokes a grant that nobody uses, and has that on record first. Nil
	// revokes it, without a record.
	Pruned func(ctx context.Context, g *Grant, revoke func(context.Context) error) error
	Log    *slog.Logger // nil is the default logger
}

var _ mcpermitv1.GrantServiceServer = (*Service)(nil)

// NewService returns the service.
func NewService(a *Authenticator, o ServiceOptions) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Pruned == nil {
		o.Pruned = func(ctx context.Context, _ *Grant, revoke func(context.Context) error) error { return revoke(ctx) }
	}
	return &Service{grants: a, record: o.Pruned, log: o.Log}
}

// CreateGrant answers INVALID_ARGUMENT when the grant that is asked for makes
// no sense, and says why.
func (s *Service) CreateGrant(ctx context.Context, req *mcpermitv1.CreateGrantRequest) (*mcpermitv1.CreateGrantResponse, error) {
	want, err := wanted(req)
	if err != nil {
		return nil, err
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
	q := Query{Limit: min(limit, maxLimit), Subject: req.GetSubject(), Parent: req.GetParentId()}
	if !req.GetAll() {
		q.ActiveAt = s.grants.now()
	}
	grants, err := s.grants.Find(ctx, q)
	if err != nil {
		return nil, s.fault(ctx, "list grants", err)
	}
	return &mcpermitv1.ListGrantsResponse{Grants: allToProto(grants)}, nil
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

// RotateGrant answers INVALID_ARGUMENT for a grant that has no token to rotate.
func (s *Service) RotateGrant(ctx context.Context, req *mcpermitv1.RotateGrantRequest) (*mcpermitv1.RotateGrantResponse, error) {
	if overlap := req.GetOverlap(); overlap != nil && overlap.CheckValid() != nil {
		return nil, status.Error(codes.InvalidArgument, "overlap is not a duration")
	}
	g, token, err := s.grants.Rotate(ctx, req.GetId(), req.GetOverlap().AsDuration())
	if err != nil {
		return nil, s.fault(ctx, "rotate a grant", err)
	}
	s.log.InfoContext(ctx, "grant rotated", "grant", g.ID, "subject", g.Subject.ID)
	return &mcpermitv1.RotateGrantResponse{Grant: toProto(&g), Token: token}, nil
}

// PruneGrants revokes one grant after the other. It returns those that it has
// revoked; after a failure the ones before it stay revoked, and asking again goes
// on.
func (s *Service) PruneGrants(ctx context.Context, req *mcpermitv1.PruneGrantsRequest) (*mcpermitv1.PruneGrantsResponse, error) {
	if req.GetUnusedSince().CheckValid() != nil {
		return nil, status.Error(codes.InvalidArgument, "unused_since is not a time")
	}
	unused, err := s.grants.Unused(ctx, req.GetUnusedSince().AsTime(), maxLimit)
	if err != nil {
		return nil, s.fault(ctx, "look for unused grants", err)
	}
	if req.GetDryRun() {
		return &mcpermitv1.PruneGrantsResponse{Grants: allToProto(unused)}, nil
	}
	for i := range unused {
		err := s.record(ctx, &unused[i], func(ctx context.Context) (err error) {
			unused[i], err = s.grants.Revoke(ctx, unused[i].ID)
			return err
		})
		if err != nil {
			return nil, s.fault(ctx, "revoke an unused grant", err)
		}
	}
	s.log.InfoContext(ctx, "unused grants revoked", "grants", len(unused))
	return &mcpermitv1.PruneGrantsResponse{Grants: allToProto(unused)}, nil
}

// fault turns an error into a status. What the store says stays in the log.
func (s *Service) fault(ctx context.Context, act string, err error) error {
	switch {
	case errors.Is(err, ErrInvalidGrant), errors.Is(err, ErrTooNew):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, ErrNotFound):
		return status.Error(codes.NotFound, "there is no grant of that id")
	case isStatus(err):
		return err
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	}
	s.log.ErrorContext(ctx, "the store failed", "act", act, "error", err)
	return status.Error(codes.Unavailable, "the store could not "+act+"; the log of the PDP says why")
}

// isStatus reports whether the error is one for the caller already.
func isStatus(err error) bool {
	_, is := status.FromError(err)
	return is
}
