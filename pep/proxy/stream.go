package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// grace is how long a server may take to close the stream after its answer, so
// that the connection can be used again.
const grace = 100 * time.Millisecond

// listen is the request of 2026-07-28 whose answer is a stream that stays open.
const listen = "subscriptions/listen"

// openStream relays the GET stream of a legacy session, new or resumed.
func (a *act) openStream() {
	if fault := a.resolveStream(); fault != nil {
		a.refuse(fault)
		return
	}
	if !a.allowed() {
		return
	}
	l := a.open(0)
	defer l.close()
	res, err := a.dispatch(l, http.MethodGet, nil)
	if err != nil {
		a.unanswered(l, err)
		return
	}
	defer res.Body.Close()
	a.out.Status = int32(res.StatusCode)
	if res.StatusCode == http.StatusOK && mediaType(res.Header) == typeEvents {
		a.stream(l, res)
		return
	}
	a.passStatus(res.StatusCode)
}

// resolveStream checks what a GET or DELETE brings beside its path.
func (a *act) resolveStream() *mcp.Fault {
	if v := a.r.Header[headerLastEvent]; len(v) > 0 && !isVisible(v[0], 1024) {
		return invalid(http.StatusBadRequest, ruleLastEvent, "Last-Event-ID must be visible ASCII")
	}
	return a.resolve()
}

// allowed decides on an act without a frame, and answers it where it is not.
func (a *act) allowed() bool {
	d := a.decide(a.request())
	switch {
	case d.GetEffect() != v1.Effect_EFFECT_ALLOW:
		a.deny()
	case a.isForeign():
		a.forget(ruleOtherSession, plain(http.StatusNotFound, ruleOtherSession, "there is no such session; initialize a new one"))
	default:
		return true
	}
	return false
}

// endSession passes on the DELETE of a session.
func (a *act) endSession() {
	if fault := a.resolveStream(); fault != nil {
		a.refuse(fault)
		return
	}
	if !a.allowed() {
		return
	}
	l := a.open(a.up.Timeout)
	defer l.close()
	res, err := a.dispatch(l, http.MethodDelete, nil)
	if err != nil {
		a.unanswered(l, err)
		return
	}
	res.Body.Close()
	a.out.Status = int32(res.StatusCode)
	if a.session != "" && (res.StatusCode < 300 || res.StatusCode == http.StatusNotFound) {
		a.p.dialogs.forget(a.dialog)
	}
	a.passStatus(res.StatusCode)
}

// passStatus answers with the upstream's status where it means something to a
// client, and never with what the upstream wrote beside it.
func (a *act) passStatus(status int) {
	switch {
	case 200 <= status && status < 300:
		a.w.WriteHeader(status)
	case status == http.StatusMethodNotAllowed:
		a.w.Header().Set("Allow", "POST")
		a.writeText(status, "not offered by the server")
	case status == http.StatusNotFound:
		if a.session != "" {
			a.p.dialogs.forget(a.dialog)
		}
		a.writeText(status, "not found at the server")
	case isCredentialRefusal(status):
		// Never the status itself: the client would take its own token for bad.
		a.unusable(notAccepted)
	case 400 <= status && status < 500:
		a.writeText(status, "the server answered with HTTP "+strconv.Itoa(status))
	default:
		a.unusable("The server answered with HTTP " + strconv.Itoa(status) + ".")
	}
}

// stream relays an event stream, event by event.
func (a *act) stream(l *line, res *http.Response) {
	body, _, err := decoded(res)
	if err != nil {
		a.unusable("The server's answer has a content coding that is not known here.")
		return
	}
	if !a.owes() {
		l.endless()
		defer a.p.vigil.keep(vigilKey{a.key, a.server}, a.evidence, l)()
	}
	a.p.meter.streamed(a.ctx, a.server, 1)
	defer a.p.meter.streamed(a.ctx, a.server, -1)
	out := a.openEvents()
	answered, resumable, err := a.events(l, mcp.NewEventReader(body, a.up.AnswerBytes), out)
	a.settle(l, out, answered, resumable, err)
	a.out.Bytes += out.close()
}

// owes reports whether the stream is there to answer a request soon.
func (a *act) owes() bool { return a.frame != nil && a.method != listen }

