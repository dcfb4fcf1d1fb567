package approval

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Bounds of ListApprovals.
const (
	defaultLimit = 100
	maxLimit     = 1_000
)

// ServiceOptions of a [Service].
type ServiceOptions struct {
	// Approver finds a person who may decide on approvals; "" is the operator,
	// where there is one. Without it nobody decides over this service.
	Approver func(id string) (Approver, bool)
	// Names are those on the caller's client certificate, not nil even if it has
	// none; nil when the caller came without one, over a socket whose mode is the
	// authorization.
	Names func(ctx context.Context) []string
	Log   *slog.Logger // default slog.Default()
}

// Service is the gRPC ApprovalService over a [Book].
type Service struct {
	mcpermitv1.UnimplementedApprovalServiceServer
	book    *Book
	options ServiceOptions
	log     *slog.Logger
}

var _ mcpermitv1.ApprovalServiceServer = (*Service)(nil)

// NewService returns the service.
func NewService(b *Book, o ServiceOptions) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Approver == nil {
		o.Approver = func(string) (Approver, bool) { return Approver{}, false }
	}
	if o.Names == nil {
		o.Names = func(context.Context) []string { return nil }
	}
	return &Service{book: b, options: o, log: o.Log}
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

// ApproveCall adds the vote of the person who is named.
func (s *Service) ApproveCall(ctx context.Context, req *mcpermitv1.ApproveCallRequest) (*mcpermitv1.ApproveCallResponse, error) {
	a, err := s.decide(ctx, s.book.Approve, req)
	if err != nil {
		return nil, err
	}
	return &mcpermitv1.ApproveCallResponse{Approval: a}, nil
}

// RefuseCall ends the approval in the name of the person.
func (s *Service) RefuseCall(ctx context.Context, req *mcpermitv1.RefuseCallRequest) (*mcpermitv1.RefuseCallResponse, error) {
	a, err := s.decide(ctx, s.book.Refuse, req)
	if err != nil {
		return nil, err
	}
	return &mcpermitv1.RefuseCallResponse{Approval: a}, nil
}

// verdict is a request to approve or to refuse.
type verdict interface {
	GetId() string
	GetPerson() string
	GetReason() string
}

// vote is Book.Approve or Book.Refuse.
type vote func(ctx context.Context, id string, by Approver, reason, via string) (Approval, error)

func (s *Service) decide(ctx context.Context, give vote, req verdict) (*mcpermitv1.Approval, error) {
	by, via, err := s.person(ctx, req.GetPerson())
	if err != nil {
		return nil, err
	}
	a, err := give(ctx, req.GetId(), by, req.GetReason(), via)
	if err != nil {
		return nil, s.untaken(ctx, by, &a, err)
	}
	s.log.InfoContext(ctx, "approval voted on", "approval", a.ID, "person", by.ID, "state", a.State.String())
	return toProto(&a), nil
}

// person finds who decides, and over what.
func (s *Service) person(ctx context.Context, id string) (by Approver, via string, err error) {
	by, ok := s.options.Approver(id)
	switch {
	case !ok && id == "":
		return by, "", status.Error(codes.InvalidArgument, "say who decides, a person of the configuration; on the command line with --as PERSON")
	case !ok:
		return by, "", status.Error(codes.InvalidArgument, fmt.Sprintf("nobody of the id %.64q may decide on approvals; the configuration says under people who may", id))
	}
	names := s.options.Names(ctx)
	if names == nil {
		return by, "cli", nil
	}
	if !slices.Contains(names, by.ID) {
		s.log.WarnContext(ctx, "a client wanted to decide in another's name", "person", by.ID, "certificate", names)
		return by, "", status.Error(codes.PermissionDenied, fmt.Sprintf("this client's certificate does not name %.64q; it decides only for whom it names", by.ID))
	}
	return by, "api", nil
}

// untaken says why a vote was not taken, and what to do.
func (s *Service) untaken(ctx context.Context, by Approver, a *Approval, err error) error {
	switch {
	case errors.Is(err, ErrOwnCall):
		return status.Error(codes.PermissionDenied, fmt.Sprintf("%s may not decide on a call of their own or of their own agent; another approver has to", by.ID))
	case errors.Is(err, ErrNotEntitled):
		return status.Error(codes.PermissionDenied, fmt.Sprintf("%s is not an approver of this call; it needs %s", by.ID, wanted(a.Requirements)))
	case errors.Is(err, ErrDecided):
		return status.Error(codes.FailedPrecondition, fmt.Sprintf("the approval is %s and cannot be decided on any more", a.State))
	case errors.Is(err, ErrTooManyVotes):
		return status.Error(codes.FailedPrecondition, ErrTooManyVotes.Error())
	case errors.Is(err, ErrUnrecorded):
		s.log.ErrorContext(ctx, "a vote could not be recorded", "person", by.ID, "error", err)
		return status.Error(codes.Internal, "the vote could not be recorded, so it was not taken; the log of the PDP says why")
	}
	return s.fault(ctx, "take the vote", err)
}

// wanted are the requirements as a sentence has them.
func wanted(requirements []Requirement) string {
	parts := make([]string, len(requirements))
	for i, r := range requirements {
		who := "any approver"
		if len(r.Approvers) > 0 {
			who = strings.Join(r.Approvers, " or ")
		}
		parts[i] = fmt.Sprintf("%d of %s", max(1, r.Required), who)
	}
	return strings.Join(parts, ", and ")
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
