// Package proxy is the standalone policy enforcement point: an HTTP reverse
// proxy for MCP servers that lets a frame pass only after a decision.
package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Server is one upstream MCP server. Its client URL is /mcp/NAME/.
type Server struct {
	// Name is 1 to 63 of a-z, 0-9 and "-".
	Name string
	// URL of the upstream's MCP endpoint; requests go exactly there.
	URL *url.URL
	// Transport reaches the upstream. Default: an own http.Transport. A
	// RoundTripper that knows that the upstream never saw a request wraps
	// [ErrNotSent] in its error, and one that serves subjects apart finds the
	// subject with [SubjectFrom].
	Transport http.RoundTripper
	// PerSubject says that Transport serves each subject apart, so that what one
	// subject was listed is not taken to exist for another.
	PerSubject bool
	// Limits of the frames that clients send.
	Limits mcp.Limits
	// AnswerBytes bounds one message of the upstream. Default 16 MiB.
	AnswerBytes int
	// Timeout is how long the upstream may be silent while it owes an answer:
	// until its headers, and from frame to frame. Default 60 s. GET streams and
	// subscriptions are not bounded.
	Timeout time.Duration
}

// Options configure a [Proxy].
type Options struct {
	Servers  []Server
	Enforcer *pep.Enforcer // required
	// PEP names this enforcement point in audit records.
	PEP string
	// Transport that clients use, for policy and audit. Default TRANSPORT_HTTP.
	Transport v1.Transport
	// AllowedHosts are the values that Host may have: "name" with any port, or
	// "name:port". Default: the loopback names.
	AllowedHosts []string
	// AllowedOrigins are the values that Origin may have besides the proxy's
	// own: "https://chat.example".
	AllowedOrigins []string
	Logger         *slog.Logger // default slog.Default
}

// ErrNotSent is wrapped by a RoundTripper's error when the upstream certainly
// never saw the request.
var ErrNotSent = errors.New("the request was not sent")

// Proxy is an http.Handler for /mcp/NAME and /mcp/NAME/.
type Proxy struct{ o Options }

// New returns a Proxy, or an error that says which option to change.
func New(o Options) (*Proxy, error) { return &Proxy{o: o}, nil }

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.Error(w, "not written yet", http.StatusServiceUnavailable)
}

// Shutdown refuses new streams, ends the open ones cleanly and waits for the
// calls in flight, until ctx ends; then it cuts them off.
func (p *Proxy) Shutdown(ctx context.Context) error { return nil }

// Guard wraps a listener so that the proxy sees, and records, requests that
// net/http refuses on its own, and recognises ambiguous message framing. Serve
// TLS by wrapping the TLS listener.
func (p *Proxy) Guard(l net.Listener) net.Listener { return l }

// NewHTTPServer returns an http.Server for h with the time-outs and limits
// that a proxy needs: 5 s for the headers, at most 32 KiB of them.
func NewHTTPServer(addr string, h http.Handler) *http.Server {
	return &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 32 << 10}
}

// SubjectFrom returns the id of the subject on whose behalf a request to an
// upstream is made, "" before one is known.
func SubjectFrom(ctx context.Context) string { return "" }
