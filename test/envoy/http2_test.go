package envoy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// message is a request as HTTP/2 has it, with nothing put right.
type message struct {
	fields [][2]string // pseudo-headers first
	body   []byte
}

// readMessage reads an HTTP/1.1 request as it stands. ok is false for what
// HTTP/2 has no words for: a framing of its own, or a head that is none.
func readMessage(raw []byte) (m message, ok bool) {
	head, body, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
	lines := strings.Split(string(head), "\r\n")
	line := strings.Split(lines[0], " ")
	if !ok || len(line) != 3 || line[2] != "HTTP/1.1" || bytes.Contains(body, []byte(" HTTP/1.1\r\n")) {
		return message{}, false
	}
	m.fields = [][2]string{{":method", line[0]}, {":scheme", "http"}, {":authority", "localhost"}, {":path", line[1]}}
	hosts := 0
	for _, l := range lines[1:] {
		name, value, ok := strings.Cut(l, ":")
		switch name = strings.ToLower(name); {
		case !ok || name != strings.TrimSpace(name) || name == "transfer-encoding":
			return message{}, false
		case name == "host":
			hosts++
			m.fields[2][1] = strings.TrimSpace(value)
		case name != "connection":
			m.fields = append(m.fields, [2]string{name, strings.TrimSpace(value)})
		}
	}
	m.body = body
	return m, hosts <= 1
}

// exchange2 sends a request over a connection of its own, with prior knowledge,
// and returns the answer, or nothing where the stream or the connection was
// ended without one.
func exchange2(t *testing.T, address string, m message) []byte {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(40 * time.Second))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	s := &stream2{Framer: http2.NewFramer(c, c), unsent: m.body}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, field := range m.fields {
		_ = enc.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // to memory
	}
	if err := s.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	err = s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: len(m.body) == 0})
	if err != nil {
		t.Fatal(err)
	}
	status, body, err := s.converse()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("no answer, and no end")
	}
	if status == "" {
		return nil
	}
	return fmt.Appendf(nil, "HTTP/1.1 %s \r\n\r\n%s", status, body)
}

// stream2 is stream 1 of a connection, of which it is the only one.
type stream2 struct {
	*http2.Framer
	unsent []byte
	// room that the other side has given, beyond HTTP/2's own 65,535 bytes; first
	// is what a stream begins with.
	first, stream, connection int
	sent                      int
}

// send writes as much of the body as there is room for.
func (s *stream2) send() error {
	for len(s.unsent) > 0 {
		n := min(len(s.unsent), 16<<10, s.first+s.stream-s.sent, 65_535+s.connection-s.sent)
		if n <= 0 {
			return nil
		}
		if err := s.WriteData(1, n == len(s.unsent), s.unsent[:n]); err != nil {
			return err
		}
		s.unsent, s.sent = s.unsent[n:], s.sent+n
	}
	return nil
}

// converse sends the body and reads until the stream has ended. A stream that
// was reset has no status; an error is one of the connection.
func (s *stream2) converse() (status, body string, err error) {
	dec := hpack.NewDecoder(4096, func(h hpack.HeaderField) {
		if h.Name == ":status" {
			status = h.Value
		}
	})
	for {
		frame, err := s.ReadFrame()
		if err != nil {
			return status, body, err
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if frame.IsAck() {
				break
			}
			s.first = 65_535
			if v, ok := frame.Value(http2.SettingInitialWindowSize); ok {
				s.first = int(v)
			}
			err = s.WriteSettingsAck()
		case *http2.WindowUpdateFrame:
			if frame.StreamID == 0 {
				s.connection += int(frame.Increment)
			} else {
				s.stream += int(frame.Increment)
			}
		case *http2.HeadersFrame:
			_, err = dec.Write(frame.HeaderBlockFragment())
		case *http2.DataFrame:
			body += string(frame.Data())
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return status, body, nil
		}
		h := frame.Header()
		if h.StreamID == 1 && h.Flags.Has(http2.FlagDataEndStream) && (h.Type == http2.FrameData || h.Type == http2.FrameHeaders) {
			return status, body, nil
		}
		if err == nil && s.first > 0 && status == "" {
			err = s.send() // its failure shows when reading
		}
		if err != nil && status != "" {
			return status, body, nil
		}
	}
}
