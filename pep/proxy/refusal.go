package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// refuse puts a fault on record and answers with it.
func (a *act) refuse(f *mcp.Fault) {
	a.record(f)
	a.writeFault(f)
}

// record puts a fault on record.
func (a *act) record(f *mcp.Fault) {
	q := a.request()
	q.Fault = &v1.Fault{Code: int32(f.Code), HttpStatus: int32(f.Status), Rule: f.Rule, Reason: f.Reason}
	if q.Id == "" {
		q.Id = string(f.ID)
	}
	if a.frame != nil && a.frame.HasName {
		q.Target = &v1.Target{Name: a.frame.Name}
	}
	a.decide(q)
	if a.span.IsRecording() {
		a.span.SetAttributes(attrRule.String(f.Rule))
	}
}

func (a *act) writeFault(f *mcp.Fault) {
	h := a.w.Header()
	switch f.Status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "POST, GET, DELETE")
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	case http.StatusRequestTimeout, http.StatusRequestEntityTooLarge:
		h.Set("Connection", "close")
	}
	if f.Rule == mcp.RuleFraming {
		h.Set("Connection", "close")
	}
	if f.Code == 0 {
		a.writeText(f.Status, f.Reason)
		return
	}
	a.write(f.Status, mcp.Faulted(f))
}

// deny answers an act that was not allowed.
func (a *act) deny() {
	d := a.decision
	if isExpulsion(d) {
		a.w.Header().Set(headerChallenge, a.challenge())
		a.write(http.StatusUnauthorized, a.failure(d.GetReason()))
		return
	}
	switch d.GetReasonCode() {
	case v1.ReasonCode_REASON_CODE_SERVER_NOT_GRANTED, v1.ReasonCode_REASON_CODE_NOT_GRANTED:
		a.write(http.StatusForbidden, a.failure(d.GetReason()))
	case v1.ReasonCode_REASON_CODE_INSUFFICIENT_SCOPE:
		a.stepUp(d)
	case v1.ReasonCode_REASON_CODE_OVERLOADED:
		a.w.Header().Set("Retry-After", "1")
		a.write(http.StatusServiceUnavailable, a.failure(d.GetReason()))
	case v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE:
		a.fail(d.GetReason())
	default:
		a.denyFrame(d)
	}
}

// isExpulsion says whether a decision refuses the client's credential itself.
func isExpulsion(d *v1.DecideResponse) bool {
	switch d.GetReasonCode() {
	case v1.ReasonCode_REASON_CODE_UNAUTHENTICATED, v1.ReasonCode_REASON_CODE_INVALID_TOKEN,
		v1.ReasonCode_REASON_CODE_EXPIRED_TOKEN, v1.ReasonCode_REASON_CODE_REVOKED_TOKEN:
		return true
	default:
		return false
	}
}

// denyFrame answers in the form that the effect has for the kind of frame.
// What expects no JSON-RPC answer, a notification or a response, gets HTTP 403
// with an error that has no id (MCP, transports, "cannot accept the input"): a
// 202 would say that the server has it, and an empty 403 ends some clients'
// sessions. Opening a stream and ending a session are answered likewise, and
// with 405, as by a server that offers no such thing, where they are hidden.
func (a *act) denyFrame(d *v1.DecideResponse) {
	f := a.frame
	switch effect := d.GetEffect(); {
	case f == nil && effect == v1.Effect_EFFECT_HIDE:
		a.w.Header().Set("Allow", "POST")
		a.writeText(http.StatusMethodNotAllowed, "not offered")
	case f == nil || f.Kind != mcp.KindRequest:
		a.write(http.StatusForbidden, a.failure(d.GetReason()))
	case effect == v1.Effect_EFFECT_HIDE:
		a.write(http.StatusOK, mcp.Unknown(f))
	case effect == v1.Effect_EFFECT_APPROVE:
		a.write(http.StatusOK, a.approvalNeeded(d))
	case d.GetReasonCode() == v1.ReasonCode_REASON_CODE_ACCOUNT_NEEDED:
		a.write(http.StatusOK, mcp.AccountNeeded(f, d.GetReason(), shown(d)))
	default:
		a.write(http.StatusOK, mcp.Denied(f, inFull(d), shown(d)))
	}
}

// inFull is the reason of a refusal for a client that no challenge can reach: it
// has all that one would say.
func inFull(d *v1.DecideResponse) string {
	if len(d.GetScopes()) == 0 {
		return d.GetReason()
	}
	return strings.TrimSpace(d.GetReason() + " Needed are the scopes " + strings.Join(d.GetScopes(), ", ") + ".")
}

// shown is what the client may see of a decision.
func shown(d *v1.DecideResponse) mcp.Decision {
	out := mcp.Decision{ID: d.GetDecisionId(), ReasonCode: pep.ReasonName(d.GetReasonCode()), Quotas: quotas(d)}
	if p := d.GetApproval(); p != nil {
		out.ApprovalID, out.URL, out.Approvers = p.GetId(), p.GetUrl(), p.GetApprovers()
		if p.GetExpiresAt() != nil {
			out.ExpiresAt = p.GetExpiresAt().AsTime().Format(time.RFC3339)
		}
	}
	if needed := d.GetAccount(); needed != nil {
		out.Holder = needed.GetHolder()
		if needed.GetUrl() != "" {
			out.URL = needed.GetUrl()
		}
	}
	return out
}

// failure is a JSON-RPC error for the frame, without an id where it has none.
func (a *act) failure(reason string) []byte {
	if reason == "" {
		reason = "Refused."
	}
	if a.frame != nil && a.frame.Kind == mcp.KindRequest {
		return mcp.Failed(a.frame.ID, reason)
	}
	return mcp.Faulted(&mcp.Fault{Code: mcp.CodeFailed, Rule: pep.ReasonName(a.decision.GetReasonCode()), Reason: reason})
}

// fail answers an act that could not be served. A request gets a JSON-RPC
// error with HTTP 200, which no client takes for the end of its session; what
// has no answer of its own gets 502.
func (a *act) fail(reason string) {
	status := http.StatusBadGateway
	if a.frame != nil && a.frame.Kind == mcp.KindRequest {
		status = http.StatusOK
	}
	a.write(status, a.failure(reason))
}

// write sends one JSON-RPC message that is the whole answer: as JSON, or as an
// event to a client that takes nothing else.
func (a *act) write(status int, message []byte) {
	h := a.w.Header()
	h["Content-Type"] = jsonOnly
	if status == http.StatusOK && acceptsOnlyEvents(a.r.Header) {
		h.Set("Content-Type", typeEvents)
		message = mcp.AppendEvent(nil, "", "", -1, message)
	}
	a.send(status, message)
}

func (a *act) writeText(status int, text string) {
	a.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	a.send(status, []byte(text+"\n"))
}

func (a *act) send(status int, body []byte) {
	h := a.w.Header()
	h["Cache-Control"], h["X-Content-Type-Options"] = noStore, noSniff
	h.Set("Content-Length", strconv.Itoa(len(body)))
	a.w.WriteHeader(status)
	n, err := a.w.Write(body)
	a.out.Bytes += int64(n)
	if err == nil {
		// net/http would do it anyway, but not tell how it went.
		err = http.NewResponseController(a.w).Flush()
	}
	if err != nil && a.out.GetError() == "" {
		a.out.Error = errClientGone.Error()
	}
}
