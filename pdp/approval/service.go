package approval

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

// Bounds of ListApprovals.
const (
	defaultLimit = 100
	maxLimit     = 1_000
)

// Service is the gRPC ApprovalService over a [Book].
type Service struct {
	mcpermitv1.UnimplementedApprovalServiceServer
	book *Book
	log  *slog.Logger
}

var _ mcpermitv1.ApprovalServiceServer = (*Service)(nil)

// NewService returns the service. A nil log is the default logger.
func NewService(b *Book, log *slog.Logger) *Service {
	if log == nil {
		log = slog.Default()
	}
	return &Service{book: b, log: log}
}

// GetApproval answers NOT_FOUND for an id that does not exist.
func (s *Service) GetApproval(ctx context.Context, req *mcpermitv1.GetApprovalRequest) (*mcpermitv1.GetApprovalResponse, error) {
	a, err := s.book.Get(ctx, req.GetId())
	if err != nil {
		return nil, s.fault(ctx, "read an approval", err)
	}
	return &mcpermitv1.GetApprovalResponse{Approval: toProto(&a)}, nil
}

// ListApprovals returns the newest first.
func (s *Service) ListApprovals(ctx context.Context, req *mcpermitv1.ListApprovalsRequest) (*mcpermitv1.ListApprovalsResponse, error) {
	limit := int(req.GetLimit())
	switch {
	case limit < 0:
		return nil, status.Error(codes.InvalidArgument, "limit is negative")
	case limit == 0:
		limit = defaultLimit
	}
	list, err := s.book.List(ctx, min(limit, maxLimit), req.GetAll())
	if err != nil {
		return nil, s.fault(ctx, "list approvals", err)
	}
	resp := &mcpermitv1.ListApprovalsResponse{Approvals: make([]*mcpermitv1.Approval, len(list))}
	for i := range list {
		resp.Approvals[i] = toProto(&list[i])
	}
	return resp, nil
}

// fault turns an error into a status. What the store says stays in the log.
func (s *Service) fault(ctx context.Context, act string, err error) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return status.Error(codes.NotFound, "there is no approval of that id")
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	}
	s.log.ErrorContext(ctx, "the store failed", "act", act, "error", err)
	return status.Error(codes.Unavailable, "the store could not "+act+"; the log of the PDP says why")
}

var states = map[State]mcpermitv1.ApprovalState{
	Pending:  mcpermitv1.ApprovalState_APPROVAL_STATE_PENDING,
	Approved: mcpermitv1.ApprovalState_APPROVAL_STATE_APPROVED,
	Refused:  mcpermitv1.ApprovalState_APPROVAL_STATE_REFUSED,
	Used:     mcpermitv1.ApprovalState_APPROVAL_STATE_USED,
	Expired:  mcpermitv1.ApprovalState_APPROVAL_STATE_EXPIRED,
}

func toProto(a *Approval) *mcpermitv1.Approval {
	p := &mcpermitv1.Approval{
		Id:              a.ID,
		State:           states[a.State],
		Subject:         &mcpermitv1.Subject{Id: a.Subject.ID, Type: a.Subject.Type, Groups: a.Subject.Groups},
		GrantId:         a.GrantID,
		Server:          a.Server,
		Method:          a.Method,
		Name:            a.Name,
		Arguments:       a.Arguments,
		ArgumentsDigest: a.ArgumentsDigest[:],
		Reason:          a.Reason,
		Policy:          &mcpermitv1.PolicyRevision{Revision: a.Policy.Revision, Digest: a.Policy.Digest},
		Owner:           a.Owner,
		ToolClass:       a.ToolClass,
		ToolRisk:        a.ToolRisk,
		Masked:          a.Masked,
		OpenedBy:        a.OpenedBy,
		UsedBy:          a.UsedBy,
		CreatedAt:       toTimestamp(a.CreatedAt),
		ExpiresAt:       toTimestamp(a.ExpiresAt),
		DecidedAt:       toTimestamp(a.DecidedAt),
		UsedAt:          toTimestamp(a.UsedAt),
	}
	if a.DefinitionDigest != (Digest{}) {
		p.DefinitionDigest = a.DefinitionDigest[:]
	}
	for _, r := range a.Rules {
		p.Rules = append(p.Rules, &mcpermitv1.MatchedRule{
			Path: r.Path, Id: r.ID, File: r.File, Line: int32(r.Line), Title: r.Title, Reason: r.Reason,
		})
	}
	for _, r := range a.Requirements {
		p.Requirements = append(p.Requirements, &mcpermitv1.ApprovalRequirement{Approvers: r.Approvers, Required: int32(r.Required)})
	}
	for _, v := range a.Votes {
		p.Votes = append(p.Votes, &mcpermitv1.ApprovalVote{
			Person: v.Person, Groups: v.Groups, At: toTimestamp(v.At), Approved: v.Approved, Reason: v.Reason, Via: v.Via,
		})
	}
	return p
}

func toTimestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
