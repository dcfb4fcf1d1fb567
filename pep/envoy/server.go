package envoy

import (
	"context"
	"errors"
	"net/http"
	"sync"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"

	"github.com/mcpermit/mcpermit/pep/proxy"
)

// Options configure a [Server]. Proxy is required.
type Options struct {
	// Proxy serves the requests. Its servers' transports are [Transport]s.
	Proxy http.Handler
	// OAuthPath is the path of [proxy.OAuth]'s URL: what is below it is served where
	// clients show access tokens. Empty: there is no such place.
	OAuthPath string
	// TrustedForwarders are the principals, as Envoy names its peers, whose
	// X-Forwarded-Client-Cert is believed: proxies that have ended the clients'
	// TLS themselves.
	TrustedForwarders []string
	// MaxExchanges bounds the requests that are under way at once. Default 65,536.
	MaxExchanges int
}

// Server is what an Envoy asks. It is safe for concurrent use.
type Server struct {
	authv3.UnimplementedAuthorizationServer
	procv3.UnimplementedExternalProcessorServer
	accesslogv3.UnimplementedAccessLogServiceServer

	proxy     http.Handler
	trusted   []string
	oauthPath string
	exchanges exchanges
	closed    chan struct{}
}

// NewServer returns a Server. Register it, and serve its connections to
// Envoys only: whoever reaches it can claim to be any client's Envoy.
func NewServer(o Options) *Server {
	if o.MaxExchanges <= 0 {
		o.MaxExchanges = 65_536
	}
	return &Server{
		proxy: o.Proxy, trusted: o.TrustedForwarders, oauthPath: o.OAuthPath, closed: make(chan struct{}),
		exchanges: exchanges{most: o.MaxExchanges, byDecision: map[string]*exchange{}},
	}
}

// Close ends the streams on which Envoys tell how requests have ended. Call it
// once, when nothing waits for that any more: the proxy has drained.
func (s *Server) Close() { close(s.closed) }

// Register adds the three services to g.
func (s *Server) Register(g grpc.ServiceRegistrar) {
	authv3.RegisterAuthorizationServer(g, s)
	procv3.RegisterExternalProcessorServer(g, s)
	accesslogv3.RegisterAccessLogServiceServer(g, s)
}

// Transport is the way to an upstream behind Envoy, for [proxy.Server]: what a
// client sent goes on through Envoy, and what the gateway asks by itself goes
// to the upstream directly.
type Transport struct {
	// Direct makes the gateway's own requests. Nil: none can be made, and what
	// the server lists is learnt from its clients' listings alone.
	Direct http.RoundTripper
}

var errNoWay = errors.New("the gateway has no way of its own to the server")

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if passage, passes := proxy.PassageFrom(r.Context()); passes {
		if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
			return x.forward(r, passage)
		}
	}
	if t.Direct == nil {
		return nil, errNoWay
	}
	return t.Direct.RoundTrip(r)
}

// exchanges are those that go on through Envoy, by the id of their decision.
type exchanges struct {
	most int

	mu         sync.Mutex
	byDecision map[string]*exchange
}

// add reports false when there are too many.
func (e *exchanges) add(x *exchange) bool {
	id := x.decision.GetDecisionId()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.byDecision) >= e.most || id == "" || e.byDecision[id] != nil {
		return false
	}
	e.byDecision[id] = x
	context.AfterFunc(x.ctx, func() { e.remove(id) })
	return true
}

func (e *exchanges) get(id string) *exchange {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.byDecision[id]
}

func (e *exchanges) remove(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.byDecision, id)
}
