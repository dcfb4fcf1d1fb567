package proxy

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// message is one message of the server, and what the client is to see of it.
type message struct {
	frame *mcp.Frame
	out   []byte // nil: nothing
	final bool   // it answers the act's own request
	ours  bool   // out is the gateway's own answer in its place
}

// inbound reads one message of the server and decides on it. An error means
// that it cannot be read, so that nothing of it may pass (I1).
func (a *act) inbound(b []byte) (message, error) {
	if a.frame != nil && mcp.IsListing(a.method) {
		// The likely case in one pass: the answer to a list request.
		l, err := mcp.ReadListing(a.method, b, a.limits())
		if err == nil && l != nil && a.isAnswer(l.Frame) {
			return message{frame: l.Frame, out: a.filter(a.method, l, true), final: true}, nil
		}
	}
	f, err := mcp.Read(b, mcp.ToClient, a.limits())
	if err != nil {
		return message{}, err
	}
	switch f.Kind {
	case mcp.KindResponse:
		return a.response(f)
	case mcp.KindRequest:
		return message{frame: f, out: a.serverRequest(f)}, nil
	default:
		return message{frame: f, out: a.serverNotification(f)}, nil
	}
}

// limits are those of the server's messages.
func (a *act) limits() mcp.Limits { return mcp.Limits{Bytes: a.up.AnswerBytes} }

// isAnswer reports whether a response answers the act's own request.
func (a *act) isAnswer(f *mcp.Frame) bool {
	return a.frame != nil && a.frame.Kind == mcp.KindRequest && f.ID != nil && idKey(f.ID) == idKey(a.frame.ID)
}

// response decides what passes of a response: on the stream of its request, or
// on any other, where a server may send it again.
func (a *act) response(f *mcp.Frame) (message, error) {
	m := message{frame: f, out: f.Bytes, final: a.isAnswer(f)}
	if !m.final && isOwnID(f.ID) {
		m.out = nil // the gateway's own question; the answer is for nobody else
		return m, nil
	}
	if f.Error == nil {
		if err := a.screen(f, &m); err != nil {
			return m, err
		}
	}
	if m.final {
		a.out.IsError = f.Error != nil || isErrorResult(f.Result)
		if a.isNotFound(f) {
			m.out, m.ours = mcp.Unknown(a.frame), true
		}
		if f.Error == nil && handshake(a.method) {
			m.out = a.instructions(f)
		}
	}
	return m, nil
}

// isNotFound reports whether the server says that a resource does not exist.
// Of resources there may be more than a listing has, so the server has to be
// asked; the client then gets the same bytes as for a hidden one (I3).
func (a *act) isNotFound(f *mcp.Frame) bool {
	switch a.method {
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
	default:
		return false
	}
	if f.Error == nil {
		return false
	}
	code := errorCode(f.Error)
	return code == mcp.CodeResourceNotFound || a.frame.Meta.Modern && code == mcp.CodeInvalidParams
}

// screen filters what lists, and checks what asks the client for more.
func (a *act) screen(f *mcp.Frame, m *message) error {
	method := ""
	if m.final && mcp.IsListing(a.method) {
		method = a.method
	} else if !m.final || a.dialog.mayList(f.ID) {
		method = shape(f.Result)
	}
	if method != "" {
		l, err := mcp.ReadListing(method, f.Bytes, a.limits())
		if err != nil {
			return err
		}
		m.out = a.filter(method, l, m.final)
	}
	if f.InputRequests != nil {
		if refusal := a.rounds(f); refusal != nil {
			m.out = refusal
			return nil
		}
	}
	if (f.InputRequests != nil || f.RequestState != nil) && method == "" && a.p.o.Transport != v1.Transport_TRANSPORT_ENVOY {
		m.out = mcp.WithServerState(f)
	}
	return nil
}

// shape returns the list method that a result looks like the answer to.
func shape(result []byte) (method string) {
	members(result, func(name string, value []byte) bool {
		if len(value) > 0 && value[0] == '[' {
			switch name {
			case "tools":
				method = "tools/list"
			case "prompts":
				method = "prompts/list"
			case "resources":
				method = "resources/list"
			case "resourceTemplates":
				method = "resources/templates/list"
			}
		}
		return method == ""
	})
	return method
}

func isErrorResult(result []byte) (is bool) {
	if !mayBeError(result) {
		return false
	}
	members(result, func(name string, value []byte) bool {
		is = is || name == "isError" && string(value) == "true"
		return !is
	})
	return is
}

