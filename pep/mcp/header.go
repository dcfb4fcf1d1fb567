package mcp

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// Header is what the header rules look at; net/http.Header is one. Names may
// be in any case.
type Header = map[string][]string

// The headers that mirror the body (MCP 2026-07-28, transports).
const (
	headerVersion = "mcp-protocol-version"
	headerMethod  = "mcp-method"
	headerName    = "mcp-name"
	paramPrefix   = "mcp-param-"
)

// CheckTransport applies the rules on a POST's headers that do not depend on
// the body (DESIGN 6): those of CheckSingle, exactly one Content-Type
// application/json (charset utf-8 or none), no Content-Encoding, and no
// Transfer-Encoding beside a Content-Length.
func CheckTransport(h Header) *Fault {
	if fault := CheckSingle(h); fault != nil {
		return fault
	}
	if _, n := lookUp(h, "Content-Encoding"); n > 0 {
		return headerFault(CodeInvalidRequest, 415, RuleEncoding, "send the body without a Content-Encoding")
	}
	_, codings := lookUp(h, "Transfer-Encoding")
	if _, lengths := lookUp(h, "Content-Length"); codings > 0 && lengths > 0 {
		return headerFault(CodeInvalidRequest, 400, RuleFraming, "Transfer-Encoding and Content-Length exclude each other")
	}
	if kind, n := lookUp(h, "Content-Type"); n != 1 || !isJSON(kind) {
		return headerFault(CodeInvalidRequest, 415, RuleContentType, "Content-Type must be application/json in utf-8")
	}
	return nil
}

// CheckSingle applies the rules on headers that hold for every request, with a
// body or without: Mcp-*, Content-*, Authorization, Origin and the others that
// somebody decides on occur once at most, and no name turns into one of them
// in a server that takes '_' for '-'.
func CheckSingle(h Header) *Fault {
	for name, values := range h {
		if !mayBeSingle(name) {
			continue
		}
		if !isCanonical(name) {
			return checkSpellings(h)
		}
		if len(values) > 1 && isSingle(strings.ToLower(name)) {
			return repeated()
		}
	}
	return nil
}

// checkSpellings is CheckSingle for headers whose names are not all canonical,
// so that two of them may be one.
func checkSpellings(h Header) *Fault {
	seen := make(map[string]int)
	for name, values := range h {
		if !mayBeSingle(name) {
			continue
		}
		plain := strings.ToLower(name)
		dashed := strings.ReplaceAll(plain, "_", "-")
		if !isSingle(dashed) {
			continue
		}
		if dashed != plain {
			return headerFault(CodeInvalidRequest, 400, RuleLookalike, "a header name with '_' looks like a protocol header")
		}
		if seen[plain] += len(values); seen[plain] > 1 {
			return repeated()
		}
	}
	return nil
}

func repeated() *Fault {
	return headerFault(CodeInvalidRequest, 400, RuleRepeated, "a header that may be sent once is repeated")
}

func headerFault(code, status int, rule, reason string) *Fault {
	return &Fault{Code: code, Status: status, Rule: rule, Reason: reason, Offset: -1}
}

// mayBeSingle is a quick look at the first letter.
func mayBeSingle(name string) bool {
	return name != "" && strings.IndexByte("achlomt", name[0]|0x20) >= 0
}

// isCanonical reports whether a name is made of ASCII letters, digits and '-'
// with capitals where net/http puts them, and nowhere else. Two such names are
// equal in any case only if they are the same.
func isCanonical(name string) bool {
	first := true // of a word
	for i := range len(name) {
		switch c := name[i]; {
		case '0' <= c && c <= '9':
		case c == '-':
			first = true
			continue
		case first && 'A' <= c && c <= 'Z', !first && 'a' <= c && c <= 'z':
		default:
			return false
		}
		first = false
	}
	return true
}

