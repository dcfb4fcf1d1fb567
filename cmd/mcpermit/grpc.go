package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/cmd/serve"
	"github.com/mcpermit/mcpermit/pep"
)

// newServer returns a gRPC server with the decision point's services, health
// and reflection.
func newServer(p *decisionPoint, o ...grpc.ServerOption) *grpc.Server {
	o = append(o, grpc.ChainUnaryInterceptor(p.recordActs), grpc.ChainStreamInterceptor(p.whileServing, p.recordStreams), grpc.MaxRecvMsgSize(pep.MaxMessage), grpc.StatsHandler(otelgrpc.NewServerHandler()),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pep.KeepalivePeriod / 2, PermitWithoutStream: true}))
	s := grpc.NewServer(o...)
	p.register(s)
	healthv1.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
	return s
}

// whileServing ends a stream when the program is about to stop: somebody who watches
// the trail must not hold up those who wait for the end.
func (p *decisionPoint) whileServing(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(p.serving, cancel)()
	return next(srv, endingStream{stream, ctx})
}

// endingStream is a stream whose context ends before its client's does.
type endingStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // that of the stream
}

func (s endingStream) Context() context.Context { return s.ctx }

// adminService serves everything on the socket in the state directory. Whoever
// may open the socket may administer: its mode is the authorization. The store's
// lock has made sure that a socket that is there is a dead process's.
func adminService(p *decisionPoint, cfg *config.Config) (serve.Service, error) {
	l, err := serve.ListenUnix(filepath.Join(cfg.State.Dir, "admin.sock"))
	if err != nil {
		return serve.Service{}, err
	}
	return serve.GRPC("admin socket", newServer(p), l), nil
}

// pepService serves PEPs of other processes, where the configuration says so.
func pepService(ctx context.Context, p *decisionPoint, cfg *config.Config) (serve.Service, error) {
	network, addr := config.SplitAddress(cfg.PDP.Address)
	if network == "unix" {
		l, err := serve.ListenUnix(addr)
		if err != nil {
			return serve.Service{}, err
		}
		return serve.GRPC("pdp", newServer(p, only(decisionService)...), l), nil
	}
	tls, err := cfg.PDP.TLS.Server()
	if err != nil {
		return serve.Service{}, misuse("pdp.tls: %w", err)
	}
	l, err := serve.Listen(ctx, "pdp.address", addr)
	if err != nil {
		return serve.Service{}, err
	}
	o := append(only(allowedServices(cfg.PDP.Clients)), grpc.Creds(credentials.NewTLS(tls)))
	return serve.GRPC("pdp", newServer(p, o...), l), nil
}

// permit says whether the client with this certificate may call the service,
// "mcpermit.v1.DecisionService". The certificate is nil on a unix socket.
type permit func(cert *x509.Certificate, service string) bool

const pepOnly = "mcpermit.v1.DecisionService"

// decisionService lets everybody who can connect ask for decisions, and
// nothing else.
func decisionService(_ *x509.Certificate, service string) bool { return service == pepOnly }

// allowedServices is what the configuration allows each certificate name.
func allowedServices(clients []config.PDPClient) permit {
	if len(clients) == 0 {
		return decisionService
	}
	return func(cert *x509.Certificate, service string) bool {
		return cert != nil && slices.ContainsFunc(clients, func(c config.PDPClient) bool {
			return slices.Contains(names(cert), c.Name) &&
				slices.Contains(c.Services, strings.TrimPrefix(service, "mcpermit.v1."))
		})
	}
}

// names are those that a certificate carries.
func names(cert *x509.Certificate) []string {
	out := append([]string{cert.Subject.CommonName}, cert.DNSNames...)
	for _, u := range cert.URIs {
		out = append(out, u.String())
	}
	return slices.DeleteFunc(out, func(n string) bool { return n == "" })
}

// callerNames are those on the caller's certificate; nil on a unix socket.
func callerNames(ctx context.Context) []string {
	cert := clientCertificate(ctx)
	if cert == nil {
		return nil
	}
	return append([]string{}, names(cert)...)
}

// only refuses calls of our services that the permit does not allow. Health
// and reflection are open to whoever could connect.
func only(allowed permit) []grpc.ServerOption {
	check := func(ctx context.Context, method string) error {
		service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
		if !strings.HasPrefix(service, "mcpermit.") || allowed(clientCertificate(ctx), service) {
			return nil
		}
		return status.Error(codes.PermissionDenied, fmt.Sprintf("this client may not call %s; see pdp.clients", service))
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := check(ctx, info.FullMethod); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := check(s.Context(), info.FullMethod); err != nil {
				return err
			}
			return next(srv, s)
		}),
	}
}

func clientCertificate(ctx context.Context) *x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return nil
	}
	return info.State.VerifiedChains[0][0]
}
