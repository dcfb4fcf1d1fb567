package mcp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func events(r *EventReader) ([]Event, error) {
	var all []Event
	for {
		e, err := r.Next()
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
}

func TestEventReader(t *testing.T) {
	data := func(s string) []byte { return []byte(s) }
	for _, c := range []struct {
		name, stream string
		want         []Event
		err          error
	}{
		{"nothing", "", nil, io.EOF},
		{"one", "data: {}\n\n", []Event{{Raw: data("data: {}\n\n"), Data: data("{}"), Type: "message", Retry: -1}}, io.EOF},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []Event{
			{Raw: data("data: a\r\n\r\n"), Data: data("a"), Type: "message", Retry: -1},
			{Raw: data("data: b\r\n\r\n"), Data: data("b"), Type: "message", Retry: -1},
		}, io.EOF},
		{"CR", "data: a\r\rdata: b\r\r", []Event{
			{Raw: data("data: a\r\r"), Data: data("a"), Type: "message", Retry: -1},
			{Raw: data("data: b\r\r"), Data: data("b"), Type: "message", Retry: -1},
		}, io.EOF},
		{"mixed ends", "data: a\r\ndata: b\n\r\ndata: c\r\n\n", []Event{
			{Raw: data("data: a\r\ndata: b\n\r\n"), Data: data("a\nb"), Type: "message", Retry: -1},
			{Raw: data("data: c\r\n\n"), Data: data("c"), Type: "message", Retry: -1},
		}, io.EOF},
		{"CR and then CRLF", "data: a\r\r\ndata: b\n\n", []Event{
			{Raw: data("data: a\r\r"), Data: data("a"), Type: "message", Retry: -1},
			{Raw: data("\n"), Type: "message", Retry: -1},
			{Raw: data("data: b\n\n"), Data: data("b"), Type: "message", Retry: -1},
		}, io.EOF},
		{"all fields", ": hi\nid: 7\nevent: odd\nretry: 1500\ndata:x\ndata:  y\n\n", []Event{
			{Raw: data(": hi\nid: 7\nevent: odd\nretry: 1500\ndata:x\ndata:  y\n\n"), Data: data("x\n y"), ID: "7", Type: "odd", Retry: 1500},
		}, io.EOF},
		{"a comment alone", ":\r\n\r\n", []Event{{Raw: data(":\r\n\r\n"), Type: "message", Retry: -1}}, io.EOF},
		{"priming event", "id: 1\ndata:\n\n", []Event{{Raw: data("id: 1\ndata:\n\n"), Data: data(""), ID: "1", Type: "message", Retry: -1}}, io.EOF},
		{"fields that are none", "Data: x\n data: y\ndatax: z\nid: a\x00b\nretry: 1s\nevent:\ndata\n\n", []Event{
			{Raw: data("Data: x\n data: y\ndatax: z\nid: a\x00b\nretry: 1s\nevent:\ndata\n\n"), Data: data(""), Type: "message", Retry: -1},
		}, io.EOF},
		{"byte order mark", "\ufeffdata: a\n\ndata: b\n\n", []Event{
			{Raw: data("\ufeffdata: a\n\n"), Data: data("a"), Type: "message", Retry: -1},
			{Raw: data("data: b\n\n"), Data: data("b"), Type: "message", Retry: -1},
		}, io.EOF},
		{"byte order mark and nothing", "\ufeff\ndata: b\n\n", []Event{
			{Raw: data("\ufeff\n"), Type: "message", Retry: -1},
			{Raw: data("data: b\n\n"), Data: data("b"), Type: "message", Retry: -1},
		}, io.EOF},
		{"byte order mark later is part of a name", "data: a\n\n\ufeffdata: b\n\n", []Event{
			{Raw: data("data: a\n\n"), Data: data("a"), Type: "message", Retry: -1},
			{Raw: data("\ufeffdata: b\n\n"), Type: "message", Retry: -1},
		}, io.EOF},
		{"other line ends are none", "data: a\u2028\v\f\u0085b\n\n", []Event{
			{Raw: data("data: a\u2028\v\f\u0085b\n\n"), Data: data("a\u2028\v\f\u0085b"), Type: "message", Retry: -1},
		}, io.EOF},
		{"blank lines", "\n\n", []Event{{Raw: data("\n"), Type: "message", Retry: -1}, {Raw: data("\n"), Type: "message", Retry: -1}}, io.EOF},
		{"cut off in a block", "data: a\n\ndata: b\n", []Event{{Raw: data("data: a\n\n"), Data: data("a"), Type: "message", Retry: -1}}, io.ErrUnexpectedEOF},
		{"cut off in a line", "data: a", nil, io.ErrUnexpectedEOF},
		{"ends with a lone CR", "data: a\n\r", []Event{{Raw: data("data: a\n\r"), Data: data("a"), Type: "message", Retry: -1}}, io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, r := range map[string]io.Reader{
				"at once": strings.NewReader(c.stream), "byte by byte": iotest.OneByteReader(strings.NewReader(c.stream)),
				"error with the data": iotest.DataErrReader(strings.NewReader(c.stream)),
			} {
				er := NewEventReader(r, 0)
				got, err := events(er)
				if diff := cmp.Diff(c.want, got); diff != "" || !errors.Is(err, c.err) {
					t.Errorf("%s: %v %s", name, err, diff)
				}
				var raw []byte
				for _, e := range got {
					raw = append(raw, e.Raw...)
				}
				if raw = append(raw, er.Rest()...); string(raw) != c.stream {
					t.Errorf("%s: %q became %q", name, c.stream, raw)
				}
			}
		})
	}
}

