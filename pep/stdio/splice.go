package stdio

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// member finds the value at path in the JSON object b, which has been read
// strictly before. The value is b[lo:hi].
func member(b []byte, path ...string) (lo, hi int, ok bool) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(b), jsontext.AllowDuplicateNames(true))
	for depth := 0; ; depth++ {
		if dec.PeekKind() != '{' {
			return 0, 0, false
		}
		if _, err := dec.ReadToken(); err != nil || !enter(dec, path[depth]) {
			return 0, 0, false
		}
		if depth+1 < len(path) {
			continue
		}
		v, err := dec.ReadValue()
		hi = int(dec.InputOffset())
		return hi - len(v), hi, err == nil
	}
}

// enter moves dec, which is inside an object, in front of the value of name.
func enter(dec *jsontext.Decoder, name string) bool {
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return false
		}
		if token.String() == name {
			return true
		}
		if dec.SkipValue() != nil {
			return false
		}
	}
	return false
}

// valueAt is the raw value at path in b, or nil.
func valueAt(b []byte, path ...string) []byte {
	if lo, hi, ok := member(b, path...); ok {
		return b[lo:hi]
	}
	return nil
}

// replaced is b with the value at path exchanged, every other byte unchanged;
// b itself when there is no such value.
func replaced(b, value []byte, path ...string) []byte {
	lo, hi, ok := member(b, path...)
	if !ok {
		return b
	}
	return slices.Concat(b[:lo], value, b[hi:])
}

// token identifies a JSON-RPC id or a progress token whatever way it is
// written: "a" and "\u0061" are the same one.
type token string

func tokenOf(raw []byte) token {
	if len(raw) == 0 || raw[0] != '"' {
		return token(raw)
	}
	plain, err := jsontext.AppendUnquote([]byte{'"'}, raw)
	if err != nil {
		return ""
	}
	return token(plain)
}

// wireID reads back an id that a link gave out; 0 when it is none.
func wireID(raw []byte) uint64 {
	id, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return 0
	}
	return id
}

func appendID(id uint64) []byte { return strconv.AppendUint(nil, id, 10) }
