// Package proxy is the standalone policy enforcement point: an HTTP reverse
// proxy for MCP servers that lets a frame pass only after a decision.
//
// Clients of both protocol eras reach a server under /mcp/NAME/. What a client
// sends is read whole, by the strict reader of package mcp, and put to the
// [pep.Enforcer]; the bytes that were decided on are the bytes that are
// forwarded (I2). What the server sends is read frame by frame: listings are
// filtered wherever they arrive, requests and resource notifications to the
// client are decided on, and streams are never buffered.
//
// A call that a person has to approve is refused until one has. A client that can
// be asked brings it back by itself, and it is held while the approval is
// pending; all others are told in words to repeat it.
//
// Clients show grant tokens there. Access tokens of an authorization server they
// show under an address of its own (see [OAuth]), and neither place takes the
// other's tokens: with each question the PDP is told what the token was shown for,
// and a session that was opened in one place is unknown in the other.
//
// What a decision adds to a frame (headers, a query, an environment) is added to that
// one request. Where the upstream refuses it with 401, the credential is renewed and,
// if it does no harm, the same bytes are sent once more; the client never sees the
// upstream's 401.
//
// # Delegation
//
// The holder of a grant that may be delegated makes a weaker one below it with
//
//	POST /grants
//	Authorization: Bearer mcpg_…
//	Content-Type: application/json
//
//	{"subject": {"id": "sub-agent", "type": "agent"}, "tools": ["get_*"], "expires_in": 900}
//
// Further members are servers, tools, classes, policies, labels, not_before and
// expires_at (RFC 3339; expires_in is in seconds), max_uses and delegations; what is
// left out is as in the grant above. Any other member is an error. The answer is 201
// with id, token and expires_at, or {"error", "reason"} with 400, 401, 403, 413, 415,
// 429 or 503. The token is shown there and never again.
//
// # State
//
// A [Proxy] keeps in memory who opened which legacy session, which requests of
// the server wait for the client's response, and what the server listed. It
// keeps no token and no upstream credential beyond one act. Replicas do not
// share that memory: a session belongs to the replica on which it was opened,
// and any other answers it with 404, after which clients open a new one.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
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
	// URL of the upstream's MCP endpoint; requests go exactly there. A Transport
	// that needs none may leave it nil.
	URL *url.URL
	// Transport reaches the upstream. Default: an own http.Transport. A
	// RoundTripper that knows that the upstream never saw a request wraps
	// [ErrNotSent] in its error, and one that serves subjects apart finds the
	// subject with [SubjectFrom].
	Transport http.RoundTripper
	// Allow are networks that the own transport connects to though they are
	// link-local or a cloud's metadata service.
	Allow []netip.Prefix
	// PerSubject says that Transport serves each subject apart, so that what one
	// subject was listed is not taken to exist for another.
	PerSubject bool
	// Command says that Transport runs a command: what a decision adds to a call is
	// its environment, which [EnvironmentFrom] finds, and never a header or a query.
	Command bool
	// Credentialed says that calls carry what decisions add to them: then the
	// server's listing is asked for in the same way from the start, and not only
	// once that was seen.
	Credentialed bool
	// Limits of the frames that clients send.
	Limits mcp.Limits
	// AnswerBytes bounds one message of the upstream. Default 16 MiB.
	AnswerBytes int
	// Timeout is how long the upstream may be silent while it owes an answer:
	// until its headers, and from frame to frame. Default 60 s. GET streams and
	// subscriptions are not bounded.
	Timeout time.Duration
}

// Options configure a [Proxy]. Only Servers and Enforcer are required.
type Options struct {
	Servers  []Server
	Enforcer *pep.Enforcer
	// PEP names this enforcement point in audit records.
	PEP string
	// Transport that clients use, for policy and audit. Default TRANSPORT_HTTP.
	Transport v1.Transport
	// OAuth is where clients show access tokens. Nil: nowhere.
	OAuth *OAuth
	// AllowedHosts are values that Host may have besides the loopback names:
	// "name" with any port, or "name:port".
	AllowedHosts []string
	// AllowedOrigins are values that Origin may have besides the proxy's own:
	// "https://chat.example".
	AllowedOrigins []string

	// BodyTimeout is how long a client may take to send a frame. Default 10 s.
	BodyTimeout time.Duration
	// ListTimeout bounds the proxy's own question for a server's listing, all
	// pages together. Default 3 s.
	ListTimeout time.Duration
	// ApprovalPatience is how long a call that came back to be approved is held
	// while its approval is pending. Default 25 s, well below the minute that
	// clients wait for an answer.
	ApprovalPatience time.Duration
	// KeepAlive is the silence after which an event stream gets a comment.
	// Default 15 s.
	KeepAlive time.Duration
	// SessionIdle is how long a session is remembered without use. Default 1 h.
	SessionIdle time.Duration
	// MaxSessions bounds the sessions that are remembered; the longest unused
	// goes first. Default 10,000.
	MaxSessions int
	// MaxCalls and MaxStreams bound what is under way at once; what is beyond
	// is refused with 503. Defaults 4,096 and 16,384.
	MaxCalls, MaxStreams int

	Logger *slog.Logger // default slog.Default
}

