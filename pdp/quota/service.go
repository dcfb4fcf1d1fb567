package quota

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Bounds of ListQuotas.
const (
	defaultLimit = 100
	maxLimit     = 1_000
)

// ServiceOptions of a [Service].
type ServiceOptions struct {
	// Record puts a reset on record, and is asked before it is done; what can't
	// be recorded is not done. Without it nothing is reset over this service.
	Record func(ctx context.Context, target string) error
	Log    *slog.Logger // default slog.Default()
}

// Service is the gRPC QuotaService over a [Ledger].
type Service struct {
	mcpermitv1.UnimplementedQuotaServiceServer
	ledger *Ledger
	record func(ctx context.Context, target string) error
	log    *slog.Logger
}

var _ mcpermitv1.QuotaServiceServer = (*Service)(nil)

// NewService returns the service.
func NewService(l *Ledger, o ServiceOptions) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{ledger: l, record: o.Record, log: o.Log}
}

// ListQuotas returns the counters by quota and id.
func (s *Service) ListQuotas(ctx context.Context, req *mcpermitv1.ListQuotasRequest) (*mcpermitv1.ListQuotasResponse, error) {
	limit := int(req.GetLimit())
	switch {
	case limit < 0:
		return nil, status.Error(codes.InvalidArgument, "limit is negative")
	case limit == 0:
		limit = defaultLimit
	}
	list, err := s.ledger.List(ctx, Filter{ID: req.GetId(), Quota: req.GetQuota(), Of: req.GetOf(), Limit: min(limit, maxLimit)})
	if err != nil {
		return nil, s.fault(ctx, "list quotas", err)
	}
	res := &mcpermitv1.ListQuotasResponse{Counters: make([]*mcpermitv1.QuotaCounter, len(list))}
	for i := range list {
		res.Counters[i] = toProto(&list[i])
	}
	return res, nil
}

// ResetQuota resets what matches; asking for everything is not offered.
func (s *Service) ResetQuota(ctx context.Context, req *mcpermitv1.ResetQuotaRequest) (*mcpermitv1.ResetQuotaResponse, error) {
	f := Filter{ID: req.GetId(), Quota: req.GetQuota(), Of: req.GetOf(), Limit: 1}
	switch {
	case f.ID == "" && f.Quota == "":
		return nil, status.Error(codes.InvalidArgument, "say which: the id of a counter, or the name of a quota")
	case s.record == nil:
		return nil, status.Error(codes.Unimplemented, "this decision point does not reset quotas")
	}
	if list, err := s.ledger.List(ctx, f); err != nil {
		return nil, s.fault(ctx, "read quotas", err)
	} else if len(list) == 0 {
		return nil, status.Error(codes.NotFound, "no counter matches; `mcpermit quotas list` shows those that there are")
	}
	if err := s.record(ctx, target(f)); err != nil {
		s.log.ErrorContext(ctx, "a reset of a quota could not be recorded, and was not done", "error", err)
		return nil, status.Error(codes.Unavailable, "the reset could not be recorded, and was not done; the log of the PDP says why")
	}
	n, err := s.ledger.Reset(ctx, f)
	if err != nil {
		return nil, s.fault(ctx, fmt.Sprintf("reset more than %d of the counters", n), err)
	}
	return &mcpermitv1.ResetQuotaResponse{Reset_: int32(n)}, nil
}

// target is what a reset was asked for, as it stands on record.
func target(f Filter) string {
	text := "quota"
	if f.Quota != "" {
		text += " " + f.Quota
	}
	if f.ID != "" {
		text += " counter " + f.ID
	}
	if f.Of != "" {
		text += " of " + f.Of
	}
	return text
}

// fault turns an error into a status. What the store says stays in the log.
func (s *Service) fault(ctx context.Context, act string, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	s.log.ErrorContext(ctx, "the store failed", "act", act, "error", err)
	return status.Error(codes.Unavailable, "the store could not "+act+"; the log of the PDP says why")
}

func toProto(s *Standing) *mcpermitv1.QuotaCounter {
	c := &mcpermitv1.QuotaCounter{
		Id: s.ID, Quota: s.Use.Name, Per: map[string]string{}, UpdatedAt: timestamppb.New(s.UpdatedAt), Fault: s.Fault,
	}
	for _, p := range s.Per {
		c.Per[p.Name] = p.Value
	}
	if s.Fault != "" {
		return c
	}
	c.Limit, c.Used, c.Remaining, c.Window = s.Use.Limit.String(), s.Use.Used.String(), s.Use.Remaining.String(), s.Use.Window
	if !s.Use.Reset.IsZero() {
		c.ResetAt = timestamppb.New(s.Use.Reset)
	}
	return c
}
