package stdio

import (
	"context"
	"errors"

	"github.com/mcpermit/mcpermit/pep/mcp"
)

// What a client sends that is no request.

var errNotAsked = errors.New("the response answers no request of the server")

// respond hands the client's response to the server, if the server asked this
// client. (SECURITY T4)
func (l *link) respond(ctx context.Context, s *session, f *mcp.Frame) error {
	id := tokenOf(f.ID)
	l.mu.Lock()
	q := l.asked[id]
	if q == nil || q.to.session != s {
		l.mu.Unlock()
		return errNotAsked
	}
	delete(l.asked, id)
	l.mu.Unlock()
	return l.send(ctx, f.Bytes)
}

// notify hands a notification to the server, unless it is about something
// that is not the client's, or that the server has been told before.
func (l *link) notify(ctx context.Context, s *session, f *mcp.Frame) error {
	l.mu.Lock()
	frame := f.Bytes
	switch f.Method {
	case "notifications/initialized":
		if l.handshake.announced {
			frame = nil
		}
		l.handshake.announced = true
	case "notifications/cancelled":
		frame = l.cancel(s, f)
	case "notifications/progress":
		if !l.owesProgress(s, f.Meta.ProgressToken) {
			frame = nil
		}
	}
	l.mu.Unlock()
	if frame == nil {
		return nil
	}
	err := l.send(ctx, frame)
	if err != nil && f.Method == "notifications/initialized" {
		l.mu.Lock()
		l.handshake.announced = false
		l.mu.Unlock()
	}
	return err
}

// cancel returns the cancellation in the process's terms, nil if the session
// has no such call. The call stays open a little for what the server still
// has to say. l.mu is held.
func (l *link) cancel(s *session, f *mcp.Frame) []byte {
	of := tokenOf(f.RequestID)
	for _, c := range l.calls {
		if c.session == s && tokenOf(c.id) == of {
			c.silence = cancelLeash
			c.timer.Reset(cancelLeash)
			return mcp.WithRequestID(f, appendID(c.wire))
		}
	}
	return nil
}

func (l *link) owesProgress(s *session, raw []byte) bool {
	if raw == nil {
		return false
	}
	of := tokenOf(raw)
	for _, q := range l.asked {
		if q.to.session == s && q.progress == of {
			return true
		}
	}
	return false
}

// subscription keeps account of what the session follows, and returns an
// answer of our own where the server must not hear of it: one client's
// unsubscribe would end everybody's. nil otherwise.
func (l *link) subscription(s *session, f *mcp.Frame) []byte {
	switch f.Method {
	case "resources/subscribe":
		s.subscribe(f.Name, true)
	case "resources/unsubscribe":
		s.subscribe(f.Name, false)
		l.mu.Lock()
		defer l.mu.Unlock()
		for other := range l.sessions {
			if other.subscribes(f.Name) {
				return emptyResult(f.ID)
			}
		}
	}
	return nil
}
