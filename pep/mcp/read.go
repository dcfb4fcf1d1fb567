package mcp

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// Read reads one frame that was sent in the given direction. b is kept, not
// copied. The error is always a *Fault.
//
// Of a frame to the server nothing is accepted that two JSON readers could
// take for different messages (DESIGN 6): the rules on text, names, numbers
// and size hold at every depth, the message is closed, and so are the
// parameters of every method that names a tool, prompt or resource.
//
// A frame to the client is content that the gateway mostly passes on: members
// of a structured result may have any name, and numbers any size. What the
// gateway itself reads is as certain as in the other direction: the message is
// closed, UTF-8, without a name twice in one object, and the objects that
// something is taken out of (the message, params, result, _meta, the entries
// of a listing) have no two names that fold to one and none that folds to a
// protocol member. Lone surrogates are accepted in content only.
func Read(b []byte, dir Direction, lim Limits) (*Frame, error) {
	f, fault := read(b, dir, lim)
	if fault != nil {
		return nil, fault
	}
	return f, nil
}

func read(b []byte, dir Direction, lim Limits) (*Frame, *Fault) {
	s := newScan(b, dir, lim)
	defer s.release()
	f := s.frame(frameNode)
	if s.fault != nil {
		s.fault.ID = rawID(b, s.lim.Bytes)
		return nil, s.fault
	}
	return f, nil
}

// frame reads the document and makes the frame of what was found in it.
func (s *scan) frame(root *node) *Frame {
	s.document(root)
	if s.fault != nil {
		return nil
	}
	f := &Frame{Bytes: s.b}
	s.envelope(f)
	if s.fault != nil {
		return nil
	}
	if f.Kind == KindResponse {
		s.response(f)
	} else {
		s.call(f)
	}
	if s.fault != nil {
		return nil
	}
	return f
}

// raw returns the bytes in a slot, nil when there are none.
func (s *scan) raw(at slot) []byte {
	if v := s.found[at]; v.present() {
		return s.b[v.at:v.end:v.end]
	}
	return nil
}

// is reports whether the slot holds a value of the kind ('{', '[', '"', '0',
// 't', 'f', 'n').
func (s *scan) is(at slot, kind jsontext.Kind) bool {
	v := s.found[at]
	return v.present() && jsontext.Value(s.b[v.at:v.end]).Kind() == kind
}

// str decodes the string in a slot. It fails for anything else.
func (s *scan) str(at slot) (string, bool) {
	if !s.is(at, '"') {
		return "", false
	}
	raw := s.raw(at)
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	plain, err := jsontext.AppendUnquote(nil, raw)
	return string(plain), err == nil
}

// envelope finds out what kind of message this is.
func (s *scan) envelope(f *Frame) {
	call := s.found[slotMethod].present()
	answer := s.found[slotResult].present() || s.found[slotError].present()
	version, _ := s.str(slotVersion)
	switch {
	case s.extra[slotEnvelope] > 0:
		s.fail(CodeInvalidRequest, RuleEnvelope, "the message has a member that JSON-RPC does not have", s.extra[slotEnvelope])
	case version != "2.0":
		s.fail(CodeInvalidRequest, RuleVersion, `jsonrpc must be "2.0"`, s.found[slotVersion].at)
	case call && answer, answer && s.found[slotParams].present(), s.found[slotResult].present() && s.found[slotError].present():
		s.fail(CodeInvalidRequest, RuleMixed, "the message mixes members of a request, a result and an error", -1)
	case call:
		s.method(f)
	case answer:
		f.Kind = KindResponse
		s.answerID(f)
	default:
		s.fail(CodeInvalidRequest, RuleEnvelope, "the message has neither method nor result nor error", -1)
	}
}

