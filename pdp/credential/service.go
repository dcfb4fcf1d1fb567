package credential

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Bounds of a secret.
const (
	maxSecret = 64 << 10 // bytes
	maxHolder = 1 << 10  // bytes
)

// Accounts renews the tokens of accounts.
type Accounts interface {
	// Rotate renews the tokens of an account now. It returns an *UnknownError where
	// there is no such account, and an *AccountNeeded where it has to be connected
	// again.
	Rotate(ctx context.Context, a AccountRef) error
}

// ServiceOptions are what a [Service] stands on beside its vault.
type ServiceOptions struct {
	Accounts Accounts // nil: there are none
	// Check says why a value can't be that of a secret, without showing it; nil:
	// nothing speaks against any.
	Check func(name string, value []byte) error
	Log   *slog.Logger // default slog.Default
}

// Service is the gRPC CredentialService over a [SealedVault]. Values go in and
// never come out.
type Service struct {
	mcpermitv1.UnimplementedCredentialServiceServer
	vault    *SealedVault
	accounts Accounts
	check    func(name string, value []byte) error
	log      *slog.Logger
}

var _ mcpermitv1.CredentialServiceServer = (*Service)(nil)

// NewService returns the service. Without a vault every method answers
// FAILED_PRECONDITION.
func NewService(v *SealedVault, o ServiceOptions) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Check == nil {
		o.Check = func(string, []byte) error { return nil }
	}
	return &Service{vault: v, accounts: o.Accounts, check: o.Check, log: o.Log}
}

var errNoVault = status.Error(codes.FailedPrecondition, "there is no vault: decision points that share a database have to share a master key; set vault.master_key for all of them")

