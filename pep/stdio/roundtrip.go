package stdio

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/mcpermit/mcpermit/pep/mcp"
	"github.com/mcpermit/mcpermit/pep/proxy"
)

const (
	sessionHeader = "Mcp-Session-Id"
	versionHeader = "Mcp-Protocol-Version"
)

// RoundTrip implements http.RoundTripper. What it answers is what a streamable
// HTTP server would: MCP 2026-07-28 for modern frames, 2025-11-25 and older,
// with a session, for the others. Streams are not resumable: events have no
// ids.
//
// An error that wraps [proxy.ErrNotSent] says that no process has seen the
// frame; after any other error it may have been carried out. A stream that
// breaks off because the process ended fails with an error too, not io.EOF.
func (c *Child) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := c.body(r)
	if err != nil {
		return nil, fmt.Errorf("read the frame: %w: %w", err, proxy.ErrNotSent)
	}
	switch r.Method {
	case http.MethodPost:
		return c.post(r, body)
	case http.MethodGet:
		return c.listen(r)
	case http.MethodDelete:
		return c.quit(r)
	}
	return notAllowed(r), nil
}

func (c *Child) body(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	defer r.Body.Close()
	return io.ReadAll(io.LimitReader(r.Body, int64(cmp.Or(c.options.Limits.Bytes, 1<<20))+1))
}

func (c *Child) post(r *http.Request, body []byte) (*http.Response, error) {
	f, err := mcp.Read(body, mcp.ToServer, c.options.Limits)
	var fault *mcp.Fault
	if errors.As(err, &fault) {
		return answer(r, fault.Status, mcp.Faulted(fault)), nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, proxy.ErrNotSent)
	}
	switch {
	case f.Meta.Modern:
		return c.postModern(r, f)
	case f.Kind == mcp.KindRequest && f.Method == "initialize":
		return c.initialize(r, f)
	}
	return c.postLegacy(r, f)
}

// postModern serves a frame that stands for itself.
func (c *Child) postModern(r *http.Request, f *mcp.Frame) (*http.Response, error) {
	for {
		l, err := c.link(r.Context(), subjectOf(r.Context()), modernVersion, environmentOf(r.Context()))
		if err != nil {
			return nil, err
		}
		resp, err := l.modernRoundTrip(r, f)
		if !errors.Is(err, errNoLink) {
			return resp, err
		}
	}
}

// modernRoundTrip serves one frame. The notifications of the core protocol are
// not sent over HTTP: they would name ids and tokens of other clients.
func (l *link) modernRoundTrip(r *http.Request, f *mcp.Frame) (*http.Response, error) {
	if f.Kind == mcp.KindRequest {
		return l.roundTrip(r, nil, f)
	}
	switch f.Method {
	case "notifications/cancelled", "notifications/progress", "notifications/initialized":
	default:
		if err := l.send(r.Context(), f.Bytes); err != nil {
			return nil, err
		}
	}
	return answer(r, http.StatusAccepted, nil), nil
}

// initialize opens a session.
func (c *Child) initialize(r *http.Request, f *mcp.Frame) (*http.Response, error) {
	subject := subjectOf(r.Context())
	for {
		l, err := c.link(r.Context(), subject, versionKey(f.Meta.ProtocolVersion), environmentOf(r.Context()))
		if err != nil {
			return nil, err
		}
		frame, ok, err := l.initialize(r.Context(), f)
		if errors.Is(err, errNoLink) {
			continue
		}
		if err != nil {
			return nil, err
		}
		resp := answer(r, http.StatusOK, frame)
		if !ok {
			return resp, nil
		}
		s, err := l.join(subject)
		if errors.Is(err, errNoLink) {
			continue
		}
		if err != nil {
			return nil, err
		}
		resp.Header.Set(sessionHeader, s.id)
		return resp, nil
	}
}

// postLegacy serves a frame of an open session.
func (c *Child) postLegacy(r *http.Request, f *mcp.Frame) (*http.Response, error) {
	s, refusal := c.session(r, f.ID)
	if refusal != nil {
		return refusal, nil
	}
	s.touch()
	var err error
	switch f.Kind {
	case mcp.KindRequest:
		if own := s.link.subscription(s, f); own != nil {
			return answer(r, http.StatusOK, own), nil
		}
		var resp *http.Response
		if resp, err = s.link.roundTrip(r, s, f); err == nil {
			return resp, nil
		}
	case mcp.KindResponse:
		err = s.link.respond(r.Context(), s, f)
	default:
		err = s.link.notify(r.Context(), s, f)
	}
	switch {
	case err == nil:
		return answer(r, http.StatusAccepted, nil), nil
	case errors.Is(err, errNotAsked):
		return answer(r, http.StatusBadRequest, nil), nil
	case errors.Is(err, errNoLink):
		return noSession(r, f.ID), nil
	}
	return nil, err
}