// method reads the method's name, and the id that goes with it.
func (s *scan) method(f *Frame) {
	at := s.found[slotMethod].at
	name, ok := s.str(slotMethod)
	if !ok || name == "" || len(name) > maxMethod || !isToken(name) {
		s.fail(CodeInvalidRequest, RuleMethod, "method must be a string of 1 to 256 visible ASCII characters", at)
		return
	}
	if m, known := methods[name]; known {
		name = m.name // shared, not one more string
	} else if isLookalike(name) {
		s.fail(CodeInvalidRequest, RuleMethod, "method is another spelling of a method of the protocol", at)
		return
	}
	f.Method = name
	if isNotification(name) {
		f.Kind = KindNotification
		if s.found[slotID].present() {
			s.fail(CodeInvalidRequest, RuleID, "a notification must not have an id", s.found[slotID].at)
		}
		return
	}
	f.Kind = KindRequest
	if !s.found[slotID].present() {
		s.fail(CodeInvalidRequest, RuleID, "a request must have an id", -1)
		return
	}
	s.id(f)
}

// answerID reads the id of a response. A server's error may go without one:
// that is how it answers what it could not read.
func (s *scan) answerID(f *Frame) {
	none := !s.found[slotID].present() || s.is(slotID, 'n')
	if none && s.dir == ToClient && s.found[slotError].present() {
		return
	}
	s.id(f)
}

func (s *scan) id(f *Frame) {
	raw := s.raw(slotID)
	if !isID(raw) {
		s.fail(CodeInvalidRequest, RuleID, "an id must be a string of up to 256 bytes or an integer of up to 2^53-1", max(s.found[slotID].at, 0))
		return
	}
	f.ID, f.idAt = raw, s.found[slotID].at
}

// isID reports whether a raw JSON token may be an id or a progress token.
func isID(raw []byte) bool {
	if len(raw) == 0 || raw[0] != '"' {
		return isInteger(raw)
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return len(raw)-2 <= maxID
	}
	plain, err := jsontext.AppendUnquote(nil, raw)
	return err == nil && len(plain) <= maxID
}

// response takes the result or the error.
func (s *scan) response(f *Frame) {
	f.Result, f.Error = s.raw(slotResult), s.raw(slotError)
	switch {
	case f.Result != nil && !s.is(slotResult, '{'):
		s.fail(CodeInvalidRequest, RuleEnvelope, "result must be an object", s.found[slotResult].at)
		return
	case f.Error != nil && !s.is(slotError, '{'):
		s.fail(CodeInvalidRequest, RuleEnvelope, "error must be an object", s.found[slotError].at)
		return
	}
	if s.found[slotResultType].present() {
		var ok bool
		if f.ResultType, ok = s.str(slotResultType); !ok {
			s.fail(CodeInvalidRequest, RuleEnvelope, "resultType must be a string", s.found[slotResultType].at)
		}
	}
	f.RequestState = s.raw(slotResultState)
	s.stream(f)
	if s.found[slotInputRequests].present() {
		if f.InputRequests = s.raw(slotInputRequests); !s.is(slotInputRequests, '{') {
			s.fail(CodeInvalidRequest, RuleRounds, "inputRequests must be an object", s.found[slotInputRequests].at)
		}
	}
}

// rawID returns the id of a frame that was refused: the raw token, if the
// frame is one object whose top level has exactly one member that any reader
// could take for the id, and that is well-formed.
func rawID(b []byte, limit int) []byte {
	if len(b) > limit {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(b), looseText...)
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return nil
	}
	var id []byte
	for n := 0; dec.PeekKind() != '}'; {
		name, err := dec.ReadValue()
		if err != nil {
			return nil
		}
		plain, err := jsontext.AppendUnquote(nil, name)
		isIt := string(plain) == "id"
		if like := err != nil || string(appendFold(nil, bytes.TrimRight(plain, "\x00"))) == "ID"; like {
			n++
		}
		value, err := dec.ReadValue()
		if err != nil || n > 1 {
			return nil
		}
		if isIt {
			end := int(dec.InputOffset())
			id = b[end-len(value) : end : end]
		} else if n == 1 && id == nil {
			return nil
		}
	}
	if _, err := dec.ReadToken(); err != nil || skipSpace(b, int(dec.InputOffset())) < len(b) || !isID(id) {
		return nil
	}
	return id
}

// isToken reports whether s is made of visible ASCII characters only.
func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || 0x7f <= s[i] {
			return false
		}
	}
	return true
}
