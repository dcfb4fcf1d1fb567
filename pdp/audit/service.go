package audit

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Service is AuditService on a [Log]. Who may call it is not its business.
type Service struct {
	mcpermitv1.UnimplementedAuditServiceServer
	log *Log
}

// NewService returns the service of log.
func NewService(log *Log) *Service { return &Service{log: log} }

// QueryAudit streams the matching records, oldest first.
func (s *Service) QueryAudit(in *mcpermitv1.QueryAuditRequest, out grpc.ServerStreamingServer[mcpermitv1.QueryAuditResponse]) error {
	f, err := filterOf(in.GetFilter())
	if err != nil {
		return err
	}
	if in.GetLimit() < 0 {
		return status.Error(codes.InvalidArgument, "limit is negative; leave it out for all records")
	}
	if in.GetActs() {
		return s.queryActs(&f, int(in.GetLimit()), out)
	}
	return grpcError(s.log.Query(out.Context(), f, int(in.GetLimit()), func(r *Record) error {
		b, err := r.JSON()
		if err != nil {
			return err
		}
		return out.Send(&mcpermitv1.QueryAuditResponse{Record: b})
	}))
}

func (s *Service) queryActs(f *Filter, limit int, out grpc.ServerStreamingServer[mcpermitv1.QueryAuditResponse]) error {
	acts, err := f.Acts()
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return grpcError(s.log.trail.Acts(out.Context(), acts, limit, func(a *Act) error {
		b, err := a.JSON()
		if err != nil {
			return err
		}
		return out.Send(&mcpermitv1.QueryAuditResponse{Record: b})
	}))
}

// TailAudit streams records as they are written. Its header is sent as soon as
// no later record will be missed.
func (s *Service) TailAudit(in *mcpermitv1.TailAuditRequest, out grpc.ServerStreamingServer[mcpermitv1.TailAuditResponse]) error {
	f, err := filterOf(in.GetFilter())
	if err != nil {
		return err
	}
	return grpcError(s.log.Follow(out.Context(), f, func() error { return out.SendHeader(nil) }, func(r *Record) error {
		b, err := r.JSON()
		if err != nil {
			return err
		}
		return out.Send(&mcpermitv1.TailAuditResponse{Record: b})
	}))
}

// VerifyAudit walks the whole chain.
func (s *Service) VerifyAudit(ctx context.Context, _ *mcpermitv1.VerifyAuditRequest) (*mcpermitv1.VerifyAuditResponse, error) {
	r, err := s.log.Verify(ctx)
	if err != nil {
		return nil, grpcError(err)
	}
	return &mcpermitv1.VerifyAuditResponse{Entries: r.Entries, Head: r.Head, Problem: r.Problem}, nil
}

// effects are the names that records use for the API's effects.
var effects = map[mcpermitv1.Effect]string{
	mcpermitv1.Effect_EFFECT_UNSPECIFIED: "",
	mcpermitv1.Effect_EFFECT_ALLOW:       "allow",
	mcpermitv1.Effect_EFFECT_DENY:        "deny",
	mcpermitv1.Effect_EFFECT_HIDE:        "hide",
	mcpermitv1.Effect_EFFECT_APPROVE:     "approve",
}

func filterOf(in *mcpermitv1.AuditFilter) (Filter, error) {
	effect, ok := effects[in.GetEffect()]
	if !ok {
		return Filter{}, status.Errorf(codes.InvalidArgument, "effect %d is unknown", in.GetEffect())
	}
	f := Filter{
		DecisionID: in.GetDecisionId(), Subject: in.GetSubject(), Grant: in.GetGrant(), Server: in.GetServer(),
		Method: in.GetMethod(), Name: in.GetName(), Effect: effect, ReasonCode: in.GetReasonCode(),
	}
	for _, t := range []struct {
		from *timestamppb.Timestamp
		to   *time.Time
	}{{in.GetSince(), &f.Since}, {in.GetUntil(), &f.Until}} {
		if t.from == nil {
			continue
		}
		if err := t.from.CheckValid(); err != nil {
			return Filter{}, status.Errorf(codes.InvalidArgument, "since or until: %v", err)
		}
		*t.to = t.from.AsTime()
	}
	return f, nil
}

// grpcError gives an error its status code, unless it has one.
func grpcError(err error) error {
	switch _, has := status.FromError(err); {
	case has: // nil too
		return err
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the caller left")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "not done within the caller's deadline")
	case errors.Is(err, ErrClosed):
		return status.Error(codes.Unavailable, "the audit log is being closed")
	}
	return status.Error(codes.Internal, err.Error())
}
