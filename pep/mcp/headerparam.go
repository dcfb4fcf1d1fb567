package mcp

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// mark is an x-mcp-header annotation: the header's name in lower case, without
// prefix, and the path of properties that leads to the argument.
type mark struct {
	header string
	path   []string
}

// declared holds the Mcp-Param-* headers that the tool's schema declares
// against the arguments (MCP 2026-07-28, transports, server behavior for
// custom headers). A modern call must carry a declared header exactly when the
// argument is there and not null; a legacy one may carry it, but not another
// value.
func (m *mirrored) declared(f *Frame, definition []byte) *Fault {
	if !bytes.Contains(definition, []byte("x-mcp-header")) && !bytes.Contains(definition, []byte(`\u`)) {
		return nil
	}
	schema, ok := member(definition, "inputSchema")
	if !ok {
		return nil
	}
	for _, mark := range marks(schema, nil, nil) {
		value, sent := m.params[mark.header]
		argument := walk(f.Arguments, mark.path)
		present := argument != nil && argument.Kind() != 'n'
		switch {
		case sent && !present:
			return headerFault(CodeHeaderMismatch, 400, RuleHeader, "an Mcp-Param header is sent for an argument that is not there")
		case sent && !sameArgument(value, argument):
			return headerFault(CodeHeaderMismatch, 400, RuleHeader, "an Mcp-Param header differs from its argument, or is malformed")
		case !sent && present && f.Meta.Modern:
			return headerFault(CodeHeaderMismatch, 400, RuleHeader, "an Mcp-Param header that the tool declares is missing")
		}
	}
	return nil
}

// ParamHeaders are the Mcp-Param-* headers that a modern call of the tool must
// carry, by full name. They are for a gateway whose client has no headers to
// send: one on stdio. definition is the listed tool, or nil.
func ParamHeaders(f *Frame, definition []byte) map[string]string {
	schema, ok := member(definition, "inputSchema")
	if !ok || !f.Meta.Modern || f.Method != methodToolsCall {
		return nil
	}
	headers := map[string]string{}
	for _, mark := range marks(schema, nil, nil) {
		argument := walk(f.Arguments, mark.path)
		switch argument.Kind() {
		case '"':
			if text, err := jsontext.AppendUnquote(nil, argument); err == nil {
				headers[paramPrefix+mark.header] = HeaderValue(string(text))
			}
		case 't', 'f', '0':
			headers[paramPrefix+mark.header] = string(argument)
		default: // absent, null, or of a type that is never mirrored
		}
	}
	return headers
}

// marks collects the annotations that can be reached from a schema through
// properties alone; one anywhere else is invalid, and not enforced.
func marks(schema jsontext.Value, path []string, found []mark) []mark {
	properties, ok := member(schema, "properties")
	if !ok || len(path) >= 32 {
		return found
	}
	eachMember(properties, func(name string, property jsontext.Value) {
		here := append(path[:len(path):len(path)], name)
		if raw, ok := member(property, "x-mcp-header"); ok && raw.Kind() == '"' {
			if header, err := jsontext.AppendUnquote(nil, raw); err == nil {
				found = append(found, mark{strings.ToLower(string(header)), here})
			}
		}
		found = marks(property, here, found)
	})
	return found
}

// walk returns the value at a path of members, nil when there is none.
func walk(v jsontext.Value, path []string) jsontext.Value {
	for _, name := range path {
		next, ok := member(v, name)
		if !ok {
			return nil
		}
		v = next
	}
	return v
}

// sameArgument compares a header with an argument that is not null.
func sameArgument(header string, argument jsontext.Value) bool {
	plain, ok := decodeHeader(header)
	if !ok {
		return false
	}
	switch argument.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, argument)
		return err == nil && plain == string(text)
	case 't', 'f':
		return plain == string(argument)
	case '0':
		return sameInteger([]byte(plain), argument)
	default:
		return false // null, an array or an object is never mirrored
	}
}

// sameInteger compares two numbers, the first of which may be no number.
func sameInteger(a, b []byte) bool {
	if len(a) == 0 || len(a) > maxNumber || len(b) > maxNumber || !isToken(string(a)) ||
		jsontext.Value(a).Kind() != '0' || !jsontext.Value(a).IsValid() {
		return false
	}
	var x, y decimal
	if !x.parse(a) || !y.parse(b) || x.n > 0 && x.exp < x.n || y.n > 0 && y.exp < y.n {
		return false // out of range, or not an integer
	}
	if x.n == 0 || y.n == 0 {
		return x.n == y.n
	}
	return x.exp == y.exp && string(x.digits[:x.n]) == string(y.digits[:y.n]) && (a[0] == '-') == (b[0] == '-')
}

// member returns a member of an object, if v is one and has it.
func member(v jsontext.Value, name string) (found jsontext.Value, ok bool) {
	eachMember(v, func(have string, value jsontext.Value) {
		if have == name {
			found, ok = value, true
		}
	})
	return found, ok
}

// eachMember calls fn for the members of an object in their order. It does
// nothing for another value, and stops where v is not well-formed.
func eachMember(v jsontext.Value, fn func(name string, value jsontext.Value)) {
	if v.Kind() != '{' {
		return
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(v), looseText...)
	if _, err := dec.ReadToken(); err != nil {
		return
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return
		}
		fn(key, value)
	}
}
