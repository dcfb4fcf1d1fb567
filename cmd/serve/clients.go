package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"golang.org/x/sync/errgroup"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pep/proxy"
)

// Clients are the listeners at which the clients of a [Gateway] come in.
type Clients struct {
	gateway *Gateway
	cfg     *config.Config
	grants  net.Listener
	oauth   net.Listener // nil where access tokens have no listener of their own
}

// Listen opens what the configuration says to listen on for clients, with its
// certificates, so that what can't be used is an error before anything is served.
func (g *Gateway) Listen(ctx context.Context, cfg *config.Config) (*Clients, error) {
	var secure *tls.Config
	if cfg.TLS.Cert != "" {
		var err error
		if secure, err = newTLS(cfg.TLS, g.log); err != nil {
			return nil, err
		}
	}
	c := &Clients{gateway: g, cfg: cfg}
	var err error
	if c.grants, err = listenSecurely(ctx, "listen", cfg.Listen, secure); err != nil {
		return nil, err
	}
	if g.oauth == nil {
		return c, nil
	}
	if c.oauth, err = listenSecurely(ctx, "oauth.listen", cfg.OAuth.Listen, secure); err != nil {
		return nil, errors.Join(err, c.grants.Close())
	}
	return c, nil
}

func listenSecurely(ctx context.Context, key, addr string, secure *tls.Config) (net.Listener, error) {
	l, err := Listen(ctx, key, addr)
	if err != nil || secure == nil {
		return l, err
	}
	return tls.NewListener(l, secure), nil
}

// Serve accepts clients until the gateway's Shutdown.
func (c *Clients) Serve() error {
	var both errgroup.Group
	both.Go(func() error { return c.gateway.serve(c.gateway.server, c.grants) })
	if c.oauth != nil {
		both.Go(func() error { return c.gateway.serve(c.gateway.oauth, c.oauth) })
	}
	return both.Wait()
}

// Announce says where clients find each server, a line for each way: with a grant
// token, and with an access token.
func (c *Clients) Announce(out io.Writer, program string) {
	scheme := "http"
	if c.cfg.TLS.Cert != "" {
		scheme = "https"
	}
	for _, name := range c.cfg.ServerNames() {
		fmt.Fprintf(out, "%s: %s://%s/mcp/%s/\n", program, scheme, c.grants.Addr(), name)
	}
	if c.cfg.OAuth.URL == "" {
		return
	}
	for _, name := range c.cfg.ServerNames() {
		fmt.Fprintf(out, "%s: %s/mcp/%s/ with access tokens\n", program, c.cfg.OAuth.URL, name)
	}
}

// oauthOptions is where clients show access tokens; nil: nowhere. Behind an Envoy
// they do so where its route has the path of the URL, so that without one there is
// no such place.
func oauthOptions(o config.OAuth, behindEnvoy bool) (*proxy.OAuth, error) {
	if o.URL == "" {
		return nil, nil
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("oauth.url: %w", err)
	}
	if behindEnvoy && u.Path == "" {
		return nil, nil
	}
	out := &proxy.OAuth{URL: u, Scopes: o.Scopes, Apart: o.Listen != "" && !behindEnvoy}
	for _, issuer := range o.Issuers {
		out.Issuers = append(out.Issuers, issuer.URL)
	}
	return out, nil
}

// serve serves one of the listeners.
func (g *Gateway) serve(s *http.Server, l net.Listener) error {
	if err := s.Serve(g.Proxy.Guard(l)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
