package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// NewHTTPServer returns an http.Server for h, which is a Proxy or passes
// requests on to one, with the time-outs and limits that it needs: 5 s and 32
// KiB for the headers, 2 minutes for an idle connection. The body's time-out is
// the proxy's, and answers have none. Serve it on a listener from
// [Proxy.Guard].
func NewHTTPServer(addr string, h http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, guarded(r)) }),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32<<10 - 4096, // net/http adds 4 KiB of slack
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, guardKey{}, c)
		},
		ConnState: func(c net.Conn, s http.ConnState) {
			if g, ok := c.(*guardedConn); ok && s == http.StateIdle {
				g.idle()
			}
		},
	}
}

// Guard wraps a listener so that the proxy records the requests that net/http
// refuses on its own (I5), and recognises a Content-Length beside a
// Transfer-Encoding, which net/http hides. It also gives up, after 30 to 45 s,
// on a client that does not read what is written to it. To serve TLS, guard the listener of
// tls.NewListener, with "http/1.1" as its only protocol.
func (p *Proxy) Guard(l net.Listener) net.Listener { return &guardedListener{Listener: l, p: p} }

type guardKey struct{}

// guarded notes that net/http has accepted a request, and accounts for its
// framing.
func guarded(r *http.Request) *http.Request {
	g, ok := r.Context().Value(guardKey{}).(*guardedConn)
	if !ok {
		return r
	}
	g.accept(r)
	if c, ok := g.Conn.(*tls.Conn); ok {
		state := c.ConnectionState()
		r.TLS = &state
	}
	return r
}

// framing refuses a request whose length two readers could see differently.
// net/http prefers Transfer-Encoding to Content-Length, ignores it in HTTP/1.0,
// and in both cases takes the other header away. Without a guard that is not
// seen, so a chunked body is refused altogether.
func framing(r *http.Request) *mcp.Fault {
	if r.ProtoMajor > 1 {
		return nil
	}
	chunked := len(r.TransferEncoding) > 0
	g, ok := r.Context().Value(guardKey{}).(*guardedConn)
	if !ok {
		if chunked {
			return invalid(http.StatusBadRequest, mcp.RuleFraming, "send the body with a Content-Length")
		}
		return nil
	}
	if g.ambiguous(r, chunked) {
		return invalid(http.StatusBadRequest, mcp.RuleFraming, "Transfer-Encoding and Content-Length exclude each other")
	}
	return nil
}

type guardedListener struct {
	net.Listener
	p *Proxy
}

func (l *guardedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: c, p: l.p}, nil
}

// guardedConn watches one connection. net/http reads and writes it from one
// goroutine at a time, and from another one while a handler runs.
type guardedConn struct {
	net.Conn
	p *Proxy

	mu       sync.Mutex
	lines    lineScanner
	begun    bool // something was read at all
	partial  bool // something was read since the connection was idle
	accepted bool // a handler got the request that was read
	reported bool
	// Header lines that net/http has shown us, to be held against those that
	// were seen on the wire.
	lengths, codings int

	writeBy time.Time // the deadline that is set for writes
}

func (c *guardedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 {
		c.begun, c.partial = true, true
	}
	c.lines.scan(b[:n])
	return n, err
}

// Write sees what net/http answers before any handler has the request.
func (c *guardedConn) Write(b []byte) (int, error) {
	if status := refusalStatus(b); status != 0 {
		c.report(status, "the HTTP server refused the request", false)
	}
	c.extend()
	return c.Conn.Write(b)
}

// writeTimeout is the least that a client has to take what is written at once.
const writeTimeout = 30 * time.Second

// extend moves the deadline for writes, where too little time is left: setting
// it costs more than looking.
func (c *guardedConn) extend() {
	now := time.Now()
	c.mu.Lock()
	enough := c.writeBy.Sub(now) >= writeTimeout
	if !enough {
		c.writeBy = now.Add(writeTimeout + writeTimeout/2)
	}
	by := c.writeBy
	c.mu.Unlock()
	if !enough {
		_ = c.SetWriteDeadline(by) // fails on a closed connection, as the write will
	}
}

func (c *guardedConn) Close() error {
	c.report(http.StatusRequestTimeout, "the request did not arrive whole", true)
	return c.Conn.Close()
}

// CloseWrite lets net/http half-close the connection after a refusal, so that
// the client reads it.
func (c *guardedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *guardedConn) idle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partial, c.accepted, c.reported = false, false, false
}

func (c *guardedConn) accept(r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted = true
	c.lengths += len(r.Header["Content-Length"])
	c.codings += len(r.TransferEncoding)
}

// ambiguous reports whether the wire had a framing header that net/http does
// not show. Only the counts are known, so a pipelined request may take part
// in them; no MCP client pipelines POSTs with different framings.
func (c *guardedConn) ambiguous(r *http.Request, chunked bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case chunked:
		return c.lines.lengths > c.lengths
	case r.ProtoMajor == 1 && r.ProtoMinor == 0:
		return c.lines.codings > c.codings
	}
	return false
}

// report puts a request on record that no handler ever saw. A connection that
// closes may simply have had no further request.
func (c *guardedConn) report(status int, reason string, closing bool) {
	c.mu.Lock()
	silent := c.accepted || c.reported || !c.begun || closing && !c.partial
	c.reported = true
	c.mu.Unlock()
	if silent {
		return
	}
	d := c.p.o.Enforcer.Decide(context.Background(), &v1.DecideRequest{
		Evidence: &v1.Evidence{Peer: c.RemoteAddr().String()},
		Context: &v1.FrameContext{
			Transport: c.p.o.Transport, Pep: c.p.o.PEP, Direction: v1.Direction_DIRECTION_TO_SERVER, ReceivedAt: timestamppb.Now(),
		},
		Fault: &v1.Fault{HttpStatus: int32(status), Rule: ruleNetHTTP, Reason: reason},
	}, 0)
	c.p.meter.frame(context.Background(), "", "", "to_server", d)
}

// refusalStatus is the status in an answer that begins like one of net/http's
// own refusals, 0 for any other bytes.
func refusalStatus(b []byte) int {
	const start = len("HTTP/1.x ")
	if len(b) < start+3 || !bytes.HasPrefix(b, []byte("HTTP/1.")) || b[start] != '4' && b[start] != '5' {
		return 0
	}
	status, _ := strconv.Atoi(string(b[start : start+3]))
	return status
}

// lineScanner counts the lines that begin like a framing header. No JSON body
// has such a line: outside of strings no name stands without quotes, and
// inside of them no line breaks.
type lineScanner struct {
	name             [len("transfer-encoding") + 1]byte
	n                int // of name; -1 in the rest of a line
	lengths, codings int
}

func (s *lineScanner) scan(b []byte) {
	for len(b) > 0 {
		if s.n < 0 {
			i := bytes.IndexByte(b, '\n')
			if i < 0 {
				return
			}
			s.n, b = 0, b[i+1:]
			continue
		}
		c := b[0]
		b = b[1:]
		switch {
		case c == '\n':
			s.n = 0
		case c == ':':
			s.count(string(bytes.TrimRight(s.name[:s.n], " \t")))
			s.n = -1
		case s.n == len(s.name):
			s.n = -1
		default:
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			s.name[s.n] = c
			s.n++
		}
	}
}

func (s *lineScanner) count(name string) {
	switch name {
	case "content-length":
		s.lengths++
	case "transfer-encoding":
		s.codings++
	}
}