// isSingle reports whether a lower-case header name may occur once at most.
func isSingle(name string) bool {
	switch name {
	case "content-type", "content-encoding", "content-length", "transfer-encoding",
		"authorization", "host", "last-event-id", "origin":
		return true
	}
	return strings.HasPrefix(name, "mcp-")
}

// isJSON reports whether a Content-Type is application/json, with charset
// utf-8 or without parameters.
func isJSON(value string) bool {
	kind, param, has := strings.Cut(value, ";")
	if !strings.EqualFold(strings.Trim(kind, " \t"), "application/json") {
		return false
	}
	if !has {
		return true
	}
	name, charset, _ := strings.Cut(strings.Trim(param, " \t"), "=")
	if len(charset) > 1 && charset[0] == '"' && charset[len(charset)-1] == '"' {
		charset = charset[1 : len(charset)-1]
	}
	return strings.EqualFold(name, "charset") && strings.EqualFold(charset, "utf-8")
}

// lookUp returns the first value of a header, given by its canonical name, and
// how many there are, under whatever spelling.
func lookUp(h Header, name string) (value string, n int) {
	for key, values := range h {
		if len(key) != len(name) || len(values) == 0 || key != name && !strings.EqualFold(key, name) {
			continue
		}
		if n == 0 {
			value = values[0]
		}
		n += len(values)
	}
	return value, n
}

// mirrored are the protocol headers of one request.
type mirrored struct {
	version, method, name *string
	params                map[string]string // Mcp-Param-* by lower-case name after the prefix
}

// CheckHeaders compares the headers that a 2026-07-28 client must send with
// the frame (MCP 2026-07-28, transports, header validation; fault -32020), and
// refuses era confusion for the others: a modern version header with a legacy
// body, and any mirrored header that differs from the body although no legacy
// server would look at it. definition is the listed tool that the frame calls,
// or nil: with it, the Mcp-Param-* headers that its schema declares are
// compared with the arguments; others are none of ours.
func CheckHeaders(h Header, f *Frame, definition []byte) *Fault {
	m, fault := mirror(h)
	if fault == nil {
		fault = m.era(f)
	}
	if fault == nil {
		fault = m.equal(f)
	}
	if fault == nil && f.Method == methodToolsCall && definition != nil {
		fault = m.declared(f, definition)
	}
	if fault != nil {
		fault.ID = f.ID
	}
	return fault
}

// mirror collects the protocol headers, each of which may be there once.
func mirror(h Header) (m mirrored, fault *Fault) {
	for key, values := range h {
		if len(key) < len("mcp-") || !strings.EqualFold(key[:3], "mcp") || len(values) == 0 {
			continue
		}
		name := lower(key)
		if strings.HasPrefix(strings.ReplaceAll(name, "_", "-"), "mcp-") && strings.Contains(name, "_") {
			return m, headerFault(CodeHeaderMismatch, 400, RuleLookalike, "a header name with '_' looks like a protocol header")
		}
		if len(values) > 1 || !m.put(name, &values[0]) {
			return m, headerFault(CodeHeaderMismatch, 400, RuleRepeated, "a header that may be sent once is repeated")
		}
	}
	return m, nil
}

// lower is strings.ToLower, without a new string for what every request has.
func lower(key string) string {
	switch key {
	case "Mcp-Protocol-Version":
		return headerVersion
	case "Mcp-Method":
		return headerMethod
	case "Mcp-Name":
		return headerName
	}
	return strings.ToLower(key)
}

// put keeps a header's value. It fails if there is one already.
func (m *mirrored) put(name string, value *string) bool {
	switch name {
	case headerVersion:
		return put(&m.version, value)
	case headerMethod:
		return put(&m.method, value)
	case headerName:
		return put(&m.name, value)
	}
	param, ok := strings.CutPrefix(name, paramPrefix)
	if !ok {
		return true // Mcp-Session-Id and what is none of ours
	}
	if m.params == nil {
		m.params = make(map[string]string)
	}
	_, twice := m.params[param]
	m.params[param] = *value
	return !twice
}