// ErrNotSent is wrapped by a RoundTripper's error when the upstream certainly
// never saw the request.
var ErrNotSent = errors.New("the request was not sent")

// Proxy is an http.Handler for /mcp/NAME and /mcp/NAME/, where clients show grant
// tokens, and for what [OAuth] and [Proxy.OAuth] say. Serve it with [NewHTTPServer]
// behind [Proxy.Guard].
type Proxy struct {
	o          Options
	hosts      hostRules
	upstreams  map[string]*upstream
	oauth      *oauth // nil: there is none
	dialogs    *dialogs
	identities *identities
	gate       *gate
	vigil      *vigil
	meter      *meter
}

// New returns a Proxy, or an error that says which option to change.
func New(o Options) (*Proxy, error) {
	if o.Enforcer == nil {
		return nil, errors.New("proxy: Options.Enforcer is required")
	}
	o.setDefaults()
	hosts, err := newHostRules(o.AllowedHosts, o.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		o: o, hosts: hosts,
		upstreams:  make(map[string]*upstream, len(o.Servers)),
		dialogs:    newDialogs(o.SessionIdle, o.MaxSessions),
		identities: new(identities),
		gate:       newGate(o.MaxCalls, o.MaxStreams),
		vigil:      &vigil{recheck: o.Enforcer.Recheck},
		meter:      newMeter(),
	}
	for _, s := range o.Servers {
		if p.upstreams[s.Name] != nil {
			return nil, fmt.Errorf("proxy: server %q is there twice", s.Name)
		}
		if p.upstreams[s.Name], err = newUpstream(s, o.Transport); err != nil {
			return nil, err
		}
	}
	if o.OAuth != nil {
		if p.oauth, err = newOAuth(*o.OAuth, o.Servers); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (o *Options) setDefaults() {
	orDefault(&o.Transport, v1.Transport_TRANSPORT_HTTP)
	orDefault(&o.BodyTimeout, 10*time.Second)
	orDefault(&o.ListTimeout, 3*time.Second)
	orDefault(&o.ApprovalPatience, 25*time.Second)
	orDefault(&o.KeepAlive, 15*time.Second)
	orDefault(&o.SessionIdle, time.Hour)
	orDefault(&o.MaxSessions, 10_000)
	orDefault(&o.MaxCalls, 4_096)
	orDefault(&o.MaxStreams, 16_384)
	orDefault(&o.Logger, slog.Default())
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case p.oauth != nil && !p.oauth.Apart && p.oauth.owns(r.RequestURI):
		p.serveOAuth(w, r)
	case isWellKnown(r.RequestURI):
		// Probes for OAuth metadata carry no frame and name no server. Anything
		// but a plain 404 makes clients drop a configured Authorization header.
		http.NotFound(w, r)
	case r.RequestURI == grantsPath:
		p.serveGrants(w, r)
	default:
		p.serve(w, r, nil)
	}
}

// serve serves one act of a client; o is where it shows an access token, nil
// where it shows a grant token.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, o *oauth) {
	a := p.arrive(w, r, o)
	if a.ticket = p.gate.enter(r.Method == http.MethodGet); a.ticket != nil {
		defer a.ticket.leave() // last, so that a shutdown waits for the outcome as well
	}
	defer a.end()
	if a.ticket == nil {
		a.refuse(busy)
		return
	}
	if fault := a.admit(); fault != nil {
		a.refuse(fault)
		return
	}
	switch r.Method {
	case http.MethodPost:
		a.post()
	case http.MethodGet:
		a.openStream()
	case http.MethodDelete:
		a.endSession()
	}
}

// Shutdown refuses new streams, ends the open ones cleanly and waits for the
// calls in flight; when ctx ends first it cuts them off and returns ctx's
// error. It does not keep new calls out: that is http.Server.Shutdown's part,
// which must run beside it or after it, since it waits for the connections that
// Shutdown lets go.
func (p *Proxy) Shutdown(ctx context.Context) error {
	err := p.gate.drain(ctx)
	for _, u := range p.upstreams {
		u.close()
	}
	return err
}
