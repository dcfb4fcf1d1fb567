package mcp

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// entry is one member of an object, by its place in the frame.
type entry struct {
	name  string // decoded
	at    int    // of the name's token
	value span
}

// entriesAt returns the members of the object that begins at b[at], in order.
// b is part of a frame that Read accepted.
func entriesAt(b []byte, at int) (all []entry) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(b[at:]), looseText...)
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return nil
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadValue()
		if err != nil {
			return nil
		}
		end := at + int(dec.InputOffset())
		plain, _ := jsontext.AppendUnquote(nil, name)
		m := entry{name: string(plain), at: end - len(name)}
		value, err := dec.ReadValue()
		if err != nil {
			return nil
		}
		end = at + int(dec.InputOffset())
		m.value = span{end - len(value), end}
		all = append(all, m)
	}
	return all
}

// entriesOf returns the members of one of the message's own, params or result.
func (f *Frame) entriesOf(name string) []entry {
	message := entriesAt(f.Bytes, skipSpace(f.Bytes, 0))
	if i := indexOf(message, name); i >= 0 {
		return entriesAt(f.Bytes, message[i].value.at)
	}
	return nil
}

// indexOf returns -1 where there is no member of the name.
func indexOf(entries []entry, name string) int {
	for i, m := range entries {
		if m.name == name {
			return i
		}
	}
	return -1
}

// without takes members out of an object, each with the one comma and the white
// space that belong to it: those after it, or, for the last ones, before it.
func without(entries []entry, gone map[int]bool) (edits []edit) {
	for i := 0; i < len(entries); i++ {
		if !gone[i] {
			continue
		}
		first := i
		for i+1 < len(entries) && gone[i+1] {
			i++
		}
		cut := span{entries[first].at, entries[i].value.end}
		switch {
		case i+1 < len(entries):
			cut.end = entries[i+1].at
		case first > 0:
			cut.at = entries[first-1].value.end
		}
		edits = append(edits, edit{span: cut})
	}
	return edits
}
