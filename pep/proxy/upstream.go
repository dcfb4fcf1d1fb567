package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/mcpermit/mcpermit/pep"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// upstream is a Server in use.
type upstream struct {
	Server
	own    *http.Transport // nil when the Server brought its own
	blank  http.Request    // what all requests to it have in common
	shelf  *shelf          // what it lists, where it keeps no sessions
	recent pool            // its latest listings, shared between sessions
	// credentialed is set once a decision added something: then the server's own
	// listing, too, can only be had with a decision.
	credentialed atomic.Bool
	takes        pep.Means
}

func newUpstream(s Server, over v1.Transport) (*upstream, error) {
	u := &upstream{Server: s}
	if !isServerName(s.Name) {
		return nil, fmt.Errorf("proxy: server name %q is not 1 to 63 of a-z, 0-9 and -", s.Name)
	}
	orDefault(&u.AnswerBytes, 16<<20)
	orDefault(&u.Timeout, time.Minute)
	if s.Transport == nil {
		if s.URL == nil || s.URL.Scheme != "http" && s.URL.Scheme != "https" || s.URL.Host == "" || s.URL.User != nil {
			return nil, fmt.Errorf("proxy: server %s needs an http or https URL without credentials in it", s.Name)
		}
		u.own = NewTransport(s.Allow)
		u.Transport = u.own
	}
	if u.URL == nil {
		u.URL = &url.URL{Scheme: "http", Host: s.Name, Path: "/"}
	}
	u.blank = http.Request{URL: u.URL, Host: u.URL.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	u.shelf = new(shelf)
	u.credentialed.Store(s.Credentialed)
	switch {
	case s.Command:
		u.takes = pep.SetEnvironment
	case over == v1.Transport_TRANSPORT_ENVOY && u.URL.RawQuery != "":
		// Envoy adds to the client's path, and the route puts the server's path
		// with its query in front of that: there would be two queries.
		u.takes = pep.SetHeaders
	case over == v1.Transport_TRANSPORT_ENVOY:
		u.takes = pep.SetHeaders | pep.SetPlainQuery
	default:
		u.takes = pep.SetHeaders | pep.SetQuery
	}
	return u, nil
}

// means are the ways to add something to a frame on its way to the server; none
// where there is no server.
func (u *upstream) means() pep.Means {
	if u == nil {
		return 0
	}
	return u.takes
}

func (u *upstream) close() {
	if u.own != nil {
		u.own.CloseIdleConnections()
	}
}

// NewTransport returns the transport to one upstream. It follows nothing,
// decodes nothing and adds nothing. Idle connections go before the 5 s after
// which the usual servers close theirs: a POST that meets a closing connection
// is lost, since it must not be sent twice. It connects to no link-local address and
// no metadata service outside of the networks of allow, whatever names lead there.
func NewTransport(allow []netip.Prefix) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second, Control: reachable(allow)}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           1024,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        4 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// Why there is no whole answer, as the audit record says it.
var (
	errSilent      = errors.New("upstream timeout")
	errUnreachable = errors.New("upstream unreachable")
	errReset       = errors.New("upstream reset")
	errClientGone  = errors.New("client gone")
	errExpelled    = errors.New("credential no longer valid")
)

// line is one request to the upstream and its answer, under a watch.
type line struct {
	gate      *gate
	ctx       context.Context //nolint:containedctx // a line is one request
	cancel    context.CancelCauseFunc
	watch     *time.Timer // nil: as silent as it likes
	patience  time.Duration
	undrained func() bool // takes the line away from those that end when the gate drains; nil: it is none
	connected atomic.Bool
}

// newLine begins a request to the upstream on behalf of ctx. The upstream may
// be silent for as long as patience says; with 0 the line is endless.
func (p *Proxy) newLine(ctx context.Context, patience time.Duration) *line {
	l := &line{gate: p.gate, patience: patience}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.gate.watch(l)
	if patience > 0 {
		l.watch = time.AfterFunc(patience, func() { l.cancel(errSilent) })
	} else {
		l.endless()
	}
	return l
}

// alive is called whenever the upstream shows progress.
func (l *line) alive() {
	if l.watch != nil {
		l.watch.Reset(l.patience)
	}
}

// rest takes the watch off while nothing is asked of the upstream, until alive.
func (l *line) rest() {
	if l.watch != nil {
		l.watch.Stop()
	}
}

// endless takes the watch off a stream that stays open; it ends when the
// gateway drains.
func (l *line) endless() {
	if l.watch != nil {
		l.watch.Stop()
		l.watch = nil
	}
	if l.undrained == nil {
		l.undrained = context.AfterFunc(l.gate.draining, func() { l.cancel(errDraining) })
	}
}

func (l *line) close() {
	if l.watch != nil {
		l.watch.Stop()
	}
	if l.undrained != nil {
		l.undrained()
	}
	l.gate.forget(l)
	l.cancel(nil)
}

// why says why the line broke with err: the gateway's own reason to break it
// comes first.
func (l *line) why(err error) error {
	switch cause := context.Cause(l.ctx); {
	case cause == nil:
	case errors.Is(cause, errSilent), errors.Is(cause, errCut), errors.Is(cause, errDraining), errors.Is(cause, errExpelled):
		return cause
	default:
		return errClientGone
	}
	if !l.connected.Load() || errors.Is(err, ErrNotSent) {
		return errUnreachable
	}
	return errReset
}

// request builds a request on the line to the upstream's one URL, with all that
// the obligations add to it.
func (u *upstream) request(l *line, method string, body []byte, h http.Header, duties []*v1.Obligation) *http.Request {
	ctx := withEnvironment(l.ctx, duties)
	if u.own != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn: func(httptrace.GotConnInfo) { l.connected.Store(true) },
		})
	} else {
		l.connected.Store(true)
	}
	r := u.blank.WithContext(ctx)
	r.Method, r.Header = method, h
	u.oblige(r, duties)
	if body != nil {
		h["Content-Type"] = jsonOnly
		r.ContentLength = int64(len(body))
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	return r
}

// send makes the line's one round trip to the upstream. A redirect is an answer
// like any other: it is not followed. sent is false only if the upstream
// certainly never saw the request.
func (u *upstream) send(l *line, r *http.Request) (res *http.Response, sent bool, err error) {
	res, err = u.Transport.RoundTrip(r)
	if err != nil {
		return nil, l.connected.Load() && !errors.Is(err, ErrNotSent), err
	}
	l.alive()
	return res, true, nil
}
