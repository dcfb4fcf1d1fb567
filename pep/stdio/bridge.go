package stdio

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/mcpermit/mcpermit/pep/mcp"
)

// Bridge serves one MCP client that speaks stdio, by being a streamable HTTP
// client of Handler on its behalf: 2026-07-28 for modern frames, 2025-11-25
// and older, with a session, for the others. Nothing but JSON-RPC messages is
// ever written to Out, each on one line.
//
// A session that the gateway has lost is opened again with the client's own
// initialize: a stdio client can't be told to do that.
type Bridge struct {
	Handler http.Handler // required
	Path    string       // of the server at Handler: "/mcp/NAME/"
	Token   string       // grant token, sent as the bearer token
	In      io.Reader    // frames of the client, one a line
	Out     io.Writer    // frames to the client

	// Logger gets what the client can't be told; slog.Default when nil.
	Logger *slog.Logger
	// LineBytes bounds a line of the client; 4 MiB when zero. It should be
	// more than what Handler accepts, which then says what is too long.
	LineBytes int
	// AnswerBytes bounds a message to the client; 16 MiB when zero.
	AnswerBytes int
	// Drain is how long answers are waited for after the client has closed In;
	// 30 seconds when zero.
	Drain time.Duration
}

// mostInFlight bounds the requests of the client that are under way at once.
const mostInFlight = 256

// Run serves the client until In ends: then it waits for the answers that are
// still to come, ends the session and returns nil. It returns an error when
// In or Out fails, and when ctx ends. A read of In that is under way then is
// left behind.
func (b *Bridge) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := newDialogue(ctx, b, cancel)
	lines := make(chan inputLine)
	go d.readLines(ctx, lines)

	err := d.serve(ctx, lines)
	if err == nil {
		d.drain(cmp.Or(b.Drain, 30*time.Second))
	}
	cause := context.Cause(ctx)
	cancel(errOver)
	d.end(context.WithoutCancel(ctx))
	d.work.Wait()
	return cmp.Or(err, cause)
}

var errOver = errors.New("the client hung up before the answer came")

// dialogue is one run of a Bridge.
type dialogue struct {
	bridge    *Bridge
	log       *slog.Logger
	transport http.RoundTripper
	most      mcp.Limits                                   // of messages in both directions
	beside    func() (context.Context, context.CancelFunc) // a context that ends with the run
	fail      context.CancelCauseFunc
	work      sync.WaitGroup // everything that runs beside serve

	out sync.Mutex // held while a line is written

	reopening chan struct{} // holds a token while a lost session is opened again

	mu       sync.Mutex
	inFlight map[token]*exchange
	opening  *opening      // the legacy session, or nil
	idle     chan struct{} // closed when nothing is in flight; nil before In ends
}

func newDialogue(ctx context.Context, b *Bridge, fail context.CancelCauseFunc) *dialogue {
	d := &dialogue{
		bridge: b, log: b.Logger, fail: fail,
		beside:    func() (context.Context, context.CancelFunc) { return context.WithCancel(ctx) },
		reopening: make(chan struct{}, 1), inFlight: map[token]*exchange{},
		most: transportLimits(max(cmp.Or(b.AnswerBytes, 16<<20), b.lineBytes())),
	}
	if d.log == nil {
		d.log = slog.Default()
	}
	d.transport = inProcess{handler: b.Handler, log: d.log, running: &d.work}
	return d
}

func (b *Bridge) lineBytes() int { return cmp.Or(b.LineBytes, 4<<20) }

type inputLine struct {
	bytes []byte
	long  bool // only the beginning is there
	err   error
}

