package mcp

import "bytes"

// CheckLine refuses a stdio line that has a carriage return or a line feed
// inside: some servers end a line at either (universal newlines), and would
// find a second message in it. The line comes without its own line feed.
func CheckLine(b []byte) *Fault {
	if at := bytes.IndexAny(b, "\r\n"); at >= 0 {
		f := refuse(CodeParseError, RuleLineBreak, "a line has a line break inside; send one message on one line", at)
		f.ID = rawID(b, len(b))
		return f
	}
	return nil
}

// Line returns a frame that Read accepted as one stdio line, without the line
// feed. It is the frame itself, unless the frame has characters at which some
// reader ends a line. In accepted JSON a CR or LF is white space between
// tokens, and becomes a space; U+0085, U+2028 and U+2029 are inside a string,
// and become its escape. The message stays the same one to every reader.
// White space around the message is left out.
func Line(b []byte) []byte {
	b = bytes.Trim(b, " \t\r\n")
	if !hasLineEnd(b) {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for i := 0; i < len(b); i++ {
		switch n := lineEnd(b[i:]); n {
		case 0:
			out = append(out, b[i])
		case 1:
			out = append(out, ' ')
		case 2:
			out = append(out, `\u0085`...)
			i++
		default:
			out = append(out, '\\', 'u', '2', '0', '2', '8'+b[i+2]&1)
			i += 2
		}
	}
	return out
}

// lineEnd returns the length of the line end that b begins with, 0 for none.
func lineEnd(b []byte) int {
	switch {
	case b[0] == '\n' || b[0] == '\r':
		return 1
	case b[0] == 0xc2 && len(b) > 1 && b[1] == 0x85:
		return 2
	case b[0] == 0xe2 && len(b) > 2 && b[1] == 0x80 && b[2]|1 == 0xa9:
		return 3
	}
	return 0
}

func hasLineEnd(b []byte) bool {
	return bytes.IndexByte(b, '\n') >= 0 || bytes.IndexByte(b, '\r') >= 0 ||
		bytes.Contains(b, []byte("\u0085")) || bytes.Contains(b, []byte("\u2028")) || bytes.Contains(b, []byte("\u2029"))
}
