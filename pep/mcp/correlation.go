package mcp

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// correlation takes the tokens by which notifications refer to requests.
func (s *scan) correlation(f *Frame) {
	switch f.Method {
	case methodCancelled:
		if raw := s.raw(slotRequestID); raw != nil {
			if !isID(raw) {
				s.fail(CodeInvalidParams, RuleParams, "requestId must be an id", s.found[slotRequestID].at)
				return
			}
			f.RequestID, f.requestIDAt = raw, s.found[slotRequestID].at
		}
	case methodProgress:
		raw := s.raw(slotProgressToken)
		if !isID(raw) {
			s.fail(CodeInvalidParams, RuleParams, "progressToken must be a string or an integer", max(s.found[slotProgressToken].at, s.found[slotParams].at))
			return
		}
		f.Meta.ProgressToken, f.tokenAt = raw, s.found[slotProgressToken].at
	}
}

// subscription takes what a frame says about subscriptions: the id of the
// stream that it belongs to, and what subscriptions/listen asks for.
func (s *scan) subscription(f *Frame) {
	s.stream(f)
	if s.found[slotNotifications].present() && !s.is(slotNotifications, '{') {
		if f.Method == methodListen || f.Method == methodAcknowledged {
			s.fail(CodeInvalidParams, RuleParams, "notifications must be an object", s.found[slotNotifications].at)
		}
		return
	}
	f.ResourceURIs = s.list(slotResourceURIs, maxURI)
	f.TaskIDs = s.list(slotTaskIDs, maxName)
}

// stream takes the id of the subscriptions/listen request whose stream the
// frame belongs to.
func (s *scan) stream(f *Frame) {
	raw := s.raw(slotSubscription)
	if raw == nil {
		return
	}
	if !isID(raw) {
		s.failMeta(slotSubscription, "subscriptionId must be an id")
		return
	}
	f.SubscriptionID, f.subscriptionAt = raw, s.found[slotSubscription].at
}

// list decodes an array of names or URIs. It never returns nil for an array.
func (s *scan) list(at slot, limit int) []string {
	if !s.found[at].present() {
		return nil
	}
	all := []string{}
	dec := jsontext.NewDecoder(bytes.NewBuffer(s.raw(at)), looseText...)
	if tok, err := dec.ReadToken(); err == nil && tok.Kind() == '[' {
		for dec.PeekKind() == '"' {
			raw, err := dec.ReadValue()
			if err != nil {
				break
			}
			plain, err := jsontext.AppendUnquote(nil, raw)
			if err != nil || !isName(string(plain), limit) {
				break
			}
			all = append(all, string(plain))
		}
		if dec.PeekKind() == ']' {
			return all
		}
	}
	s.fail(CodeInvalidParams, RuleParams, "resourceSubscriptions and taskIds must be arrays of strings that can name something", s.found[at].at)
	return nil
}
