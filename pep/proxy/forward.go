package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// post takes a frame from its body to its answer.
func (a *act) post() {
	if fault := a.read(); fault != nil {
		a.refuse(fault)
		return
	}
	if fault := a.resume(); fault != nil {
		a.refuse(fault)
		return
	}
	q := a.request()
	q.Target, q.ApprovalRound = a.target(), a.round()
	a.asks = q.ApprovalRound != nil
	a.unwrap()
	d := a.decide(q)
	switch {
	case d.GetEffect() != v1.Effect_EFFECT_ALLOW:
		a.deny()
	case a.isForeign():
		a.forget(ruleOtherSession, plain(http.StatusNotFound, ruleOtherSession, "there is no such session; initialize a new one"))
	case q.Target.GetPresence() == v1.Presence_PRESENCE_ABSENT && a.kind == v1.FrameKind_FRAME_KIND_REQUEST:
		// Hidden and unknown names are told apart by nothing (I3), so the
		// server's own way to say so is not asked for.
		a.out.Error = "answer refused: unknown name"
		a.write(http.StatusOK, mcp.Unknown(a.frame))
	case a.kind == v1.FrameKind_FRAME_KIND_RESPONSE && !a.dialog.answered(a.frame.ID):
		a.forget(ruleNoQuestion, unasked())
	default:
		if a.p.o.Transport == v1.Transport_TRANSPORT_STDIO {
			for name, value := range mcp.ParamHeaders(a.frame, q.Target.GetDefinition()) {
				a.r.Header.Set(name, value)
			}
		}
		// A server need not check the headers of another one's client. Only now:
		// a fault must not tell that a hidden tool declares a header.
		if fault := mcp.CheckHeaders(a.r.Header, a.frame, q.Target.GetDefinition()); fault != nil {
			a.forget(fault.Rule, fault)
			return
		}
		a.forward()
	}
	if q.Target.GetPresence() == v1.Presence_PRESENCE_ABSENT {
		a.missed()
	}
}

// read takes the frame in and finds out what it belongs to.
func (a *act) read() *mcp.Fault {
	if fault := a.readBody(); fault != nil {
		return fault
	}
	frame, err := mcp.Read(a.body, mcp.ToServer, a.up.Limits)
	if err != nil {
		return faultOf(err)
	}
	a.frame, a.kind, a.method = frame, frameKinds[frame.Kind], frame.Method
	a.p.meter.name(a.span, a.method)
	if fault := mcp.CheckHeaders(a.r.Header, frame, nil); fault != nil {
		return fault
	}
	if fault := a.resolve(); fault != nil {
		return fault
	}
	if frame.Method == listen && !a.ticket.becomeStream() {
		return busy
	}
	if frame.Kind == mcp.KindResponse {
		method, ok := a.dialog.asks(frame.ID)
		if !ok {
			return unasked()
		}
		a.method = method
	}
	return nil
}

func unasked() *mcp.Fault {
	return invalid(http.StatusBadRequest, ruleNoQuestion, "the server has asked nothing that this answers")
}

// faultOf is the fault in an error of package mcp.
func faultOf(err error) *mcp.Fault {
	var f *mcp.Fault
	if errors.As(err, &f) {
		return f
	}
	return invalid(http.StatusBadRequest, mcp.RuleSyntax, "the frame could not be read")
}

// forget answers an allowed frame with a fault instead of forwarding it.
func (a *act) forget(rule string, fault *mcp.Fault) {
	a.out.Error = "answer refused: " + rule
	a.writeFault(fault)
}

// open begins a request to the upstream.
func (a *act) open(patience time.Duration) *line {
	ctx := a.onBehalf(a.ctx)
	if a.up.own == nil {
		ctx = context.WithValue(ctx, passageKey{}, a)
	}
	return a.p.newLine(ctx, patience)
}

// onBehalf tells a Transport that somebody else brought who the subject is.
func (a *act) onBehalf(ctx context.Context) context.Context {
	if a.up.own != nil {
		return ctx
	}
	return context.WithValue(ctx, subjectKey{}, a.decision.GetSubject().GetId())
}

// forward sends the bytes that were decided on, and relays the answer.
func (a *act) forward() {
	if mcp.IsListing(a.method) {
		a.dialog.noteListing(a.frame.ID)
	}
	l := a.open(a.up.Timeout)
	defer l.close()
	start := time.Now()
	res, err := a.dispatch(l, http.MethodPost, a.body)
	a.p.meter.upstream(a.ctx, a.server, a.method, time.Since(start))
	if err != nil {
		a.unanswered(l, err)
		return
	}
	defer res.Body.Close()
	a.out.Status = int32(res.StatusCode)
	if why := a.adopt(res); why != "" {
		a.unusable(why)
		return
	}
	a.relay(l, res)
}

