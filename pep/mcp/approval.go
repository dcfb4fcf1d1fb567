package mcp

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// How the gateway itself asks in the middle of a call (MCP 2026-07-28, patterns,
// multi round-trip requests): with one URL elicitation whose link leads to the
// approval, and a requestState that the client sends back.
//
// The state is not the gateway's secret but an envelope around it, five parts
// with a full stop between them, in base64url where they are not fixed:
//
//	mcpermit-approval . 1 . what the PDP sealed . the server's own requestState . inputResponses for the server
//
// The last two are there when the call that needs an approval was itself the
// answer to questions of the server: the client answers one set of questions at
// a time, so what it said to the server's is kept until the gateway's is
// answered. They are the client's own data, and are read as strictly as if they
// had come without an envelope. An envelope in which nothing is sealed holds a
// server's state that looks like an envelope: another gateway is the server.
//
// A call that was allowed on an approval and is then asked for more by its
// server comes back as a frame of its own, and needs an approval of its own
// where the policy says so: nothing in the server's state can show that it
// belongs to the approved call, so an approval never covers two frames (I8).

const (
	approvalKey      = "mcpermit-approval-" // and the round: key of the gateway's question
	envelopePrefix   = "mcpermit-approval."
	envelopeVersion  = "1"
	memberResponses  = "inputResponses"
	memberState      = "requestState"
	actionAccept     = "accept"
	reasonUnanswered = "requestState and inputResponses do not belong to one question of the gateway"
)

// approvalEnvelope is the requestState that a client has from the gateway.
type approvalEnvelope struct {
	sealed    []byte // by the PDP
	state     []byte // raw requestState of the server, nil for none
	responses []byte // raw inputResponses for the server, nil for none
}

// token is the envelope as a raw JSON string.
func (e approvalEnvelope) token() []byte {
	b := []byte(`"` + envelopePrefix + envelopeVersion)
	for _, part := range [][]byte{e.sealed, e.state, e.responses} {
		b = base64.RawURLEncoding.AppendEncode(append(b, '.'), part)
	}
	return append(b, '"')
}

// isEnvelope reports whether a raw requestState is one of the gateway's, of any
// version.
func isEnvelope(raw []byte) bool {
	s, ok := plainString(raw)
	return ok && strings.HasPrefix(s, envelopePrefix)
}

// openEnvelope reads a raw requestState for which isEnvelope holds.
func openEnvelope(raw []byte) (e approvalEnvelope, ok bool) {
	s, _ := plainString(raw)
	version, rest, _ := strings.Cut(s[len(envelopePrefix):], ".")
	parts := strings.Split(rest, ".")
	into := []*[]byte{&e.sealed, &e.state, &e.responses}
	if version != envelopeVersion || len(parts) != len(into) {
		return e, false
	}
	for i, part := range parts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil {
			return e, false
		}
		if len(b) > 0 {
			*into[i] = b
		}
	}
	return e, true
}

func plainString(raw []byte) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	plain, err := jsontext.AppendUnquote(nil, raw)
	return string(plain), err == nil
}

// MayAskApproval reports whether a request can be answered with a question of
// the gateway's: it is of a method and of a revision that has such answers, and
// its client opens links.
func MayAskApproval(f *Frame) bool {
	return f.Kind == KindRequest && f.Meta.Modern && f.Meta.ElicitationURL && hasRounds(f.Method)
}

// hasRounds says of a method that it may be answered with input_required.
func hasRounds(method string) bool {
	return method == methodToolsCall || method == methodPromptsGet || method == methodResourcesRead
}

// AskApproval answers a call that waits for a person with a question to the
// client: a URL elicitation with the decision's link. state is what the PDP
// sealed, and round tells the question from earlier ones. It returns nil where
// the client cannot be asked so, and has to be told in words: see
// MayAskApproval; without a link or a state; and where the state, with what it
// has to keep for the server, is longer than the reader takes back.
func AskApproval(f *Frame, reason string, d Decision, state []byte, round int) []byte {
	if !MayAskApproval(f) || d.URL == "" || len(state) == 0 || round < 1 {
		return nil
	}
	token := approvalEnvelope{sealed: state, state: f.RequestState, responses: f.InputResponses}.token()
	if len(token) > maxRequestState {
		return nil
	}
	unlinked := d
	unlinked.URL = ""
	message := unlinked.need() + ". Open the link to see the call and to decide on it, or pass the link on."
	if d.Holder != "" {
		message = unlinked.account() + ". Open the link to do so, or pass the link on."
	}
	if reason != "" {
		message = reason + "\n" + message
	}
	b := make([]byte, 0, 512+len(message)+len(token))
	b = append(appendID(b, f.ID), `"result":{"resultType":"input_required","inputRequests":{"`+approvalKey...)
	b = append(strconv.AppendInt(b, int64(round), 10), `":{"method":"`+methodElicitation+`","params":{"mode":"url","message":`...)
	b = append(appendString(b, message), `,"url":`...)
	b = append(append(appendString(b, d.URL), `}}},"requestState":`...), token...)
	return append(d.append(append(b, `,"_meta":{`...)), `}}}`...)
}