// SetSecret answers INVALID_ARGUMENT for a value that can't be used.
func (s *Service) SetSecret(ctx context.Context, req *mcpermitv1.SetSecretRequest) (*mcpermitv1.SetSecretResponse, error) {
	if s.vault == nil {
		return nil, errNoVault
	}
	switch value := req.GetValue(); {
	case !secretName.MatchString(req.GetName()): // not shown: it may be a value in the wrong place
		return nil, status.Error(codes.InvalidArgument, "the name of a secret is "+secretNameRule)
	case len(req.GetHolder()) > maxHolder:
		return nil, status.Errorf(codes.InvalidArgument, "the holder is longer than %d bytes", maxHolder)
	case len(value) == 0:
		return nil, status.Error(codes.InvalidArgument, "the value is empty; delete the secret if there is to be none")
	case len(value) > maxSecret:
		return nil, status.Errorf(codes.InvalidArgument, "the value is longer than %d bytes", maxSecret)
	}
	if err := s.check(req.GetName(), req.GetValue()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	e, err := s.vault.Set(ctx, Key{Kind: KindSecret, Name: req.GetName(), Holder: req.GetHolder()}, req.GetValue())
	if err != nil {
		return nil, s.fault(ctx, "set a secret", err)
	}
	s.log.InfoContext(ctx, "secret set", "name", e.Name, "holder", e.Holder, "generation", e.Generation)
	return &mcpermitv1.SetSecretResponse{Credential: toProto(e)}, nil
}

// ListCredentials lists all secrets, and then all accounts.
func (s *Service) ListCredentials(ctx context.Context, _ *mcpermitv1.ListCredentialsRequest) (*mcpermitv1.ListCredentialsResponse, error) {
	if s.vault == nil {
		return nil, errNoVault
	}
	resp := &mcpermitv1.ListCredentialsResponse{}
	for _, kind := range []string{KindSecret, KindAccount} {
		entries, err := s.vault.List(ctx, kind)
		if err != nil {
			return nil, s.fault(ctx, "list credentials", err)
		}
		for _, e := range entries {
			resp.Credentials = append(resp.Credentials, toProto(e))
		}
	}
	return resp, nil
}

// RotateCredential answers UNIMPLEMENTED where no server has accounts, and
// FAILED_PRECONDITION where the account has to be connected again.
func (s *Service) RotateCredential(ctx context.Context, req *mcpermitv1.RotateCredentialRequest) (*mcpermitv1.RotateCredentialResponse, error) {
	switch {
	case s.vault == nil:
		return nil, errNoVault
	case s.accounts == nil:
		return nil, status.Error(codes.Unimplemented, "no server of the configuration has credentials whose tokens could be renewed")
	}
	server, name, ok := strings.Cut(req.GetName(), "/")
	if !ok {
		return nil, status.Error(codes.InvalidArgument, "the name of an account is SERVER/CREDENTIAL")
	}
	err := s.accounts.Rotate(ctx, AccountRef{Server: server, Name: name, Holder: req.GetHolder()})
	if err != nil {
		return nil, s.fault(ctx, "renew the account's tokens", err)
	}
	e, err := s.vault.Get(ctx, Key{Kind: KindAccount, Name: req.GetName(), Holder: req.GetHolder()})
	if err != nil {
		return nil, s.fault(ctx, "read the renewed account", err)
	}
	s.log.InfoContext(ctx, "account renewed", "name", e.Name, "holder", e.Holder, "generation", e.Generation)
	return &mcpermitv1.RotateCredentialResponse{Credential: toProto(e)}, nil
}

// DeleteCredential takes effect on other replicas within a second.
func (s *Service) DeleteCredential(ctx context.Context, req *mcpermitv1.DeleteCredentialRequest) (*mcpermitv1.DeleteCredentialResponse, error) {
	if s.vault == nil {
		return nil, errNoVault
	}
	k := Key{Kind: kinds[req.GetKind()], Name: req.GetName(), Holder: req.GetHolder()}
	if k.Kind == "" {
		return nil, status.Error(codes.InvalidArgument, "say which kind: a secret or an account")
	}
	if err := s.vault.Delete(ctx, k); err != nil {
		return nil, s.fault(ctx, "delete a credential", err)
	}
	s.log.InfoContext(ctx, "credential deleted", "kind", k.Kind, "name", k.Name, "holder", k.Holder)
	return &mcpermitv1.DeleteCredentialResponse{}, nil
}

// Rekey streams the progress. It ends between two values when the caller goes away;
// what was done by then stays, and all is readable.
func (s *Service) Rekey(_ *mcpermitv1.RekeyRequest, stream grpc.ServerStreamingServer[mcpermitv1.RekeyResponse]) error {
	if s.vault == nil {
		return errNoVault
	}
	ctx := stream.Context()
	err := s.vault.Rekey(ctx, func(done, total int) error {
		return stream.Send(&mcpermitv1.RekeyResponse{Done: int64(done), Total: int64(total)})
	})
	if err != nil {
		return s.fault(ctx, "rekey", err)
	}
	return nil
}

// fault turns an error into a status. What the store says stays in the log.
func (s *Service) fault(ctx context.Context, act string, err error) error {
	needed, unknown, unreadable := (*AccountNeeded)(nil), (*UnknownError)(nil), (*UnreadableError)(nil)
	switch {
	case errors.Is(err, ErrNotFound), errors.As(err, &unknown):
		return status.Error(codes.NotFound, "there is no such credential; `mcpermit credentials list` shows those that there are")
	case errors.Is(err, ErrConflict):
		return status.Error(codes.Aborted, "others are changing the same; try again")
	case errors.As(err, &needed):
		return status.Error(codes.FailedPrecondition, needed.Error())
	case errors.As(err, &unreadable):
		return status.Error(codes.FailedPrecondition, err.Error())
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	}
	s.log.ErrorContext(ctx, "the vault failed", "act", act, "error", err)
	return status.Error(codes.Unavailable, fmt.Sprintf("the vault could not %s; the log of the PDP says why", act))
}

var kinds = map[mcpermitv1.CredentialKind]string{
	mcpermitv1.CredentialKind_CREDENTIAL_KIND_SECRET:  KindSecret,
	mcpermitv1.CredentialKind_CREDENTIAL_KIND_ACCOUNT: KindAccount,
}

func toProto(e Entry) *mcpermitv1.Credential {
	c := &mcpermitv1.Credential{
		Name: e.Name, Holder: e.Holder, Generation: e.Generation, CreatedAt: timestamppb.New(e.CreatedAt), UpdatedAt: timestamppb.New(e.UpdatedAt),
	}
	switch e.Kind {
	case KindSecret:
		c.Kind = mcpermitv1.CredentialKind_CREDENTIAL_KIND_SECRET
	case KindAccount:
		c.Kind = mcpermitv1.CredentialKind_CREDENTIAL_KIND_ACCOUNT
	}
	if !e.ExpiresAt.IsZero() {
		c.ExpiresAt = timestamppb.New(e.ExpiresAt)
	}
	return c
}
