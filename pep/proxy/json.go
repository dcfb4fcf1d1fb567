package proxy

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// The functions of this file look into values that the frame reader has
// already accepted.

// unquote decodes a JSON string; what is none comes back as it is.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 && len(raw) >= 2 {
		return string(raw[1 : len(raw)-1])
	}
	plain, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return string(raw)
	}
	return string(plain)
}

// members calls each member of an object with its decoded name and raw value
// until it returns false. It reports whether raw was an object to its end.
func members(raw []byte, each func(name string, value []byte) bool) bool {
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return false
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadValue()
		if err != nil {
			return false
		}
		plain := unquote(name)
		value, err := dec.ReadValue()
		if err != nil {
			return false
		}
		if !each(plain, value) {
			return true
		}
	}
	tok, err := dec.ReadToken()
	return err == nil && tok.Kind() == '}'
}

// member returns one member of an object, decoded if it is a string, "" when
// it is not there.
func member(raw []byte, name string) string {
	var found string
	members(raw, func(n string, value []byte) bool {
		if n == name && len(value) > 0 && value[0] == '"' {
			found = unquote(value)
		}
		return n != name
	})
	return found
}

// place returns where in raw the value stands that the names lead to, from
// object to object.
func place(raw []byte, path ...string) (at, end int, ok bool) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	for {
		if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
			return 0, 0, false
		}
		for found := false; !found; {
			if dec.PeekKind() != '"' {
				return 0, 0, false
			}
			name, err := dec.ReadValue()
			if err != nil {
				return 0, 0, false
			}
			if found = unquote(name) == path[0]; !found && dec.SkipValue() != nil {
				return 0, 0, false
			}
		}
		if path = path[1:]; len(path) == 0 {
			value, err := dec.ReadValue()
			end = int(dec.InputOffset())
			return end - len(value), end, err == nil
		}
	}
}
