package stdio

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mcpermit/mcpermit/pep/mcp"
	"github.com/mcpermit/mcpermit/pep/proxy"
)

// call is one request of a client on its way through a process.
type call struct {
	wire     uint64   // its id, and its progress token, at the process
	id       []byte   // its id at the client, the original bytes
	progress []byte   // its progress token at the client; nil for none
	session  *session // nil for initialize and in the modern era
	method   string
	box      *outbox
	left     bool // nobody reads the box any more
	timer    *time.Timer
	silence  time.Duration // how long the process may send nothing about it
}

var errBusy = errors.New("too many calls are in flight at the server process")

// cancelLeash is how long a call stays open after its client cancelled it.
const cancelLeash = 10 * time.Second

// listens says whether the call is a subscription, which is open for as long
// as both sides want.
func (c *call) listens() bool { return c.method == "subscriptions/listen" }

// begin takes a call in and returns the frame to send for it: f with an id
// and a progress token that no other call has.
func (l *link) begin(f *mcp.Frame, s *session) (*call, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNoLink, proxy.ErrNotSent)
	}
	if len(l.calls) >= l.options.Calls {
		return nil, nil, fmt.Errorf("%w: %w", errBusy, proxy.ErrNotSent)
	}
	l.lastID++
	l.used = time.Now()
	c := &call{
		wire: l.lastID, id: f.ID, progress: f.Meta.ProgressToken, session: s,
		method: f.Method, box: newOutbox(l.options.QueueBytes), silence: l.options.Timeout,
	}
	if c.method == "server/discover" {
		c.silence = l.options.DiscoverTimeout
	}
	c.timer = time.AfterFunc(c.silence, func() { l.expire(c) })
	l.calls[c.wire] = c

	wire := appendID(c.wire)
	return c, mcp.WithTokens(f, wire, wire), nil
}

// heard notes that the process sent something about the call. l.mu is held.
func (c *call) heard() {
	if c.listens() {
		c.timer.Stop()
		return
	}
	c.timer.Reset(c.silence)
}

// remove takes the call out and says whether it was still there. l.mu is held.
func (l *link) remove(c *call) bool {
	if l.calls[c.wire] != c {
		return false
	}
	delete(l.calls, c.wire)
	c.timer.Stop()
	l.used = time.Now()
	return true
}

// unsent takes back a call whose frame the process never saw.
func (l *link) unsent(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.remove(c) && c.method == "initialize" {
		l.handshake.release()
	}
}

// leave is called when nobody waits for the call's answer any more. In the
// modern era that cancels it; in the legacy era it does not, and the answer is
// dropped when it comes. (MCP 2026-07-28, streamable HTTP, cancellation; MCP
// 2025-11-25, transports)
func (l *link) leave(c *call) {
	c.box.close(nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	c.left = true
	if l.modern && l.remove(c) {
		l.reply(cancelled(c.wire, "the client has gone"))
	}
}

// expire ends a call that the process has sent nothing about for too long.
func (l *link) expire(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.remove(c) {
		return
	}
	if c.method == "initialize" {
		l.handshake.release() // which must not be cancelled
	} else {
		l.reply(cancelled(c.wire, "timed out"))
	}
	why := fmt.Sprintf("the server sent nothing for %v", c.silence)
	if c.method == "server/discover" {
		// Silence is one of the ways to say "I am legacy". A client learns that
		// from a 400 without a modern error. (MCP 2026-07-28, versioning)
		c.box.finish(message{frame: mcp.Failed(c.id, why), status: 400})
		return
	}
	c.box.close(errors.New(why))
}

func cancelled(wire uint64, reason string) []byte {
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d,"reason":%q}}`, wire, reason)
}

// initialize answers f with the result of the process's one initialize, which
// f becomes if it is the first.
func (l *link) initialize(ctx context.Context, f *mcp.Frame) (frame []byte, ok bool, err error) {
	for {
		l.mu.Lock()
		result, busy, closing := l.handshake.result, l.handshake.busy, l.closing
		if closing == nil && result == nil && busy == nil {
			l.handshake.busy = make(chan struct{})
		}
		l.mu.Unlock()
		switch {
		case closing != nil:
			return nil, false, fmt.Errorf("%w: %w", errNoLink, proxy.ErrNotSent)
		case result != nil:
			return mcp.WithID(result, f.ID), true, nil
		case busy == nil:
			return l.firstInitialize(ctx, f)
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, false, fmt.Errorf("%w: %w", ctx.Err(), proxy.ErrNotSent)
		}
	}
}

func (l *link) firstInitialize(ctx context.Context, f *mcp.Frame) (frame []byte, ok bool, err error) {
	c, frame, err := l.begin(f, nil)
	if err != nil {
		l.mu.Lock()
		l.handshake.release()
		l.mu.Unlock()
		return nil, false, err
	}
	if err := l.send(ctx, frame); err != nil {
		l.unsent(c)
		return nil, false, err
	}
	for {
		m, err := c.box.take(ctx)
		if err != nil {
			l.leave(c)
			return nil, false, err
		}
		if m.final {
			return m.frame, valueAt(m.frame, "result") != nil, nil
		}
	}
}

// join opens a session at the process.
func (l *link) join(subject string) (*session, error) {
	s, err := l.registry.add(l, subject)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing != nil {
		l.registry.remove(s)
		return nil, errNoLink
	}
	l.sessions[s] = true
	return s, nil
}

// drop ends a session: its calls are cancelled, the questions that it has not
// answered fail. l.mu is held.
func (l *link) drop(s *session) {
	l.registry.remove(s)
	delete(l.sessions, s)
	l.used = time.Now()
	s.box.close(nil)
	for _, c := range l.calls {
		if c.session == s && l.remove(c) {
			c.box.close(errors.New("the session has ended"))
			l.reply(cancelled(c.wire, "the session has ended"))
		}
	}
	for id, q := range l.asked {
		if q.to.session == s {
			delete(l.asked, id)
			l.reply(mcp.Failed(q.id, "the client has gone"))
		}
	}
}

// quit ends a session on the client's wish.
func (l *link) quit(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions[s] {
		l.drop(s)
	}
}
