package mcp

import (
	"bytes"
	"unicode/utf8"
)

// Explanation says how the reader judges some bytes, for people who ask why.
type Explanation struct {
	Frame *Frame // what was read; nil when the bytes were refused
	Fault *Fault // why they were refused; nil when they were not
	// Line and Column are the fault's place, counted from 1, a column in
	// characters; 0 when it has no place.
	Line, Column int
}

// Explain reads a frame as Read does, and finds the place of the fault.
func Explain(b []byte, dir Direction, lim Limits) Explanation {
	f, fault := read(b, dir, lim)
	e := Explanation{Frame: f, Fault: fault}
	if fault != nil && fault.Offset >= 0 {
		e.Line, e.Column = position(b, fault.Offset)
	}
	return e
}

// position turns an offset into a line and a column.
func position(b []byte, offset int) (line, column int) {
	before := b[:min(offset, len(b))]
	line = bytes.Count(before, []byte("\n")) + 1
	column = utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return line, column
}