// adopt binds the session that an initialize opened to who opened it, or says
// why it cannot.
func (a *act) adopt(res *http.Response) (why string) {
	ids := res.Header[headerSession]
	if a.frame.Meta.Modern || a.method != "initialize" || res.StatusCode >= 300 {
		if len(ids) == 1 && a.session != "" && ids[0] == a.session {
			a.w.Header().Set(headerSession, a.session)
		}
		return ""
	}
	if len(ids) == 0 {
		a.keepDialog().introduce(a.frame.Meta)
		return ""
	}
	if len(ids) > 1 || !isVisible(ids[0], 512) {
		return "The server gave no proper session id."
	}
	d, ok := a.p.dialogs.open(&dialog{
		key:      dialogKey{server: a.server, session: ids[0]},
		evidence: a.key, owner: a.owner(), shelf: new(shelf),
	})
	if !ok {
		return "The server gave a session id that belongs to somebody else."
	}
	a.p.dialogs.release(a.dialog)
	a.dialog, a.session = d, ids[0]
	d.introduce(a.frame.Meta)
	a.w.Header().Set(headerSession, ids[0])
	return ""
}

// relay passes the upstream's answer on, as far as it can be read and is
// allowed.
func (a *act) relay(l *line, res *http.Response) {
	status, kind := res.StatusCode, mediaType(res.Header)
	if retry := res.Header.Get("Retry-After"); isSeconds(retry) {
		a.w.Header().Set("Retry-After", retry)
	}
	if status == http.StatusNotFound && a.session != "" {
		a.p.dialogs.forget(a.dialog)
	}
	switch {
	case 300 <= status && status < 400:
		a.unusable("The server answered with a redirect, which is not followed.")
	case isCredentialRefusal(status):
		a.unusable(notAccepted)
	case a.frame.Kind != mcp.KindRequest:
		a.acknowledge(status)
	case kind == typeEvents && status == http.StatusOK:
		a.stream(l, res)
	case kind == typeJSON:
		a.document(l, res)
	default:
		a.unread(status)
	}
}

// unread answers in place of an answer that is no message. The client is told
// the status of a refusal, which has a meaning in the protocol: 404 ends a
// session, 400 an attempt at another protocol version.
func (a *act) unread(status int) {
	if 400 <= status && status < 500 {
		a.out.Error = fmt.Sprintf("answer refused: HTTP %d without a message", status)
		a.write(status, mcp.Failed(a.frame.ID, fmt.Sprintf("The server answered with HTTP %d.", status)))
		return
	}
	a.unusable("The server's answer could not be read with certainty.")
}

// acknowledge passes on how the upstream took a notification or a response.
func (a *act) acknowledge(status int) {
	if status < 300 {
		a.w.WriteHeader(http.StatusAccepted)
		return
	}
	if status >= 500 {
		status = http.StatusBadGateway
	}
	a.write(status, mcp.Faulted(&mcp.Fault{
		Code: mcp.CodeFailed, Rule: "upstream-status", Reason: "The server did not accept the message.",
	}))
}

// document relays an answer in plain JSON.
func (a *act) document(l *line, res *http.Response) {
	b, err := readAnswer(res, a.up.AnswerBytes)
	switch {
	case errors.Is(err, errTooLong), errors.Is(err, errUnreadable):
		a.unusable("The server's answer is too long, or coded in a way that is not known here.")
		return
	case err != nil:
		a.broken(l.why(err))
		return
	}
	m, err := a.inbound(b)
	switch {
	case err != nil:
		a.p.o.Logger.Warn("an answer was refused", "server", a.server, "method", a.method, "error", err)
		a.unread(res.StatusCode)
	case m.ours:
		a.write(http.StatusOK, m.out)
	case m.final, m.frame.Kind == mcp.KindResponse && m.frame.ID == nil:
		a.write(res.StatusCode, m.out)
	default:
		a.unusable("The server answered another request.")
	}
}

// unusable answers in place of an answer that must not, or cannot, be passed.
func (a *act) unusable(reason string) {
	a.out.Error = "answer refused: " + reason
	a.fail(reason)
}

// unanswered answers when no answer of the upstream has come here.
func (a *act) unanswered(l *line, err error) {
	if elsewhere := (*Reported)(nil); errors.As(err, &elsewhere) {
		proto.Reset(&a.out)
		proto.Merge(&a.out, elsewhere.Outcome)
		return
	}
	a.broken(l.why(err))
}

// broken answers when the upstream gave no whole answer.
func (a *act) broken(why error) {
	a.out.Error = why.Error()
	if text := apology(why); text != "" {
		a.fail(text)
	}
}

// apology is what the client is told, "" when there is nobody to tell.
func apology(why error) string {
	switch {
	case errors.Is(why, errSilent):
		return "The server did not answer in time."
	case errors.Is(why, errUnreachable):
		return "The server cannot be reached; try again."
	case errors.Is(why, errReset):
		return "The connection to the server broke before it had answered."
	case errors.Is(why, errExpelled):
		return "The credential is not valid any more."
	case errors.Is(why, errCut), errors.Is(why, errDraining):
		return "The gateway shuts down; try again."
	}
	return ""
}