// mayBeError reports whether "isError": true stands anywhere in a result: few
// have it, and most have "isError": false, so that few are read once more.
func mayBeError(result []byte) bool {
	for {
		_, rest, found := bytes.Cut(result, []byte(`isError"`))
		if !found {
			return false
		}
		value, isName := bytes.CutPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(":"))
		if isName && bytes.HasPrefix(bytes.TrimLeft(value, " \t\r\n"), []byte("true")) {
			return true
		}
		result = rest
	}
}

// toClient is the question about a message of the server.
func (a *act) toClient(f *mcp.Frame) *v1.DecideRequest {
	q := a.about(v1.Direction_DIRECTION_TO_CLIENT)
	q.Kind, q.Method = frameKinds[f.Kind], f.Method
	describe(q, f)
	if f.HasName {
		q.Target = &v1.Target{Name: f.Name}
	}
	return q
}

// ask decides on a message of the server; an allowed one is complete once it
// is passed on.
func (a *act) ask(q *v1.DecideRequest) *v1.DecideResponse {
	q.Context.ReceivedAt = timestamppb.Now()
	d := a.p.o.Enforcer.Decide(a.ctx, q, 0)
	a.p.meter.frame(a.ctx, a.server, q.GetMethod(), "to_client", d)
	a.expelled = a.expelled || isExpulsion(d)
	return d
}

func (a *act) passed(d *v1.DecideResponse, o *v1.Outcome) {
	a.p.o.Enforcer.Complete(d.GetDecisionId(), o)
}

// serverRequest decides on a request of the server. A refused one is answered
// by the gateway and never reaches the client.
func (a *act) serverRequest(f *mcp.Frame) []byte {
	q := a.toClient(f)
	dialog := a.keepDialog()
	switch {
	case a.frame != nil && a.frame.Meta.Modern:
		q.Fault = &v1.Fault{Code: mcp.CodeInvalidRequest, Rule: mcp.RuleDirection, Reason: "servers send no requests in this protocol version"}
	case dialog == nil || !dialog.ask(f.ID, f.Method):
		q.Fault = &v1.Fault{Code: mcp.CodeInvalidRequest, Rule: ruleOverload, Reason: "too many requests of the server wait for the client"}
	}
	d := a.ask(q)
	if d.GetEffect() == v1.Effect_EFFECT_ALLOW {
		a.passed(d, &v1.Outcome{Forwarded: true, Bytes: int64(len(f.Bytes))})
		return f.Bytes
	}
	if q.Fault == nil {
		dialog.answered(f.ID)
	}
	reason := d.GetReason()
	if reason == "" {
		reason = "The client does not take this request."
	}
	a.answerServer(mcp.Denied(f, reason, shown(d)))
	return nil
}

// replyTimeout bounds the gateway's own answer to a server's request.
const replyTimeout = 5 * time.Second

// answerServer posts the gateway's own answer to a request of the server.
func (a *act) answerServer(reply []byte) {
	ctx := a.onBehalf(context.WithoutCancel(a.ctx))
	l := a.p.newLine(ctx, replyTimeout)
	defer l.close()
	h := http.Header{"Accept": {typeJSON + ", " + typeEvents}}
	if a.version != "" {
		h.Set(headerVersion, a.version)
	}
	if a.session != "" {
		h.Set(headerSession, a.session)
	}
	ownHeader(ctx, h)
	res, _, err := a.up.send(l, a.up.request(l, http.MethodPost, reply, h, a.duties))
	if err != nil {
		a.p.o.Logger.Warn("the server could not be told that its request is refused", "server", a.server, "error", l.why(err))
		return
	}
	res.Body.Close()
}

// serverNotification decides what passes of the server's notifications. Those
// that name a resource or a task, and unknown ones, are decided on; the rest
// belongs to a request or stream that was.
func (a *act) serverNotification(f *mcp.Frame) []byte {
	a.shelf().changed(f.Method)
	switch f.Method {
	case "notifications/progress", "notifications/message", "notifications/cancelled",
		"notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed",
		"notifications/subscriptions/acknowledged", "notifications/elicitation/complete":
		return f.Bytes
	}
	d := a.ask(a.toClient(f))
	if d.GetEffect() != v1.Effect_EFFECT_ALLOW {
		return nil
	}
	a.passed(d, &v1.Outcome{Forwarded: true, Bytes: int64(len(f.Bytes))})
	return f.Bytes
}