// listen opens the session's GET stream.
func (c *Child) listen(r *http.Request) (*http.Response, error) {
	if r.Header.Get(sessionHeader) == "" {
		return notAllowed(r), nil
	}
	s, refusal := c.session(r, nil)
	if refusal != nil {
		return refusal, nil
	}
	ctx, st := s.open(r.Context())
	return streamed(r, newEventBody(ctx, s.box, func() { s.leave(st) })), nil
}

func (c *Child) quit(r *http.Request) (*http.Response, error) {
	if r.Header.Get(sessionHeader) == "" {
		return notAllowed(r), nil
	}
	s, refusal := c.session(r, nil)
	if refusal != nil {
		return refusal, nil
	}
	s.link.quit(s)
	return answer(r, http.StatusNoContent, nil), nil
}

// session finds the session that the request names, or refuses: 400 without
// one, 404 for one that is gone, is somebody else's, or whose process does not have
// the environment that the request has to run in. Upon a 404 the client opens
// another session, in a process that has it.
func (c *Child) session(r *http.Request, id []byte) (*session, *http.Response) {
	name := r.Header.Get(sessionHeader)
	if name == "" {
		return nil, answer(r, http.StatusBadRequest, failed(id, "initialize first: the request names no session"))
	}
	s, ok := c.sessions.find(name, subjectOf(r.Context()))
	if !ok || !s.link.serves(environmentOf(r.Context())) {
		return nil, noSession(r, id)
	}
	return s, nil
}

// roundTrip sends a request and waits for the first message of its answer.
func (l *link) roundTrip(r *http.Request, s *session, f *mcp.Frame) (*http.Response, error) {
	c, frame, err := l.begin(f, s)
	if err != nil {
		return nil, err
	}
	if err := l.send(r.Context(), frame); err != nil {
		l.unsent(c)
		return nil, err
	}
	m, err := c.box.take(r.Context())
	if err != nil {
		l.leave(c)
		return nil, err
	}
	if m.final {
		return answer(r, m.status, m.frame), nil
	}
	body := newEventBody(r.Context(), c.box, func() { l.leave(c) })
	body.add(m)
	return streamed(r, body), nil
}

func noSession(r *http.Request, id []byte) *http.Response {
	return answer(r, http.StatusNotFound, failed(id, "the session has ended: initialize again"))
}

func notAllowed(r *http.Request) *http.Response {
	resp := answer(r, http.StatusMethodNotAllowed, nil)
	resp.Header.Set("Allow", http.MethodPost)
	return resp
}

func failed(id []byte, reason string) []byte {
	if id == nil {
		return nil
	}
	return mcp.Failed(id, reason)
}

// answer is a whole HTTP answer; status 0 is 200.
func answer(r *http.Request, status int, frame []byte) *http.Response {
	if status == 0 {
		status = http.StatusOK
	}
	resp := response(r, status, io.NopCloser(bytes.NewReader(frame)))
	resp.ContentLength = int64(len(frame))
	if frame != nil {
		resp.Header.Set("Content-Type", "application/json")
	}
	return resp
}

func streamed(r *http.Request, body io.ReadCloser) *http.Response {
	resp := response(r, http.StatusOK, body)
	resp.ContentLength = -1
	resp.Header.Set("Content-Type", "text/event-stream")
	resp.Header.Set("Cache-Control", "no-store")
	return resp
}

func response(r *http.Request, status int, body io.ReadCloser) *http.Response {
	return &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: body, Request: r,
	}
}

// eventBody reads an outbox as an event stream: one event with one data line
// for each message.
type eventBody struct {
	ctx     context.Context //nolint:containedctx // io.Reader has no place for it
	cancel  context.CancelFunc
	box     *outbox
	pending []byte
	last    bool
}

// newEventBody calls release once: when the body is closed, read to its end,
// or ctx ends.
func newEventBody(ctx context.Context, box *outbox, release func()) *eventBody {
	b := &eventBody{box: box}
	b.ctx, b.cancel = context.WithCancel(ctx)
	context.AfterFunc(b.ctx, release)
	return b
}

func (b *eventBody) add(m message) {
	b.pending = mcp.AppendEvent(b.pending, "", "message", -1, m.frame)
	b.last = m.final
}

// Read implements io.Reader.
func (b *eventBody) Read(p []byte) (int, error) {
	if len(b.pending) == 0 {
		if b.last {
			b.cancel()
			return 0, io.EOF
		}
		m, err := b.box.take(b.ctx)
		if err != nil {
			b.cancel()
			return 0, err
		}
		b.add(m)
	}
	n := copy(p, b.pending)
	if b.pending = b.pending[n:]; len(b.pending) == 0 {
		b.pending = nil
	}
	return n, nil
}

// Close implements io.Closer. A Read that waits returns with an error.
func (b *eventBody) Close() error {
	b.cancel()
	return nil
}
