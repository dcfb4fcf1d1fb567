package cases

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// house is the MCP servers of all cases, at one address: the first part of the
// path is the server's name. It answers as a case scripts it, and otherwise as
// a plain server would.
type house struct {
	*httptest.Server

	mu       sync.Mutex
	listings map[string]map[string]string // by server and method
	script   map[string]*answer           // of the next request, by server
	cut      int                          // where the scripted body is cut in two
	got      map[string][]string          // by server
	seen     chan struct{}                // closed when the client has something of the answer
}

func newHouse(t *testing.T, cases []*testCase) *house {
	h := &house{listings: map[string]map[string]string{}, script: map[string]*answer{}, got: map[string][]string{}}
	for _, c := range cases {
		h.listings[c.server] = c.listings
	}
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(h.Close)
	return h
}

// expect scripts the answer to the next request to the server.
func (h *house) expect(server string, a *answer, cut int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script[server], h.cut, h.seen = a, cut, make(chan struct{})
}

// noticed is closed when the client has something of the answer to the last
// expected request; nil where nobody waits for that.
func (h *house) noticed(wanted bool) chan struct{} {
	if !wanted {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

// take returns what has reached the server since the last call.
func (h *house) take(server string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.got[server]
	delete(h.got, server)
	delete(h.script, server)
	return got
}

// message is what the house reads of a request.
type message struct {
	ID     json.RawMessage
	Method string
	Params struct{ Name, URI, Cursor string }
}

// isGateways says whether the gateway asks on its own account, for a listing.
// When it does so is not compared: it remembers what it was told.
func (m *message) isGateways() bool { return bytes.HasPrefix(m.ID, []byte(`"mcpermit-`)) }

func (h *house) serve(w http.ResponseWriter, r *http.Request) {
	server, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var m message
	_ = json.Unmarshal(body, &m) // what is no message gets the scripted answer
	own := m.isGateways()
	h.mu.Lock()
	listings, a, cut := h.listings[server], h.script[server], h.cut
	if !own {
		delete(h.script, server)
		h.got[server] = append(h.got[server], arrival(r, body))
	}
	h.mu.Unlock()
	if own || a == nil {
		ordinary(w, r, &m, listings)
		return
	}
	a.serve(w, cut, func(noticed bool) {
		select {
		case <-r.Context().Done():
		case <-h.noticed(noticed):
		}
	})
}

// arrival is a request as the server saw it.
func arrival(r *http.Request, body []byte) string {
	var b strings.Builder
	b.WriteString(r.Method)
	if r.URL.RawQuery != "" {
		b.WriteString(" ?" + r.URL.RawQuery)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if why := requestHeadersByNature[name]; why == "" {
			fmt.Fprintf(&b, " %s=%q", name, r.Header[name])
		}
	}
	return b.String() + "\n" + rendered(body)
}

// ordinary answers as a server does that nothing is said about.
func ordinary(w http.ResponseWriter, r *http.Request, m *message, listings map[string]string) {
	result, lists := listings[m.Method]
	switch {
	case r.Method == http.MethodGet:
		w.Header().Set("Allow", "POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
		return
	case m.ID == nil || m.Method == "":
		w.WriteHeader(http.StatusAccepted)
		return
	case lists && m.Params.Cursor != "" && m.isGateways():
		result = result[:strings.Index(result, "[")] + "[]}" // the last page
	case lists:
	case strings.HasSuffix(m.Method, "/list"):
		respond(w, m.ID, `"error":{"code":-32601,"message":"Method not found"}`)
		return
	case m.Method == "initialize":
		result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"house","version":"1"}}`
	case m.Method == "tools/call":
		result = `{"content":[{"type":"text","text":"done"}],"isError":false}`
	case m.Method == "prompts/get":
		result = `{"messages":[{"role":"user","content":{"type":"text","text":"said"}}]}`
	case m.Method == "resources/read" && strings.Contains(m.Params.URI, "absent"):
		respond(w, m.ID, `"error":{"code":-32002,"message":"No such thing here","data":{"uri":"`+m.Params.URI+`","path":"/srv/secret"}}`)
		return
	case m.Method == "resources/read":
		result = `{"contents":[{"uri":"` + m.Params.URI + `","text":"written"}]}`
	case m.Method == "completion/complete":
		result = `{"completion":{"values":["one","two"]}}`
	default:
		result = `{}`
	}
	respond(w, m.ID, `"result":`+result)
}

func respond(w http.ResponseWriter, id json.RawMessage, member string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,%s}`, id, member)
}

// content is the body as it goes over the wire.
func (a *answer) content() []byte {
	body := []byte(a.Body)
	for _, e := range a.Events {
		body = append(body, strings.TrimSuffix(e, "\n")+"\n\n"...)
	}
	if n := a.Pad - len(body); n > 0 {
		body = append(body, bytes.Repeat([]byte(" "), n)...)
	}
	if !a.Gzip {
		return body
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(body)
	_ = z.Close() // a buffer takes everything
	return b.Bytes()
}

// serve writes the answer. pause waits until the other side has gone, or, as
// said, until the client has noticed the answer.
func (a *answer) serve(w http.ResponseWriter, cut int, pause func(noticed bool)) {
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	if a.Events != nil {
		h["Content-Type"] = []string{"text/event-stream"}
	}
	for name, v := range a.Headers {
		h[name] = v
	}
	if a.Gzip {
		h["Content-Encoding"] = []string{"gzip"}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Trailers)) {
		h.Add("Trailer", name)
	}
	w.WriteHeader(max(a.Status, http.StatusOK))
	for _, piece := range pieces(a.content(), a.Pieces, cut) {
		_, _ = w.Write(piece)
		_ = http.NewResponseController(w).Flush()
	}
	if a.Stays || a.Break && a.Events != nil {
		pause(a.Break)
	}
	if a.Break {
		panic(http.ErrAbortHandler)
	}
	for name, v := range a.Trailers {
		h.Set(name, v)
	}
}

// pieces takes a body apart: into pieces of a size, or in two at the cut.
func pieces(body []byte, size, cut int) [][]byte {
	switch {
	case cut > 0:
		return [][]byte{body[:cut], body[cut:]}
	case size > 0:
		return slices.Collect(slices.Chunk(body, size))
	case len(body) > 0:
		return [][]byte{body}
	}
	return nil
}