// A whole event is handed on before anything else arrives.
func TestEventReaderDoesNotWait(t *testing.T) {
	for _, stream := range []string{"data: a\n\n", "data: a\r\n\r\n", "data: a\r\r"} {
		pr, pw := io.Pipe()
		r := NewEventReader(pr, 0)
		go func() { _, _ = pw.Write([]byte(stream)) }()
		if e, err := r.Next(); err != nil || string(e.Data) != "a" {
			t.Errorf("%q: %v, %v", stream, e, err)
		}
		_ = pw.Close()
	}
}

func TestI1_EventLimit(t *testing.T) {
	const limit = 64
	fits := "data: " + strings.Repeat("a", limit-len("data: \n\n")) + "\n\n"
	for _, c := range []struct {
		stream string
		events int
		fault  bool
	}{
		{fits + fits, 2, false},
		{"data: a\n\n" + "data: " + strings.Repeat("a", limit) + "\n\n", 1, true},
		{"data: a\n\n" + strings.Repeat("data: a\n", limit), 1, true},
		{strings.Repeat(":", 10*limit), 0, true},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.stream), iotest.OneByteReader(strings.NewReader(c.stream))} {
			er := NewEventReader(r, limit)
			got, err := events(er)
			var fault *Fault
			if errors.As(err, &fault) != c.fault || len(got) != c.events {
				t.Errorf("%.20q…: %d events, %v", c.stream, len(got), err)
			}
			if _, again := er.Next(); c.fault && again == nil {
				t.Error("the fault did not stay")
			}
		}
	}
}

func TestEventReaderPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	r := NewEventReader(io.MultiReader(strings.NewReader("data: a\n\ndata: b"), iotest.ErrReader(broken)), 0)
	if got, err := events(r); len(got) != 1 || !errors.Is(err, broken) {
		t.Errorf("%d events, %v", len(got), err)
	}
	if _, err := NewEventReader(iotest.ErrReader(nil), 0).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that never reads: %v", err)
	}
}

// An event stays as it was while later ones are read.
func TestEventsStayValid(t *testing.T) {
	stream := strings.Repeat("data: abcdefgh\n\n", 2000)
	all, err := events(NewEventReader(iotest.HalfReader(strings.NewReader(stream)), 0))
	if !errors.Is(err, io.EOF) || len(all) != 2000 {
		t.Fatal(len(all), err)
	}
	for i, e := range all {
		if string(e.Raw) != "data: abcdefgh\n\n" || string(e.Data) != "abcdefgh" {
			t.Fatalf("event %d became %q", i, e.Raw)
		}
	}
}

func TestAppendEvent(t *testing.T) {
	for _, c := range []struct {
		id, kind string
		retry    int
		message  string
		want     string
	}{
		{"", "", -1, `{"a":1}`, "data: {\"a\":1}\n\n"},
		{"7", "message", 0, `{}`, "id: 7\nretry: 0\ndata: {}\n\n"},
		{"", "odd", 1500, `{}`, "event: odd\nretry: 1500\ndata: {}\n\n"},
		{"7\ndata: x", "odd\r\rdata: y", -1, `{}`, "event: odd\nid: 7\ndata: {}\n\n"},
		{"", "", -1, "{\r\n\"a\":\"\u2028\"}", "data: {  \"a\":\"\\u2028\"}\n\n"},
	} {
		if got := string(AppendEvent(nil, c.id, c.kind, c.retry, []byte(c.message))); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	e := Event{ID: "7", Type: "odd", Retry: 3}
	if got := string(e.With([]byte("{}"))); got != "event: odd\nid: 7\nretry: 3\ndata: {}\n\n" {
		t.Errorf("%q", got)
	}
}

// What is written is read back, whatever is in it, and is one event for a
// reader that splits at any line end.
func TestEventRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		f := &Frame{ID: []byte("1"), Method: "tools/call"}
		message := Denied(f, text, Decision{ID: text})
		b := AppendEvent(nil, rapid.String().Draw(t, "id"), rapid.String().Draw(t, "kind"), 5, message)
		all, err := events(NewEventReader(bytes.NewReader(b), 0))
		if !errors.Is(err, io.EOF) || len(all) != 1 || !bytes.Equal(all[0].Data, message) {
			t.Fatalf("%q: %v, %v", b, all, err)
		}
	})
}
