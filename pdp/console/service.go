package console

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pdp/signin"
	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Service is the gRPC ConsoleService over a [Console]. Whoever reaches it over a
// socket may sign in as anybody who is configured; whoever comes with a
// certificate, as those whom it names.
type Service struct {
	mcpermitv1.UnimplementedConsoleServiceServer
	console *Console
	names   func(context.Context) []string
	log     *slog.Logger
}

var _ mcpermitv1.ConsoleServiceServer = (*Service)(nil)

// NewService returns the service. names are those on the caller's certificate,
// nil when the caller came without one.
func NewService(c *Console, names func(context.Context) []string) *Service {
	return &Service{console: c, names: names, log: c.log}
}

// CreateSignInLink answers NOT_FOUND for a person who is not configured, and
// PERMISSION_DENIED where the certificate is another one's.
func (s *Service) CreateSignInLink(ctx context.Context, req *mcpermitv1.CreateSignInLinkRequest) (*mcpermitv1.CreateSignInLinkResponse, error) {
	if names := s.names(ctx); names != nil && !slices.Contains(names, req.GetPerson()) {
		return nil, status.Error(codes.PermissionDenied, "with a certificate there is a link for the person that it names only; say which, with --as")
	}
	address, l, err := s.console.NewLink(ctx, req.GetPerson())
	switch {
	case errors.Is(err, signin.ErrNotFound) && req.GetPerson() == "":
		return nil, status.Error(codes.NotFound, "there is no operator, since the configuration names people: say as whom, with --as")
	case errors.Is(err, signin.ErrNotFound):
		return nil, status.Errorf(codes.NotFound, "the configuration has nobody of the id %q under people", req.GetPerson())
	case err != nil && ctx.Err() != nil:
		return nil, status.FromContextError(ctx.Err()).Err()
	case err != nil:
		s.log.ErrorContext(ctx, "no sign-in link was made", "error", err)
		return nil, status.Error(codes.Unavailable, "the store could not keep a link; the log of the PDP says why")
	}
	s.log.InfoContext(ctx, "sign-in link made", "person", l.Person.ID)
	return &mcpermitv1.CreateSignInLinkResponse{Url: address, Person: l.Person.ID, ExpiresAt: timestamppb.New(l.ExpiresAt)}, nil
}
