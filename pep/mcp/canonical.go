package mcp

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Canonical returns a JSON value in its canonical form (RFC 8785), for digests:
// two values that differ never have the same form, and two spellings of one
// value have one. raw must come out of a frame that Read accepted. A number
// that float64 would change (Limits.ExactNumbers, or content of a server) keeps
// its own spelling, since no float64 stands for it. The error is a *Fault: not
// one JSON value, a name twice in an object, a lone surrogate.
func Canonical(raw []byte) ([]byte, error) {
	v := jsontext.Value(bytes.Clone(raw))
	// The numbers are done apart: Canonicalize would round the exact ones.
	err := v.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false))
	if err != nil {
		return nil, refuse(CodeParseError, RuleSyntax, "the value has no canonical form", -1)
	}
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); {
		n := 1
		switch c := v[i]; {
		case c == '"':
			n = stringEnd(v[i:])
			out = append(out, v[i:i+n]...)
		case c == '-' || '0' <= c && c <= '9':
			n = numberEnd(v[i:])
			out = appendNumber(out, v[i:i+n])
		default:
			out = append(out, c)
		}
		i += n
	}
	return out, nil
}

// stringEnd returns the length of the JSON string that b begins with.
func stringEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// numberEnd returns the length of the JSON number that b begins with.
func numberEnd(b []byte) int {
	if i := bytes.IndexAny(b, ",]}"); i >= 0 {
		return i
	}
	return len(b)
}

func appendNumber(dst, raw []byte) []byte {
	if rule, _ := checkNumber(raw, false); rule != "" {
		return append(dst, raw...)
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return append(dst, raw...)
	}
	return jsontext.AppendFloat(dst, f+0, 64) // -0 is 0
}