// ApprovalRetry is a call that comes back with the state of an approval.
type ApprovalRetry struct {
	State    []byte // what the PDP sealed; nil when the call had been asked by its server alone
	Declined bool   // the client did not follow the link
	// Frame is the call without anything of the gateway's: the bytes that would
	// have arrived had there been no approval, in which nothing else differs.
	Frame *Frame
}

// ReadApprovalRetry reads what a request brings back of the gateway's own
// questions, nil if nothing. lim are those under which f was read. The error is
// a *Fault: an answer to the gateway without its state or the other way round, a
// state that is no whole envelope, or one that would make another call of this
// one.
func ReadApprovalRetry(f *Frame, lim Limits) (*ApprovalRetry, error) {
	if !hasRounds(f.Method) || f.InputResponses == nil && f.RequestState == nil {
		return nil, nil
	}
	r, fault := readApprovalRetry(f, lim)
	if fault != nil {
		fault.ID = f.ID
		return nil, fault
	}
	return r, nil
}

func readApprovalRetry(f *Frame, lim Limits) (*ApprovalRetry, *Fault) {
	params := f.entriesOf("params")
	at, stateAt := indexOf(params, memberResponses), indexOf(params, memberState)
	answers := &answers{}
	if at >= 0 {
		answers = readAnswers(f.Bytes, params[at].value.at)
	}
	if stateAt < 0 || !isEnvelope(f.RequestState) {
		if len(answers.ours) > 0 {
			return nil, stateFault(reasonUnanswered)
		}
		return nil, nil
	}
	e, ok := openEnvelope(f.RequestState)
	switch {
	case !ok:
		return nil, stateFault("requestState is not whole, or not of this version of the gateway")
	case e.sealed != nil && (len(answers.ours) == 0 || e.responses != nil && answers.others):
		return nil, stateFault(reasonUnanswered)
	}
	cut, fault := read(splice(f.Bytes, e.undo(params, at, stateAt, answers)), ToServer, lim)
	switch {
	case fault != nil:
		return nil, stateFault("what requestState holds for the server cannot be read: " + fault.Rule)
	case !bytes.Equal(cut.RequestState, e.state), e.responses != nil && !bytes.Equal(cut.InputResponses, e.responses):
		return nil, stateFault("requestState holds more than the server's own")
	}
	return &ApprovalRetry{State: e.sealed, Declined: answers.declined && e.sealed != nil, Frame: cut}, nil
}

// undo are the edits that make of a retry the call that it retries: what the
// envelope holds for the server comes back to its place, and what is the
// gateway's goes.
func (e approvalEnvelope) undo(params []entry, at, stateAt int, a *answers) (edits []edit) {
	gone := map[int]bool{}
	if e.state != nil {
		edits = append(edits, edit{params[stateAt].value, e.state})
	} else {
		gone[stateAt] = true
	}
	switch {
	case e.sealed == nil: // the answers are the server's
	case e.responses != nil:
		edits = append(edits, edit{params[at].value, e.responses})
	case a.others:
		edits = append(edits, without(a.all, a.ours)...)
	default:
		gone[at] = true
	}
	return append(edits, without(params, gone)...)
}

func stateFault(reason string) *Fault {
	return refuse(CodeInvalidParams, RuleApprovalState, reason, -1)
}

// answers are the entries of inputResponses.
type answers struct {
	all      []entry
	ours     map[int]bool // indexes of those to the gateway's questions
	others   bool         // there are some to the server's
	declined bool         // one of ours does not accept
}

func readAnswers(b []byte, at int) *answers {
	a := &answers{all: entriesAt(b, at), ours: map[int]bool{}}
	for i, m := range a.all {
		if !strings.HasPrefix(m.name, approvalKey) {
			a.others = true
			continue
		}
		a.ours[i] = true
		action := ""
		eachMember(jsontext.Value(b[m.value.at:m.value.end]), func(name string, value jsontext.Value) {
			if name == "action" {
				action, _ = plainString(value)
			}
		})
		a.declined = a.declined || action != actionAccept
	}
	return a
}

// WithServerState returns a server's result as a client may have it: its
// questions to the client are not taken for the gateway's own when they are
// answered. Where nothing in it looks like one, that is the result as it is.
func WithServerState(f *Frame) []byte {
	ours := isEnvelope(f.RequestState)
	eachMember(f.InputRequests, func(key string, _ jsontext.Value) {
		ours = ours || strings.HasPrefix(key, approvalKey)
	})
	if !ours {
		return f.Bytes
	}
	result := f.entriesOf("result")
	if at := indexOf(result, memberState); at >= 0 {
		token := approvalEnvelope{state: f.RequestState}.token()
		return splice(f.Bytes, []edit{{result[at].value, token}})
	}
	// A key without an envelope would be refused when it comes back.
	at := result[0].at
	with := append(append([]byte(`"`+memberState+`":`), approvalEnvelope{}.token()...), ',')
	return splice(f.Bytes, []edit{{span{at, at}, with}})
}
