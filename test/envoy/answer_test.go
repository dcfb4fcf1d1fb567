package envoy

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestI1_AnswersOfEveryShape has a listing come in all shapes that HTTP and
// event streams have for it.
func TestI1_AnswersOfEveryShape(t *testing.T) {
	const (
		document = `{"jsonrpc":"2.0","id":"list","result":` + toolsResult + `}`
		filtered = `{"jsonrpc":"2.0","id":"list","result":{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}}`
		jsonType = "application/json"
		events   = "text/event-stream"
	)
	write := func(kind string, parts ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			for _, part := range parts {
				_, _ = io.WriteString(w, part)
				_ = http.NewResponseController(w).Flush()
			}
		}
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, document) // to memory
	_ = z.Close()
	const event = "event: message\ndata: " + document + "\n\n"
	m := newMesh(t, nil)
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		body   string // contained in what the client gets; an error otherwise
		cut    bool   // the stream may end without its proper end
	}{
		{name: "document", answer: write(jsonType, document), body: filtered},
		{name: "byte by byte", answer: write(jsonType, strings.Split(document, "")...), body: filtered},
		{name: "late body", answer: write(jsonType, "", "", document), body: filtered},
		{name: "trailers", body: filtered, answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-End")
			write(jsonType, document)(w, nil)
			w.Header().Set("X-End", "secret")
		}},
		{name: "gzip", body: filtered, answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			write(jsonType, zipped.String())(w, nil)
		}},
		{name: "said to be gzip", body: `"error"`, answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			write(jsonType, document)(w, nil)
		}},
		{name: "unknown coding", body: `"error"`, answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			write(jsonType, document)(w, nil)
		}},
		{name: "empty", answer: write(jsonType), body: `"error"`},
		{name: "flushed and empty", answer: write(jsonType, ""), body: `"error"`},
		{name: "long", body: filtered, answer: write(jsonType, strings.Repeat(" ", 3<<20), document)},
		{name: "event", answer: write(events, event), body: "data: " + filtered},
		{name: "late event", answer: write(events, "", "", event), body: "data: " + filtered},
		{name: "event byte by byte", answer: write(events, strings.Split(event, "")...), body: "data: " + filtered},
		{name: "events", answer: write(events, ": hello\n\n", "id: 1\nretry: 5\n\n", event), body: "data: " + filtered},
		{name: "event and trailers", body: "data: " + filtered, answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-End")
			write(events, event)(w, nil)
			w.Header().Set("X-End", "secret")
		}},
		{name: "trailers alone", body: `"error"`, answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-End")
			write(events, "")(w, nil)
			w.Header().Set("X-End", "secret")
		}},
		{name: "no event", answer: write(events, ""), body: `"error"`},
		{name: "no stream", answer: write(events), body: `"error"`},
		{name: "event of something else", answer: write(events, "data: {\"tools\":\"secret\"}\n\n"), body: `"error"`, cut: true},
		{name: "error page", body: `"error"`, answer: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "secret", http.StatusInternalServerError)
		}},
		{name: "refusal", body: `"error"`, answer: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "secret")
		}},
		{name: "redirect", body: `"error"`, answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://secret.example/", http.StatusTemporaryRedirect)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.up.list(c.answer)
			r := m.post(t, listFrame)
			if !strings.Contains(r.body, c.body) || strings.Contains(r.String(), "secret") || r.err != nil && !c.cut {
				t.Errorf("got %v (%v), want %s in it", r, r.err, c.body)
			}
		})
	}
	m.up.list(nil)
	if !m.passes(t) {
		t.Error("a call afterwards does not pass")
	}
	if text := m.envoy.Process.Output(); strings.Contains(text, "Spurious") {
		t.Errorf("Envoy did not expect what it was sent:\n%s", text)
	}
}

// TestI2_BodyOverHTTP2 sends bodies that are too long by their last DATA frame,
// of which Envoy may show the enforcement point a part.
func TestI2_BodyOverHTTP2(t *testing.T) {
	m := newMesh(t, map[string]any{"limits": map[string]any{"frame_bytes": limit}})
	within(t, "calls pass", func() bool { return m.passes(t) })
	executed := m.up.called("echo")
	fields := [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":authority", "localhost"},
		{":path", "/mcp/up/"},
		{"authorization", "Bearer " + m.token},
		{"content-type", "application/json"},
	}
	for _, size := range []int{limit, limit + 1, limit + 2, limit + 1000, limit + 16<<10 - 1, limit + 16<<10, limit + 16<<10 + 1, 4 * limit} {
		body := []byte(echoFrame + strings.Repeat(" ", size-len(echoFrame)))
		if size > limit {
			copy(body[limit:], "{") // what is cut off would matter
		}
		answer := exchange2(t, strings.TrimPrefix(m.URL, "http://"), message{fields, body})
		if size <= limit {
			executed++
		}
		if passed := bytes.Contains(answer, []byte(echoed)); passed != (size <= limit) || !passed && statusOf(answer) != "413" {
			t.Errorf("%d bytes: %q", size, answer)
		}
	}
	if n := m.up.called("echo"); n != executed {
		t.Errorf("%d calls were executed, want %d", n, executed)
	}
}