// events relays events until the stream ends with an error, io.EOF if cleanly.
// answered says that the act's request has its answer, resumable that the
// client can ask for what it missed.
func (a *act) events(l *line, from *mcp.EventReader, to *events) (answered, resumable bool, err error) {
	for {
		e, err := from.Next()
		if err != nil {
			return answered, resumable, err
		}
		e = clean(e)
		resumable = resumable || e.ID != ""
		if len(bytes.TrimSpace(e.Data)) == 0 {
			if err := to.send(control(e)); err != nil {
				return answered, resumable, errClientGone
			}
			continue
		}
		l.alive()
		m, err := a.inbound(e.Data)
		if err != nil {
			a.p.o.Logger.Warn("a message of the server was refused", "server", a.server, "method", a.method, "error", err)
			if a.frame != nil && !answered {
				return false, false, err
			}
			continue
		}
		if a.expelled {
			return answered, false, errExpelled
		}
		if m.out == nil {
			continue
		}
		if err := to.send(e.With(m.out)); err != nil {
			return answered, resumable, errClientGone
		}
		if m.final {
			answered = true
			l.patience = grace
			l.alive()
		}
	}
}

// settle ends a stream whose upstream side has ended. A request that is still
// without an answer gets an error, unless the client can resume the stream.
func (a *act) settle(l *line, out *events, answered, resumable bool, err error) {
	var fault *mcp.Fault
	why := l.why(err)
	switch {
	case errors.Is(err, errClientGone), errors.Is(err, errExpelled):
		why = err
	case errors.As(err, &fault):
		why = errors.New("answer refused: " + fault.Rule)
	case answered, !a.owes() && errors.Is(err, io.EOF), errors.Is(why, errDraining):
		return
	}
	a.out.Error = why.Error()
	if a.frame == nil || fault == nil && resumable && a.session != "" && !errors.Is(why, errSilent) {
		return
	}
	text := apology(why)
	if fault != nil {
		text = "The server's answer could not be read with certainty."
	}
	if text != "" {
		_ = out.send(mcp.AppendEvent(nil, "", "", -1, mcp.Failed(a.frame.ID, text)))
	}
}

// clean takes away an id or a type that some client could take for more.
func clean(e mcp.Event) mcp.Event {
	if !isVisible(e.ID, 1024) {
		e.ID = ""
	}
	if !isVisible(e.Type, 64) {
		e.Type = ""
	}
	return e
}

// control is an event without a message: a comment, an id to resume from, a
// time to wait before that.
func control(e mcp.Event) []byte {
	if e.Data != nil {
		return e.With(nil)
	}
	var b []byte
	if e.ID != "" {
		b = append(append(append(b, "id: "...), e.ID...), '\n')
	}
	if e.Retry >= 0 {
		b = append(strconv.AppendInt(append(b, "retry: "...), int64(e.Retry), 10), '\n')
	}
	if b == nil {
		return []byte(":\n\n")
	}
	return append(b, '\n')
}

// events writes an event stream to the client: each event at once, and a
// comment when nothing else was written for a while.
type events struct {
	mu     sync.Mutex
	w      http.ResponseWriter
	rc     *http.ResponseController
	bytes  int64
	idle   *time.Timer
	period time.Duration
	closed bool
	err    error
}

func (a *act) openEvents() *events {
	h := a.w.Header()
	h.Set("Content-Type", typeEvents)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no")
	e := &events{w: a.w, rc: http.NewResponseController(a.w), period: a.p.o.KeepAlive}
	a.w.WriteHeader(http.StatusOK)
	e.err = e.rc.Flush()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.idle = time.AfterFunc(e.period, func() { _ = e.send([]byte(":\n\n")) })
	return e
}

// send writes one event. After a failure it does nothing more.
func (e *events) send(event []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil || e.closed {
		return e.err
	}
	n, err := e.w.Write(event)
	if err == nil {
		err = e.rc.Flush()
	}
	e.bytes += int64(n)
	e.err = err
	e.idle.Reset(e.period)
	return err
}

// close ends the writing, since the timer must not fire into an answer that is
// over, and returns how many bytes were written.
func (e *events) close() int64 {
	e.idle.Stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return e.bytes
}
