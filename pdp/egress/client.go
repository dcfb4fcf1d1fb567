// Package egress guards the requests that the decision point makes by itself: for
// keys, metadata and tokens of authorization servers. Part of their addresses comes
// from documents that others wrote, so each is checked where it counts, at the
// connection (server-side request forgery, DNS rebinding).
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// ErrRefused is wrapped by the errors of requests that were not made, or not
// followed, because the guard does not let them out.
var ErrRefused = errors.New("egress refused")

// ErrTooLong is wrapped by the error of reading an answer that is longer than the
// bound.
var ErrTooLong = errors.New("the answer is too long")

const (
	defaultBody    = 1 << 20
	defaultTimeout = 10 * time.Second
	maxHeader      = 64 << 10
	maxRedirects   = 3
)

// Options say where requests may go. The zero value lets them go to https:// URLs
// at public addresses.
type Options struct {
	// Trusted are the URLs that the configuration names. Their hosts may be at
	// private and loopback addresses, and those that are http:// are asked so. Only
	// scheme, host and port count; what is no http(s) URL is trusted for nothing.
	Trusted []string
	// Allow are networks that are allowed for every host.
	Allow []netip.Prefix
	// HTTP allows http:// for every host.
	HTTP bool
	// RootCAs sign the certificates of the hosts; nil is the system's.
	RootCAs *x509.CertPool
	// MaxBody bounds an answer, in bytes; 0 is 1 MiB. A longer one is an error when
	// it is read, not cut.
	MaxBody int64
	// Timeout bounds a request from its begin to the end of its answer; 0 is 10 s.
	Timeout time.Duration
	// Resolver looks names up; nil is the system's.
	Resolver *net.Resolver
}

// New returns a client for guarded requests; it is safe for concurrent use. It
// follows at most three redirects, none to another scheme, host or port. It does
// not go through a proxy, whatever the environment says: the guard would see the
// proxy's address in place of the host's.
func New(o Options) *http.Client {
	g := &guard{
		allow: o.Allow, http: o.HTTP, resolver: o.Resolver, maxBody: o.MaxBody,
		origins: map[string]bool{}, addresses: map[string]bool{},
	}
	if g.maxBody == 0 {
		g.maxBody = defaultBody
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	for _, s := range o.Trusted {
		if u, err := url.Parse(s); err == nil && hasOrigin(u) {
			g.origins[origin(u)], g.addresses[hostPort(u)] = true, true
		}
	}
	g.transport = &http.Transport{
		DialContext:            g.dial,
		TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    o.Timeout,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: maxHeader,
		MaxConnsPerHost:        16,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true, // the bound is then on what travels and on what is read
	}
	return &http.Client{Transport: g, CheckRedirect: checkRedirect, Timeout: o.Timeout}
}

// guard checks each request, each connection and each answer.
type guard struct {
	allow     []netip.Prefix
	http      bool
	origins   map[string]bool // scheme://host:port of trusted URLs
	addresses map[string]bool // their host:port
	resolver  *net.Resolver
	maxBody   int64
	transport *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.checkURL(r.URL); err != nil {
		closeBody(r)
		return nil, err
	}
	res, err := g.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = &boundedBody{ReadCloser: res.Body, left: g.maxBody, tooLong: fmt.Errorf("%w: more than %d bytes", ErrTooLong, g.maxBody)}
	return res, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections work.
func (g *guard) CloseIdleConnections() { g.transport.CloseIdleConnections() }

func (g *guard) checkURL(u *url.URL) error {
	switch {
	case !hasOrigin(u):
		return fmt.Errorf("%w: only http(s) URLs with a host are asked", ErrRefused)
	case u.User != nil:
		return fmt.Errorf("%w: a URL must not hold credentials", ErrRefused)
	case u.Scheme == "http" && !g.http && !g.origins[origin(u)]:
		return fmt.Errorf("%w: %s is not https, and the configuration does not name it as http", ErrRefused, u.Host)
	}
	return nil
}

// dial connects, if the address that the name has now may be connected to.
func (g *guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	trusted := g.addresses[strings.ToLower(address)]
	d := net.Dialer{
		Resolver: g.resolver,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %q is no IP address", ErrRefused, address)
			}
			return g.checkAddress(to.Addr(), trusted)
		},
	}
	return d.DialContext(ctx, network, address)
}

func checkRedirect(r *http.Request, via []*http.Request) error {
	switch first := via[0].URL; {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d redirects", ErrRefused, maxRedirects)
	case !hasOrigin(r.URL) || origin(r.URL) != origin(first):
		return fmt.Errorf("%w: a redirect away from %s", ErrRefused, first.Host)
	}
	return nil
}

func hasOrigin(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

func origin(u *url.URL) string { return u.Scheme + "://" + hostPort(u) }

func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// closeBody does what a RoundTripper has to do with a request that it refuses.
func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

// boundedBody fails where the answer goes on after its bound.
type boundedBody struct {
	io.ReadCloser
	left    int64
	tooLong error
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.tooLong
	}
	// One byte more than may come, to see whether it does.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, b.tooLong
	}
	return n, err
}