// readLines reads In until it ends or fails.
func (d *dialogue) readLines(ctx context.Context, lines chan<- inputLine) {
	r := newLineReader(d.bridge.In, d.bridge.lineBytes())
	give := func(line inputLine) bool {
		select {
		case lines <- line:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for {
		line, long, err := r.next()
		if !give(inputLine{bytes: line, long: long}) {
			return
		}
		if err != nil {
			give(inputLine{err: err})
			return
		}
	}
}

// serve handles the client's lines one after the other until there are no
// more. It returns nil at the end of In.
func (d *dialogue) serve(ctx context.Context, lines <-chan inputLine) error {
	for {
		select {
		case line := <-lines:
			switch {
			case errors.Is(line.err, io.EOF):
				return nil
			case line.err != nil:
				return fmt.Errorf("read from the client: %w", line.err)
			}
			d.handle(ctx, line)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// handle takes in one line. What has an order has it here: notifications and
// responses are delivered before the next line is looked at, a request has
// been read by the gateway, and an initialize has been answered.
func (d *dialogue) handle(ctx context.Context, line inputLine) {
	switch {
	case line.long:
		d.refuse(ctx, line.bytes, &mcp.Fault{
			Code: mcp.CodeInvalidRequest, Status: http.StatusRequestEntityTooLarge, Rule: mcp.RuleTooLarge,
			Reason: fmt.Sprintf("a line may have at most %d bytes", d.bridge.lineBytes()), Offset: d.bridge.lineBytes(),
		})
		return
	case isBlank(line.bytes):
		return
	}
	if fault := mcp.CheckLine(line.bytes); fault != nil {
		d.refuse(ctx, line.bytes, fault)
		return
	}
	f, err := mcp.Read(line.bytes, mcp.ToServer, d.most)
	switch {
	case err != nil:
		// The gateway refuses what can't be read, and records it.
		d.unread(ctx, line.bytes, err)
	case f.Kind != mcp.KindRequest:
		d.tell(ctx, f)
	case f.Method == "initialize" && !f.Meta.Modern:
		d.initialize(ctx, f)
	default:
		d.request(ctx, f)
	}
}

// refuse answers a line that is none. It still goes to the gateway, which
// records every frame that arrives (I5), with a byte after it that no reader
// takes.
func (d *dialogue) refuse(ctx context.Context, line []byte, fault *mcp.Fault) {
	r := d.post(ctx, append(bytes.Clone(line), 0))
	d.setSession(r.Header)
	if resp, err := d.transport.RoundTrip(r); err == nil {
		resp.Body.Close()
	}
	d.write(mcp.Faulted(fault))
}

// unread has the gateway refuse what is no frame.
func (d *dialogue) unread(ctx context.Context, line []byte, err error) {
	var fault *mcp.Fault
	if !errors.As(err, &fault) {
		fault = &mcp.Fault{Code: mcp.CodeInvalidRequest, Rule: mcp.RuleEnvelope, Reason: err.Error()}
	}
	x := &exchange{id: fault.ID}
	r := d.post(ctx, line)
	d.setSession(r.Header)
	if resp, err := d.transport.RoundTrip(r); err == nil {
		_ = d.receive(ctx, x, resp, "")
	}
	if !d.isAnswered(x) && ctx.Err() == nil {
		d.write(mcp.Faulted(fault))
	}
}

// write writes one message, on one line, and nothing else ever.
func (d *dialogue) write(frame []byte) {
	d.out.Lock()
	defer d.out.Unlock()
	if _, err := d.bridge.Out.Write(append(bytes.Clone(mcp.Line(frame)), '\n')); err != nil {
		d.fail(fmt.Errorf("write to the client: %w", err))
	}
}

// drain waits until every request is answered, but not longer than patience.
// Subscriptions are ended: they would never be.
func (d *dialogue) drain(patience time.Duration) {
	d.mu.Lock()
	d.idle = make(chan struct{})
	for _, x := range d.inFlight {
		if x.frame.Method == "subscriptions/listen" {
			x.cancelled = true
			x.cancel()
		}
	}
	d.checkIdle()
	d.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-d.idle:
	case <-timer.C:
		d.log.Warn("the client has gone before its requests were answered")
	}
}

// checkIdle ends drain when nothing is in flight. d.mu is held.
func (d *dialogue) checkIdle() {
	if d.idle != nil && len(d.inFlight) == 0 {
		select {
		case <-d.idle:
		default:
			close(d.idle)
		}
	}
}
