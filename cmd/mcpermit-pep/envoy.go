package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/cmd/serve"
	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/envoy"
	"github.com/mcpermit/mcpermit/pep/proxy"
)

// EnvoyServeCmd is `mcpermit-pep envoy serve`, and `mcpermit-pep envoy` alone.
type EnvoyServeCmd struct{ common }

// Help is shown below the flags' synopsis by --help.
func (*EnvoyServeCmd) Help() string {
	return `Serves the ext_authz, ext_proc and access log filters of Envoys, at envoy.listen
of the configuration. 'mcpermit-pep envoy config' prints what such an Envoy has
to be configured with.`
}

// Run serves until a signal.
func (c *EnvoyServeCmd) Run(p *process) error {
	on, err := c.ground(p)
	if err != nil {
		return err
	}
	defer on.client.Close()
	gateway, err := serve.NewEnvoyGateway(on.cfg, on.client, on.log, func() http.RoundTripper {
		return envoy.Transport{Direct: proxy.NewTransport(nil)}
	})
	if err != nil {
		return misuse{err}
	}
	point := envoy.NewServer(envoy.Options{
		Proxy: gateway.Proxy, TrustedForwarders: on.cfg.Envoy.TrustedForwarders, OAuthPath: oauthPath(on.cfg.OAuth),
	})
	if on.cfg.OAuth.URL != "" && oauthPath(on.cfg.OAuth) == "" {
		on.log.Warn("behind an Envoy access tokens are told from grant tokens by the path: give oauth.url one, such as /oauth")
	}
	server, listener, err := listenForEnvoys(p.ctx, on.cfg, point)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "mcpermit-pep: serving Envoys at %s, for {%s}\n", on.cfg.Envoy.Listen, strings.Join(on.cfg.ServerNames(), ","))
	return on.run(p,
		serve.Service{Name: "gateway", Stop: gateway.Shutdown},
		serve.Service{Name: "access logs", Stop: func(context.Context) error { point.Close(); return nil }},
		serve.GRPC("envoy", server, listener))
}

// listenForEnvoys returns the gRPC server with all that Envoys ask for: health
// checks of theirs name the service that they are about.
func listenForEnvoys(ctx context.Context, cfg *config.Config, point *envoy.Server) (*grpc.Server, net.Listener, error) {
	o := []grpc.ServerOption{grpc.MaxRecvMsgSize(pep.MaxMessage), grpc.MaxConcurrentStreams(1 << 20)}
	if cfg.Envoy.TLS.Cert != "" {
		tls, err := cfg.Envoy.TLS.Server()
		if err != nil {
			return nil, nil, misuse{fmt.Errorf("envoy.tls: %w", err)}
		}
		o = append(o, grpc.Creds(credentials.NewTLS(tls)))
	}
	s := grpc.NewServer(o...)
	point.Register(s)
	h := health.NewServer()
	h.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(s, h)
	reflection.Register(s)

	network, address := config.SplitAddress(cfg.Envoy.Listen)
	if network == "unix" {
		l, err := serve.ListenUnix(address)
		return s, l, err
	}
	l, err := serve.Listen(ctx, "envoy.listen", address)
	return s, l, err
}