func put(slot **string, value *string) bool {
	free := *slot == nil
	*slot = value
	return free
}

// era holds the version header against the body.
func (m *mirrored) era(f *Frame) *Fault {
	switch {
	case f.Meta.Modern && m.version == nil:
		return headerFault(CodeHeaderMismatch, 400, RuleEra, "MCP-Protocol-Version is missing")
	case f.Meta.Modern && *m.version != f.Meta.ProtocolVersion:
		return headerFault(CodeHeaderMismatch, 400, RuleEra, "MCP-Protocol-Version differs from the version in _meta")
	case f.Meta.Modern || m.version == nil:
		return nil
	case f.Kind == KindNotification:
		return nil // 2026-07-28 leaves the headers of notifications open
	case f.Kind == KindResponse && isModern(*m.version):
		return headerFault(CodeInvalidRequest, 400, RuleEra, "clients send no responses in this protocol version")
	case isModern(*m.version):
		// The spec asks for the code of missing parameters: _meta is one.
		return headerFault(CodeInvalidParams, 400, RuleEra, "_meta lacks the protocol version that MCP-Protocol-Version names")
	case !isDate(*m.version):
		return headerFault(CodeHeaderMismatch, 400, RuleEra, "MCP-Protocol-Version names a version that this body does not have in _meta")
	}
	return nil
}

// equal holds Mcp-Method and Mcp-Name against the body.
func (m *mirrored) equal(f *Frame) *Fault {
	required := f.Meta.Modern && f.Kind == KindRequest
	switch {
	case m.method == nil && required:
		return headerFault(CodeHeaderMismatch, 400, RuleHeader, "Mcp-Method is missing")
	case m.method != nil && *m.method != f.Method:
		return headerFault(CodeHeaderMismatch, 400, RuleHeader, "Mcp-Method differs from the method in the body")
	case m.name == nil && required && namedInHeader(f.Method):
		return headerFault(CodeHeaderMismatch, 400, RuleHeader, "Mcp-Name is missing")
	case m.name == nil:
		return nil
	}
	if name, ok := decodeHeader(*m.name); !ok || !f.HasName || name != f.Name {
		return headerFault(CodeHeaderMismatch, 400, RuleHeader, "Mcp-Name differs from the name or uri in the body, or is malformed")
	}
	return nil
}

func namedInHeader(method string) bool {
	return method == methodToolsCall || method == methodPromptsGet || method == methodResourcesRead
}

const (
	sentinelStart = "=?base64?"
	sentinelEnd   = "?="
)

// decodeHeader reads the value of Mcp-Name or Mcp-Param-*: visible ASCII with
// spaces and tabs inside, or the base64 of UTF-8 between the sentinels.
func decodeHeader(value string) (string, bool) {
	coded, wrapped := strings.CutPrefix(value, sentinelStart)
	if wrapped {
		coded, wrapped = strings.CutSuffix(coded, sentinelEnd)
	}
	if !wrapped {
		return value, isPlainValue(value)
	}
	if !isToken(coded) { // the decoder skips line breaks
		return "", false
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(coded)
	return string(plain), err == nil && utf8.Valid(plain)
}

// HeaderValue encodes a name, uri or argument as the value of Mcp-Name or
// Mcp-Param-* (MCP 2026-07-28, transports, value encoding).
func HeaderValue(plain string) string {
	if isPlainValue(plain) && !(strings.HasPrefix(plain, sentinelStart) && strings.HasSuffix(plain, sentinelEnd)) {
		return plain
	}
	return sentinelStart + base64.StdEncoding.EncodeToString([]byte(plain)) + sentinelEnd
}

// isPlainValue reports whether s can stand in a header line as it is.
func isPlainValue(s string) bool {
	for i := range len(s) {
		if (s[i] < ' ' || 0x7f <= s[i]) && s[i] != '\t' {
			return false
		}
	}
	return strings.Trim(s, " \t") == s
}
