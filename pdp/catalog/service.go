package catalog

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Service is the gRPC ServerService over a [Catalog].
type Service struct {
	mcpermitv1.UnimplementedServerServiceServer
	catalog *Catalog
	log     *slog.Logger
}

var _ mcpermitv1.ServerServiceServer = (*Service)(nil)

// NewService returns the service. A nil log is the default logger.
func NewService(c *Catalog, log *slog.Logger) *Service {
	if log == nil {
		log = slog.Default()
	}
	return &Service{catalog: c, log: log}
}

// ListServers returns the configured servers.
func (s *Service) ListServers(context.Context, *mcpermitv1.ListServersRequest) (*mcpermitv1.ListServersResponse, error) {
	resp := &mcpermitv1.ListServersResponse{}
	for _, st := range s.catalog.Servers() {
		server := &mcpermitv1.Server{
			Name: st.Name, Labels: st.Labels, Trusted: st.Trusted,
			Tools: int32(st.Tools), Drifted: int32(st.Drifted),
		}
		if !st.ListedAt.IsZero() {
			server.ListedAt = timestamppb.New(st.ListedAt)
		}
		resp.Servers = append(resp.Servers, server)
	}
	return resp, nil
}

// ListTools answers NOT_FOUND for a server that is not configured.
func (s *Service) ListTools(ctx context.Context, req *mcpermitv1.ListToolsRequest) (*mcpermitv1.ListToolsResponse, error) {
	tools, err := s.catalog.Tools(req.GetServer())
	if err != nil {
		return nil, s.fault(ctx, "list tools", err)
	}
	resp := &mcpermitv1.ListToolsResponse{Tools: make([]*mcpermitv1.Tool, len(tools))}
	for i, t := range tools {
		resp.Tools[i] = &mcpermitv1.Tool{
			Server: req.GetServer(), Name: t.Name,
			Class: t.Class, Risk: t.Risk, Traits: t.Traits, Pinned: t.Pinned,
			Digest: hexDigest(t.Digest), PinnedDigest: hexDigest(t.PinnedDigest),
			Definition: t.Definition, PinnedDefinition: t.PinnedDefinition,
		}
	}
	return resp, nil
}

// ClassifyTools answers INVALID_ARGUMENT and changes nothing when one of the
// classifications makes no sense.
func (s *Service) ClassifyTools(ctx context.Context, req *mcpermitv1.ClassifyToolsRequest) (*mcpermitv1.ClassifyToolsResponse, error) {
	list := make([]Classification, len(req.GetClassifications()))
	for i, c := range req.GetClassifications() {
		list[i] = Classification{Server: c.GetServer(), Tool: c.GetTool(), Class: c.GetClass(), Traits: c.GetTraits()}
	}
	changed, err := s.catalog.Classify(ctx, list)
	if err != nil {
		return nil, s.fault(ctx, "classify tools", err)
	}
	s.log.InfoContext(ctx, "tools classified", "changed", changed)
	return &mcpermitv1.ClassifyToolsResponse{Changed: int32(changed)}, nil
}

// PinServer answers FAILED_PRECONDITION when no listing has been seen.
func (s *Service) PinServer(ctx context.Context, req *mcpermitv1.PinServerRequest) (*mcpermitv1.PinServerResponse, error) {
	pinned, err := s.catalog.Pin(ctx, req.GetServer())
	if err != nil {
		return nil, s.fault(ctx, "pin a server", err)
	}
	s.log.InfoContext(ctx, "server pinned", "server", req.GetServer(), "tools", pinned)
	return &mcpermitv1.PinServerResponse{Pinned: int32(pinned)}, nil
}

// fault turns an error into a status. What the store says stays in the log.
func (s *Service) fault(ctx context.Context, act string, err error) error {
	switch {
	case errors.Is(err, ErrUnknownServer):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, ErrNotListed):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, ErrInvalidClassification):
		return status.Error(codes.InvalidArgument, err.Error())
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	}
	s.log.ErrorContext(ctx, "the store failed", "act", act, "error", err)
	return status.Error(codes.Unavailable, "the store could not "+act+"; the log of the PDP says why")
}

func hexDigest(d Digest) string {
	if d == (Digest{}) {
		return ""
	}
	return hex.EncodeToString(d[:])
}
