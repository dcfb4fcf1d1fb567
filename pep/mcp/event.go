package mcp

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// Event is one block of an event stream (WHATWG HTML, server-sent events).
type Event struct {
	Raw   []byte // the whole block as it arrived, its blank line included
	Data  []byte // the data lines joined by LF; nil when there is none
	ID    string // of this block; empty when it has none
	Type  string // "message" when the block names none
	Retry int    // milliseconds, -1 when the block has none
}

const (
	defaultEvent  = 16 << 20 // bytes of an event, when the caller does not say
	maxEmptyReads = 100
)

// EventReader reads the blocks of an event stream. A block ends with a blank
// line, a line with CR, LF or CRLF. However the stream is cut into chunks, the
// blocks are the same, and their Raw parts and Rest joined are the stream.
//
// An EventReader is not safe for concurrent use; the events that it returned
// stay valid.
type EventReader struct {
	r     io.Reader
	limit int
	buf   []byte // what was read, from the start of the current block on; never written again
	n     int    // of buf: bytes that were looked at
	line  int    // of buf: start of the current line
	bare  bool   // the line before ended with a CR alone
	err   error  // of r
	start bool   // nothing was returned yet
}

// NewEventReader returns a reader for the stream r, which is already freed of
// any content coding. limit bounds one block in bytes; 0 means 16 MiB.
func NewEventReader(r io.Reader, limit int) *EventReader {
	if limit <= 0 {
		limit = defaultEvent
	}
	return &EventReader{r: r, limit: limit, start: true}
}

// Next returns the next block. At the end it returns io.EOF, and
// io.ErrUnexpectedEOF when the stream ends within a block, which clients
// discard. A block over the limit is a *Fault. Errors of the underlying reader
// are passed on, and stay.
func (r *EventReader) Next() (Event, error) {
	for {
		end := r.scan()
		switch {
		case end > r.limit || end == 0 && len(r.buf) > r.limit:
			return Event{}, &Fault{Code: CodeInvalidRequest, Status: 502, Rule: RuleTooLarge, Reason: "an event is longer than the limit", Offset: r.limit}
		case end > 0:
			return r.take(end), nil
		case errors.Is(r.err, io.EOF) && len(r.buf) > 0:
			return Event{}, io.ErrUnexpectedEOF
		case r.err != nil:
			return Event{}, r.err
		}
		r.fill()
	}
}

// Rest returns what was read after the last block. It must not be passed on
// as it is: a client that does not discard it would see an unread message.
func (r *EventReader) Rest() []byte { return r.buf }

// fill reads once. Small reads go into free space, which grows by doubling.
func (r *EventReader) fill() {
	if cap(r.buf)-len(r.buf) < 512 {
		r.buf = append(make([]byte, 0, max(4096, 2*len(r.buf))), r.buf...)
	}
	for range maxEmptyReads {
		n, err := r.r.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf, r.err = r.buf[:len(r.buf)+n], err
		if n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}

// scan looks for the end of the block and returns its length, 0 when more must
// be read. Where a CR ends a blank line, the byte after it is waited for: a LF
// belongs to it. Not so when the line before ended with a CR alone: such a
// stream uses no LF, and its events must not wait for each other.
func (r *EventReader) scan() int {
	for r.n < len(r.buf) {
		i := bytes.IndexAny(r.buf[r.n:], "\r\n")
		if i < 0 {
			r.n = len(r.buf)
			return 0
		}
		at := r.n + i
		blank := at == r.line || r.start && string(r.buf[:at]) == bom
		end := at + 1
		if r.buf[at] == '\r' {
			switch {
			case blank && r.bare:
				return end
			case end < len(r.buf):
				if r.bare = r.buf[end] != '\n'; !r.bare {
					end++
				}
			case r.err == nil:
				r.n = at
				return 0
			}
		} else {
			r.bare = false
		}
		if blank {
			return end
		}
		r.n, r.line = end, end
	}
	return 0
}

const bom = "\xef\xbb\xbf"

// take cuts off a block.
func (r *EventReader) take(end int) Event {
	raw := r.buf[:end:end]
	r.buf = r.buf[end:]
	e := parseEvent(raw, r.start)
	r.n, r.line, r.bare, r.start = 0, 0, false, false
	return e
}

// parseEvent reads the fields of a block.
func parseEvent(raw []byte, first bool) Event {
	e := Event{Raw: raw, Type: "message", Retry: -1}
	rest := raw
	if first {
		rest = bytes.TrimPrefix(rest, []byte(bom))
	}
	for len(rest) > 0 {
		line := rest
		if i := bytes.IndexAny(rest, "\r\n"); i >= 0 {
			line, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		e.field(string(name), value)
	}
	return e
}

// field takes one field; comments and unknown ones are ignored.
func (e *Event) field(name string, value []byte) {
	switch name {
	case "data":
		if e.Data == nil {
			e.Data = append(make([]byte, 0, len(value)), value...)
			return
		}
		e.Data = append(append(e.Data, '\n'), value...)
	case "event":
		if e.Type = string(value); e.Type == "" {
			e.Type = "message"
		}
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			e.ID = string(value)
		}
	case "retry":
		if n, err := strconv.ParseUint(string(value), 10, 31); err == nil {
			e.Retry = int(n)
		}
	}
}

// AppendEvent appends one JSON message as an event with a single data line.
// id and kind may be empty; a kind of "message" is left out, and a line break
// or NUL in either cuts it short. retry is left out when it is negative. Line
// ends inside the message, which in JSON can only be white space or escaped
// differently, are replaced as Line does.
func AppendEvent(dst []byte, id, kind string, retry int, message []byte) []byte {
	if kind = firstLine(kind); kind != "" && kind != "message" {
		dst = append(append(append(dst, "event: "...), kind...), '\n')
	}
	if id = firstLine(id); id != "" {
		dst = append(append(append(dst, "id: "...), id...), '\n')
	}
	if retry >= 0 {
		dst = append(strconv.AppendInt(append(dst, "retry: "...), int64(retry), 10), '\n')
	}
	return append(append(append(dst, "data: "...), Line(message)...), "\n\n"...)
}

// With returns the event's block with another message in place of its data.
func (e *Event) With(message []byte) []byte {
	return AppendEvent(nil, e.ID, e.Type, e.Retry, message)
}

func firstLine(s string) string {
	if i := strings.IndexAny(s, "\r\n\x00"); i >= 0 {
		return s[:i]
	}
	return s
}
