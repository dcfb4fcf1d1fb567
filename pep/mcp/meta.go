package mcp

import "strings"

// meta reads params._meta, and what initialize has in its place.
func (s *scan) meta(f *Frame) {
	if s.found[slotMeta].present() && !s.is(slotMeta, '{') {
		s.failMeta(slotMeta, "_meta must be an object")
		return
	}
	version, info, capabilities := slotMetaVersion, slotMetaInfo, slotMetaCapabilities
	f.Meta.Modern = s.found[slotMetaVersion].present()
	if !f.Meta.Modern && f.Method == methodInitialize {
		version, info, capabilities = slotInitVersion, slotInitInfo, slotInitCapabilities
	}
	s.version(f, version)
	s.client(f, info, capabilities)
	s.token(f)
	s.trace(f)
}

func (s *scan) failMeta(at slot, reason string) {
	s.fail(CodeInvalidParams, RuleMeta, reason, s.found[at].at)
}

func (s *scan) version(f *Frame, at slot) {
	if !s.found[at].present() {
		return
	}
	v, ok := s.str(at)
	if !ok || v == "" || len(v) > maxVersion || !isToken(v) {
		s.failMeta(at, "protocolVersion must be a short string of visible ASCII characters")
		return
	}
	f.Meta.ProtocolVersion = v
}

// client takes what the client says about itself.
func (s *scan) client(f *Frame, info, capabilities slot) {
	for _, at := range []slot{info, capabilities} {
		if s.found[at].present() && !s.is(at, '{') {
			s.failMeta(at, "clientInfo and client capabilities must be objects")
			return
		}
	}
	f.Meta.ClientInfo, f.Meta.Capabilities = s.raw(info), s.raw(capabilities)
	if f.Meta.ClientInfo != nil {
		f.Meta.ClientName, _ = s.str(slotInfoName)
		f.Meta.ClientVersion, _ = s.str(slotInfoVersion)
	}
	if f.Meta.Capabilities != nil {
		f.Meta.ElicitationURL = s.is(slotElicitation, '{') && s.is(slotElicitationURL, '{')
	}
}

func (s *scan) token(f *Frame) {
	raw := s.raw(slotMetaToken)
	if raw == nil {
		return
	}
	if !isID(raw) {
		s.failMeta(slotMetaToken, "progressToken must be a string of up to 256 bytes or an integer")
		return
	}
	f.Meta.ProgressToken, f.tokenAt = raw, s.found[slotMetaToken].at
}

// trace takes the W3C trace context. One that is not well-formed is left
// alone; one that could break a header line is refused, since some upstream
// may copy it into one.
func (s *scan) trace(f *Frame) {
	var text [3]string
	for i, at := range []slot{slotTraceParent, slotTraceState, slotBaggage} {
		if !s.found[at].present() {
			continue
		}
		var ok bool
		if text[i], ok = s.str(at); !ok || hasControl(text[i]) {
			s.failMeta(at, "traceparent, tracestate and baggage must be strings without control characters")
			return
		}
	}
	if !isTraceParent(text[0]) {
		return
	}
	f.Meta.TraceParent = text[0]
	if len(text[1]) <= 512 && isToken(strings.ReplaceAll(text[1], " ", "")) {
		f.Meta.TraceState = text[1]
	}
}

// isTraceParent checks for version 00 of the traceparent format.
func isTraceParent(s string) bool {
	const form = "00-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh"
	if len(s) != len(form) {
		return false
	}
	for i, c := range []byte(form) {
		if hex := '0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'f'; c == 'h' && !hex || c != 'h' && c != s[i] {
			return false
		}
	}
	return strings.Trim(s[3:35], "0") != "" && strings.Trim(s[36:52], "0") != ""
}
