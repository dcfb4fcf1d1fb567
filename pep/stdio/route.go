package stdio

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mcpermit/mcpermit/pep/mcp"
)

// question is a request of the server that waits for a client's response.
type question struct {
	id       []byte
	progress token // the server's progress token; empty for none
	to       destination
}

// subscriptionID is the _meta member by which modern messages name the
// subscription that they belong to.
const subscriptionID = "io.modelcontextprotocol/subscriptionId"

// dispatch takes a frame of the process to whom it is for.
func (l *link) dispatch(f *mcp.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	switch f.Kind { // Read makes no others
	case mcp.KindResponse:
		l.dispatchResponse(f)
	case mcp.KindRequest:
		l.dispatchRequest(f)
	case mcp.KindNotification:
		l.dispatchNotification(f)
	}
}

// refuse drops a message that cannot be read with certainty. The call that it
// would have answered is told. (I1)
func (l *link) refuse(err error) {
	l.log.Warn("a message of the stdio server was refused", "error", err)
	var fault *mcp.Fault
	if !errors.As(err, &fault) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.calls[wireID(fault.ID)]
	if c == nil || !l.remove(c) {
		return
	}
	if c.method == "initialize" {
		l.handshake.release()
	}
	c.box.finish(message{frame: mcp.Failed(c.id, "the server's answer was refused: "+fault.Reason)})
}

func (l *link) dispatchResponse(f *mcp.Frame) {
	c := l.calls[wireID(f.ID)]
	if c == nil || !l.remove(c) {
		l.log.Debug("a response of the stdio server answers no call")
		return
	}
	if c.method == "initialize" {
		if f.Result != nil {
			l.handshake.result = f
		}
		l.handshake.release()
	}
	frame := mcp.WithID(f, c.id)
	if c.listens() {
		frame = replaced(frame, c.id, "result", "_meta", subscriptionID)
	}
	c.box.finish(message{frame: frame, status: l.status(c, f)})
}

// status is the HTTP status that a server of the call's era answers with. A
// process that never showed that it is modern gets the 400 by which clients
// recognise an older server. (MCP 2026-07-28, streamable HTTP)
func (l *link) status(c *call, f *mcp.Frame) int {
	if !l.modern {
		return 200
	}
	if f.Error == nil {
		l.knownModern = l.knownModern || f.ResultType != ""
		return 200
	}
	switch string(valueAt(f.Error, "code")) {
	case "-32020", "-32021", "-32022":
		l.knownModern = true
		return 400
	case "-32601":
		if l.knownModern {
			return 404
		}
	}
	if c.method == "server/discover" || !l.knownModern {
		return 400
	}
	return 200
}

// emptyResult answers what asks for nothing but an answer.
func emptyResult(id []byte) []byte {
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{}}`, id)
}

// dispatchRequest hands a question of the server to the client that it is
// for, and answers it where there is none.
func (l *link) dispatchRequest(f *mcp.Frame) {
	if f.Method == "ping" {
		l.reply(emptyResult(f.ID))
		return
	}
	id := tokenOf(f.ID)
	to := l.related()
	switch {
	case l.modern:
		l.reply(mcp.Failed(f.ID, "servers send no requests in this protocol version"))
	case to.session == nil:
		l.log.Warn("a request of the stdio server is for no client in particular", "method", f.Method)
		l.reply(mcp.Failed(f.ID, "no client can be asked"))
	case len(l.asked) >= mostAsked || l.asked[id] != nil || !to.put(f.Bytes):
		l.reply(mcp.Failed(f.ID, "too many requests wait for the client"))
	default:
		l.asked[id] = &question{id: f.ID, progress: tokenOf(f.Meta.ProgressToken), to: to}
	}
}

func (l *link) dispatchNotification(f *mcp.Frame) {
	switch {
	case f.Method == "notifications/progress":
		l.progress(f)
	case f.Method == "notifications/cancelled":
		l.cancelledByServer(f)
	case l.modern:
		l.dispatchModern(f)
	case strings.HasSuffix(f.Method, "/list_changed"):
		for s := range l.sessions {
			s.put(f.Bytes)
		}
	case f.Method == "notifications/resources/updated":
		for s := range l.sessions {
			if s.follows(f.Name) {
				s.put(f.Bytes)
			}
		}
	default:
		if to := l.related(); to.session == nil || !to.put(f.Bytes) {
			l.log.Debug("a notification of the stdio server was dropped", "method", f.Method)
		}
	}
}

func (l *link) progress(f *mcp.Frame) {
	c := l.calls[wireID(f.Meta.ProgressToken)]
	if c == nil || c.progress == nil {
		return
	}
	c.heard()
	c.box.put(message{frame: mcp.WithProgressToken(f, c.progress)})
}

// cancelledByServer: the server takes back a question, or ends a subscription.
func (l *link) cancelledByServer(f *mcp.Frame) {
	of := tokenOf(f.RequestID)
	if q := l.asked[of]; q != nil {
		delete(l.asked, of)
		if !q.to.put(f.Bytes) { // the POST answer that carried the question has ended
			q.to.session.put(f.Bytes)
		}
		return
	}
	if c := l.calls[wireID(f.RequestID)]; c != nil && c.listens() && l.remove(c) {
		c.box.finish(message{frame: mcp.WithRequestID(f, c.id)})
	}
}

// dispatchModern takes a notification to the subscription that it names, or
// to the only call that it can be about.
func (l *link) dispatchModern(f *mcp.Frame) {
	if raw := valueAt(f.Params, "_meta", subscriptionID); raw != nil {
		if c := l.calls[wireID(raw)]; c != nil && c.listens() {
			c.heard()
			c.box.put(message{frame: replaced(f.Bytes, c.id, "params", "_meta", subscriptionID)})
		}
		return
	}
	var only *call
	for _, c := range l.calls {
		if c.listens() {
			continue
		}
		if only != nil {
			l.log.Debug("a notification of the stdio server was dropped", "method", f.Method)
			return
		}
		only = c
	}
	if only != nil {
		only.box.put(message{frame: f.Bytes})
	}
}

// destination is where a message goes that names no call.
type destination struct {
	session *session
	call    *call // its POST answer; nil means the GET stream
}

func (d destination) put(frame []byte) bool {
	if d.call != nil {
		return d.call.box.put(message{frame: frame})
	}
	return d.session.put(frame)
}

// related finds the client that a message without a relation is for: the one
// with calls in flight if it is the only one, or the only one at all. A
// message that could be another client's goes to nobody.
func (l *link) related() destination {
	var to destination
	waiting := 0
	for _, c := range l.calls {
		if c.session == nil {
			continue
		}
		if to.session != nil && to.session != c.session {
			return destination{}
		}
		to.session = c.session
		if !c.left {
			waiting++
			if to.call == nil || c.wire < to.call.wire {
				to.call = c
			}
		}
	}
	if to.session == nil && len(l.sessions) == 1 {
		for s := range l.sessions {
			to.session = s
		}
	}
	if waiting > 1 && to.session.streaming() {
		to.call = nil
	}
	return to
}
