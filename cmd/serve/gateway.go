package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/mcp"
	"github.com/mcpermit/mcpermit/pep/proxy"
	"github.com/mcpermit/mcpermit/pep/stdio"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Gateway is the proxy with its upstreams, over any decider.
type Gateway struct {
	Proxy *proxy.Proxy

	enforcer *pep.Enforcer
	children []*stdio.Child
	server   *http.Server
	oauth    *http.Server // nil where access tokens have no listener of their own
	log      *slog.Logger
}

// NewGateway builds the enforcement point that the configuration describes.
// transport says how clients reach it.
func NewGateway(cfg *config.Config, d pep.Decider, transport v1.Transport, log *slog.Logger) (*Gateway, error) {
	return newGateway(cfg, d, transport, log, nil)
}

// NewEnvoyGateway builds one whose clients' requests go on through an Envoy: each
// server is reached by what via makes. Servers that are commands are left out.
func NewEnvoyGateway(cfg *config.Config, d pep.Decider, log *slog.Logger, via func() http.RoundTripper) (*Gateway, error) {
	reached := *cfg
	reached.Servers = maps.Clone(cfg.Servers)
	maps.DeleteFunc(reached.Servers, func(_ string, s config.Server) bool { return s.URL == "" })
	return newGateway(&reached, d, v1.Transport_TRANSPORT_ENVOY, log, via)
}

func newGateway(cfg *config.Config, d pep.Decider, transport v1.Transport, log *slog.Logger, via func() http.RoundTripper) (*Gateway, error) {
	g := &Gateway{log: log}
	g.enforcer = pep.NewEnforcer(d, pep.EnforcerOptions{Deadline: cfg.PDP.Deadline.Or(0), Logger: log})
	o := proxy.Options{
		Enforcer: g.enforcer, PEP: pepName(), Transport: transport,
		AllowedHosts: hosts(cfg), AllowedOrigins: cfg.Origins, Logger: log,
	}
	if via != nil {
		// A call is under way here until Envoy has logged its end.
		o.MaxCalls = 65_536
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Servers)) {
		s, err := g.upstream(cfg, name)
		if err != nil {
			return nil, fmt.Errorf("servers.%s: %w", name, err)
		}
		if via != nil {
			s.Transport = via()
		}
		o.Servers = append(o.Servers, s)
	}
	var err error
	if o.OAuth, err = oauthOptions(cfg.OAuth, via != nil); err != nil {
		return nil, err
	}
	p, err := proxy.New(o)
	if err != nil {
		return nil, err
	}
	g.Proxy, g.server = p, proxy.NewHTTPServer(cfg.Listen, p)
	if o.OAuth != nil && o.OAuth.Apart {
		g.oauth = proxy.NewHTTPServer(cfg.OAuth.Listen, p.OAuth())
	}
	return g, nil
}

func (g *Gateway) upstream(cfg *config.Config, name string) (proxy.Server, error) {
	c := cfg.Servers[name]
	s := proxy.Server{
		Name: name, Timeout: c.Timeout.Or(0), AnswerBytes: cfg.Limits.AnswerBytes,
		PerSubject: isPerHolder(c), Credentialed: len(c.Credentials) > 0,
		Limits: mcp.Limits{
			Bytes: cfg.Limits.FrameBytes, Depth: cfg.Limits.FrameDepth, Values: cfg.Limits.FrameValues,
			ExactNumbers: c.Numbers == "exact",
		},
	}
	if c.URL != "" {
		var err error
		if s.Allow, err = cfg.Egress.Networks(); err != nil {
			return s, err
		}
		s.URL, err = url.Parse(c.URL)
		return s, err
	}
	o := stdio.ChildOptions{
		Command: c.Command, Env: environment(c.Env), Dir: c.Dir, Limits: s.Limits,
		AnswerBytes: cfg.Limits.AnswerBytes, Timeout: c.Timeout.Or(0), Logger: g.log.With("server", name),
	}
	if c.Isolation == "subject" {
		o.Isolation, s.PerSubject = stdio.PerSubject, true
	}
	child := stdio.NewChild(o)
	g.children = append(g.children, child)
	s.URL = &url.URL{Scheme: "http", Host: name + ".stdio", Path: "/mcp"}
	s.Transport, s.Command = child, true
	return s, nil
}

// isPerHolder says whether calls of a server may carry what is one subject's and
// not another's, so that the server may list them different things.
func isPerHolder(c config.Server) bool {
	for _, credential := range c.Credentials {
		if credential.PerSubject || credential.Account != nil || credential.TokenExchange != nil || credential.JWTBearer != nil {
			return true
		}
		for _, values := range []map[string]string{credential.Headers, credential.Query, credential.Env} {
			for _, v := range values {
				if strings.Contains(v, "${secret:") { // a holder's own comes first
					return true
				}
			}
		}
	}
	return false
}

// Serve accepts clients with grant tokens until Shutdown; see [Gateway.Listen].
func (g *Gateway) Serve(l net.Listener) error { return g.serve(g.server, l) }

// Shutdown lets the calls in flight finish, ends streams cleanly, stops the
// children and flushes completions, in this order and until ctx ends.
func (g *Gateway) Shutdown(ctx context.Context) error {
	err := errors.Join(g.Proxy.Shutdown(ctx), g.server.Shutdown(ctx))
	if g.oauth != nil {
		err = errors.Join(err, g.oauth.Shutdown(ctx))
	}
	for _, c := range g.children {
		err = errors.Join(err, c.Close())
	}
	// The outcomes of the last calls still have to reach the PDP.
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return errors.Join(err, g.enforcer.Close(flush))
}

// hosts are the names, beside the loopback ones, under which clients may address
// the proxy.
func hosts(cfg *config.Config) []string {
	out := slices.Clone(cfg.Hosts)
	for _, addr := range []string{cfg.Listen, cfg.OAuth.Listen} {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" && !net.ParseIP(host).IsUnspecified() {
			out = append(out, addr)
		}
	}
	if u, err := url.Parse(cfg.OAuth.URL); err == nil && u.Host != "" {
		out = append(out, u.Host)
	}
	return out
}

func environment(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, k+"="+env[k])
	}
	return out
}

func pepName() string {
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "mcpermit"
}
