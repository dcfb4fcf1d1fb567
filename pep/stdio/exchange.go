package stdio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mcpermit/mcpermit/pep/mcp"
)

// exchange is one POST of the client's and what comes back.
type exchange struct {
	frame  *mcp.Frame // nil for a line that is no frame
	id     []byte     // raw; nil when no answer is owed
	silent bool       // the gateway's answer is not for the client
	cancel context.CancelFunc

	// Both are guarded by dialogue.mu.
	cancelled bool       // by the client: it wants no answer any more
	answer    *mcp.Frame // that came
}

func (x *exchange) modern() bool { return x.frame != nil && x.frame.Meta.Modern }

// request sends a request, and returns when the gateway has read it; the
// answer is written when it comes.
func (d *dialogue) request(ctx context.Context, f *mcp.Frame) {
	x, ctx, ok := d.begin(ctx, f)
	if !ok {
		d.write(mcp.Failed(f.ID, "too many requests are in flight"))
		return
	}
	read := make(chan struct{})
	once := sync.OnceFunc(func() { close(read) })
	d.work.Go(func() {
		defer once()
		d.complete(ctx, x, d.send(ctx, x, once))
	})
	select {
	case <-read:
	case <-ctx.Done():
	}
}

// begin notes a request as in flight.
func (d *dialogue) begin(ctx context.Context, f *mcp.Frame) (*exchange, context.Context, bool) {
	x := &exchange{frame: f, id: f.ID}
	ctx, x.cancel = context.WithCancel(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.inFlight) >= mostInFlight {
		x.cancel()
		return nil, nil, false
	}
	d.inFlight[tokenOf(f.ID)] = x
	return x, ctx, true
}

// complete ends an exchange. A request that got no answer gets one from us.
func (d *dialogue) complete(ctx context.Context, x *exchange, err error) {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.Canceled):
		err = errors.New("the gateway is shutting down")
	case cause != nil:
		err = cause
	case err == nil:
		err = errors.New("the gateway's answer has no message for the request")
	}
	x.cancel()
	d.mu.Lock()
	owed := x.answer == nil && !x.cancelled
	d.mu.Unlock()
	if owed {
		d.write(mcp.Failed(x.id, err.Error()))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := tokenOf(x.id); d.inFlight[at] == x {
		delete(d.inFlight, at)
	}
	d.checkIdle()
}

// tell delivers a notification or a response.
func (d *dialogue) tell(ctx context.Context, f *mcp.Frame) {
	if f.Method == "notifications/cancelled" && !d.isLegacyCancel(f) {
		d.hangUp(f.RequestID)
		return
	}
	if err := d.send(ctx, &exchange{frame: f}, func() {}); err != nil {
		if ctx.Err() == nil {
			d.log.Warn("a message of the client was not delivered", "method", f.Method, "error", err)
		}
		return
	}
	switch f.Method {
	case "notifications/initialized":
		d.announced(f)
	case "notifications/cancelled":
		d.hangUp(f.RequestID)
	}
}

// isLegacyCancel says whether the server is to be told. In the modern era, to
// hang up is how HTTP says it. (MCP 2026-07-28, cancellation)
func (d *dialogue) isLegacyCancel(f *mcp.Frame) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.inFlight[tokenOf(f.RequestID)]; x != nil {
		return !x.modern()
	}
	return d.opening != nil
}

// hangUp ends a request whose answer the client does not want any more.
func (d *dialogue) hangUp(id []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.inFlight[tokenOf(id)]; x != nil {
		x.cancelled = true
		x.cancel()
	}
}

// send posts a frame and writes what comes back, until the answer is complete.
// A session that is gone is opened again, once: the frame was not looked at.
// read is called when the gateway has the frame.
func (d *dialogue) send(ctx context.Context, x *exchange, read func()) error {
	for again := true; ; again = false {
		r := d.post(ctx, x.frame.Bytes)
		r.Body = &signalBody{Reader: bytes.NewReader(x.frame.Bytes), read: read}
		session := d.setHeader(r.Header, x.frame)
		resp, err := d.transport.RoundTrip(r)
		if err != nil {
			return err
		}
		if resp.StatusCode == http.StatusNotFound && session != "" && again {
			resp.Body.Close()
			if err := d.reopen(ctx, session); err != nil {
				return fmt.Errorf("the session was lost and can't be opened again: %w", err)
			}
			continue
		}
		return d.receive(ctx, x, resp, session)
	}
}

// receive writes the messages of an answer.
func (d *dialogue) receive(ctx context.Context, x *exchange, resp *http.Response, session string) error {
	defer resp.Body.Close()
	var reason string
	switch kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) {
	case "text/event-stream":
		return d.follow(ctx, x, resp, session)
	case "application/json":
		body, err := io.ReadAll(io.LimitReader(resp.Body, int64(d.most.Bytes)+1))
		if err != nil {
			return fmt.Errorf("read the gateway's answer: %w", err)
		}
		if len(body) > 0 {
			reason = d.deliver(x, body)
		}
	}
	if resp.StatusCode >= 300 {
		return errors.New(strings.TrimSuffix("the gateway answered "+resp.Status+": "+reason, ": "))
	}
	return nil
}

