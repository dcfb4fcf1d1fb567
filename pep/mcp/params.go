package mcp

import "slices"

// unknown is how the reader treats a method that MCP does not know.
var unknown = &method{from: either}

// call reads the parameters of a request or notification.
func (s *scan) call(f *Frame) {
	m, known := methods[f.Method]
	if !known {
		m = unknown
	}
	if m.from&s.dir.sender() == 0 {
		s.fail(CodeInvalidRequest, RuleDirection, "this side of the protocol never sends this method", s.found[slotMethod].at)
		return
	}
	f.Params = s.raw(slotParams)
	if f.Params != nil && !s.is(slotParams, '{') {
		s.fail(CodeInvalidParams, RuleParams, "params must be an object", s.found[slotParams].at)
		return
	}
	s.meta(f)
	if m.legacy && f.Meta.Modern {
		s.notFound()
		return
	}
	s.members(f, m)
	s.subject(f, m)
	s.arguments(f, m)
	s.rounds(f, m)
	s.correlation(f)
	s.subscription(f)
}

// notFound answers for a method that the frame's protocol version does not
// have, as a server of that version must: HTTP 404.
func (s *scan) notFound() {
	if s.fault == nil {
		s.fail(CodeMethodNotFound, RuleMethod, "this protocol version does not have the method", s.found[slotMethod].at)
		s.fault.Status = 404
	}
}

// members refuses parameters that a closed method does not have.
func (s *scan) members(f *Frame, m *method) {
	if m.members == nil {
		return
	}
	const reason = "params has a member that the method does not have"
	if at := s.extra[slotParams]; at > 0 {
		s.fail(CodeInvalidParams, RuleParams, reason, at)
		return
	}
	for _, p := range paramsSlots {
		if !s.found[p].present() || slices.Contains(m.members, p) && (p != slotTask || !f.Meta.Modern) {
			continue
		}
		if p == slotInputResponses || p == slotRequestState {
			continue // has its own rule
		}
		s.fail(CodeInvalidParams, RuleParams, reason, s.found[p].at)
		return
	}
}

// subject reads what the frame is about.
func (s *scan) subject(f *Frame, m *method) {
	at := m.subject
	if at == slotRef {
		at = s.ref()
	}
	if at == slotNone {
		return
	}
	limit := maxName
	if at == slotURI || at == slotRefURI {
		limit = maxURI
	}
	name, ok := s.str(at)
	if !ok || !isName(name, limit) {
		s.fail(CodeInvalidParams, RuleName, "the name, uri or taskId that the method is about must be a string, not empty, not too long, without control characters", max(s.found[at].at, s.found[slotParams].at))
		return
	}
	f.Name, f.HasName = name, true
}

// isName reports whether s may name a tool, prompt, resource or task.
func isName(s string, limit int) bool { return s != "" && len(s) <= limit && !hasControl(s) }

// ref returns the slot that a completion refers to, slotNone after a fault.
func (s *scan) ref() slot {
	kind, _ := s.str(slotRefType)
	name, uri := s.found[slotRefName].present(), s.found[slotRefURI].present()
	switch {
	case kind == "ref/prompt" && name && !uri:
		return slotRefName
	case kind == "ref/resource" && uri && !name:
		return slotRefURI
	}
	s.fail(CodeInvalidParams, RuleParams, "ref must be a ref/prompt with a name or a ref/resource with a uri", max(s.found[slotRef].at, s.found[slotParams].at))
	return slotNone
}

// arguments takes params.arguments of the methods that have them.
func (s *scan) arguments(f *Frame, m *method) {
	for _, p := range []slot{slotArguments, slotArgument, slotContext, slotTask} {
		if s.found[p].present() && slices.Contains(m.members, p) && !s.is(p, '{') {
			s.fail(CodeInvalidParams, RuleParams, "arguments, argument, context and task must be objects", s.found[p].at)
			return
		}
	}
	if slices.Contains(m.members, slotArguments) {
		f.Arguments = s.raw(slotArguments)
	}
}

// rounds takes the fields of a further round trip (MCP 2026-07-28, patterns,
// multi round-trip requests).
func (s *scan) rounds(f *Frame, m *method) {
	responses, state := s.found[slotInputResponses], s.found[slotRequestState]
	if m == unknown || !responses.present() && !state.present() {
		return
	}
	at := max(responses.at, state.at)
	switch {
	case !m.rounds || !f.Meta.Modern:
		s.fail(CodeInvalidParams, RuleRounds, "inputResponses and requestState have no place in this frame", at)
	case responses.present() && !s.is(slotInputResponses, '{'):
		s.fail(CodeInvalidParams, RuleRounds, "inputResponses must be an object", responses.at)
	case state.present() && (!s.is(slotRequestState, '"') || state.end-state.at > maxRequestState):
		s.fail(CodeInvalidParams, RuleRounds, "requestState must be a string of up to 64 KiB", state.at)
	default:
		f.InputResponses, f.RequestState = s.raw(slotInputResponses), s.raw(slotRequestState)
	}
}