// resumes is how often a stream that ended early is taken up again.
const resumes = 10

// follow writes the messages of an event stream. A legacy server may end it
// before the answer, to be asked for the rest. (MCP 2025-11-25, transports)
func (d *dialogue) follow(ctx context.Context, x *exchange, resp *http.Response, session string) error {
	for range resumes {
		at, err := d.events(x, resp.Body)
		if d.isAnswered(x) {
			return nil
		}
		if at.id == "" || session == "" || ctx.Err() != nil {
			return err
		}
		if err := sleep(ctx, at.retry); err != nil {
			return err
		}
		resp.Body.Close()
		if resp, err = d.transport.RoundTrip(d.get(ctx, session, at.id)); err != nil {
			return err
		}
		if !isStream(resp) {
			resp.Body.Close()
			return errors.New("the stream ended before the answer, and can't be resumed")
		}
	}
	resp.Body.Close()
	return errors.New("the stream ended too often before the answer")
}

// position is from where an event stream can be resumed, and after how long.
type position struct {
	id    string
	retry time.Duration
}

// events writes the messages of one event stream until it ends.
func (d *dialogue) events(x *exchange, body io.Reader) (position, error) {
	at := position{retry: time.Second}
	stream := mcp.NewEventReader(body, d.most.Bytes)
	for {
		event, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return at, nil
		}
		if err != nil {
			return at, fmt.Errorf("the stream broke off: %w", err)
		}
		if event.ID != "" {
			at.id = event.ID
		}
		if event.Retry >= 0 {
			at.retry = time.Duration(event.Retry) * time.Millisecond
		}
		if len(event.Data) > 0 && event.Type == "message" {
			d.deliver(x, event.Data)
		}
	}
}

// deliver writes one message for the client, if it is one and if the client
// waits for it. It returns the text of an error that nobody waits for.
func (d *dialogue) deliver(x *exchange, body []byte) string {
	f, err := mcp.Read(body, mcp.ToClient, d.most)
	if err != nil {
		d.log.Warn("a message for the client was refused", "error", err)
		return ""
	}
	if f.Kind != mcp.KindResponse {
		d.write(f.Bytes)
		return ""
	}
	frame, ok := d.claim(x, f)
	if ok {
		d.write(frame)
		return ""
	}
	return string(valueAt(f.Error, "message"))
}

// claim returns the response as it is written to the client, if a request
// waits for it. An error without an id answers the request that it came back
// to.
func (d *dialogue) claim(x *exchange, f *mcp.Frame) ([]byte, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	to, frame := d.inFlight[tokenOf(f.ID)], f.Bytes
	switch {
	case x != nil && (x.frame == nil || x.silent): // it can't be found by its id
		to = x
	case x != nil && x.id != nil && f.ID == nil:
		to, frame = x, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":%s}`, x.id, f.Error)
	case f.ID == nil:
		return nil, false
	}
	if to == nil || to.answer != nil || to.cancelled {
		return nil, false
	}
	to.answer = f
	return frame, !to.silent
}

func (d *dialogue) isAnswered(x *exchange) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return x.answer != nil
}

// post is a POST of body with the headers that every one has.
func (d *dialogue) post(ctx context.Context, body []byte) *http.Request {
	r := d.newRequest(ctx, http.MethodPost, bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	return r
}

func (d *dialogue) newRequest(ctx context.Context, method string, body io.Reader) *http.Request {
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+d.bridge.Path, body)
	if err != nil {
		panic("stdio: Bridge.Path is no path: " + err.Error())
	}
	r.RemoteAddr = "stdio"
	if d.bridge.Token != "" {
		r.Header.Set("Authorization", "Bearer "+d.bridge.Token)
	}
	return r
}

// setHeader sets what a client of the frame's era sends, and returns the
// session that it is sent in. (MCP 2026-07-28 and 2025-11-25, streamable HTTP)
func (d *dialogue) setHeader(h http.Header, f *mcp.Frame) (session string) {
	if !f.Meta.Modern {
		return d.setSession(h)
	}
	h.Set(versionHeader, f.Meta.ProtocolVersion)
	h.Set("Mcp-Method", f.Method)
	switch {
	case f.Method == "tools/call", f.Method == "prompts/get", f.Method == "resources/read",
		f.HasName && strings.HasPrefix(f.Method, "tasks/"):
		h.Set("Mcp-Name", mcp.HeaderValue(f.Name))
	}
	return ""
}

// signalBody is a request body that says when it was read to its end.
type signalBody struct {
	*bytes.Reader
	read func()
}

// Read implements io.Reader.
func (b *signalBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		b.read()
	}
	return n, err
}

// WriteTo implements io.WriterTo.
func (b *signalBody) WriteTo(w io.Writer) (int64, error) {
	defer b.read()
	return b.Reader.WriteTo(w)
}

// Close implements io.Closer.
func (b *signalBody) Close() error {
	b.read()
	return nil
}

func isStream(resp *http.Response) bool {
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return resp.StatusCode == http.StatusOK && strings.TrimSpace(kind) == "text/event-stream"
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
