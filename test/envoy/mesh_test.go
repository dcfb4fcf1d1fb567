package envoy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/mcpermit/mcpermit/test/gateway"
	"github.com/mcpermit/mcpermit/test/parts"
)

// mesh is a whole installation: a client's token, Envoy, its enforcement point,
// the decision point, and the server "up", which has the tools echo, which is
// allowed, never, which is denied, and secret, which is hidden.
type mesh struct {
	*gateway.Gateway
	envoy *gateway.Envoy
	token string
	up    *server
}

func newMesh(t *testing.T, extra map[string]any) *mesh {
	t.Helper()
	m := &mesh{up: newServer(t)}
	m.Gateway = gateway.Prepare(t, gateway.Config{
		Policy: "policy", Extra: extra,
		Servers: map[string]any{"up": map[string]any{"url": m.up.URL + "/mcp", "headers": map[string]string{"X-Key": "upstream-secret-7719"}}},
	})
	m.envoy = m.Envoy(t, parts.Of(t).Envoy)
	_, m.token = m.Grant(t, "ada", "up")
	return m
}

const (
	listFrame  = `{"jsonrpc":"2.0","id":"list","method":"tools/list"}`
	echoFrame  = `{"jsonrpc":"2.0","id":"echo","method":"tools/call","params":{"name":"echo","arguments":{}}}`
	neverFrame = `{"jsonrpc":"2.0","id":"never","method":"tools/call","params":{"name":"never","arguments":{}}}`
	// As a client of 2026-07-28 that takes no questions of the server makes it.
	modernFrame = `{"jsonrpc":"2.0","id":"echo","method":"tools/call","params":{"name":"echo","arguments":{},"_meta":{` +
		`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"},` +
		`"io.modelcontextprotocol/clientCapabilities":{}}}}`
	echoed = `{"jsonrpc":"2.0","id":"echo","result":{"content":[{"type":"text","text":"done"}]}}`
)

// request is one that the client would make.
func (m *mesh) request(t *testing.T, frame string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, m.Endpoint("up"), strings.NewReader(frame))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{
		"Authorization": {"Bearer " + m.token}, "Content-Type": {"application/json"},
		"Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-11-25"},
	}
	return r
}

func (m *mesh) post(t *testing.T, frame string) reply {
	t.Helper()
	return do(t, m.request(t, frame))
}

// server is the MCP server behind Envoy. It executes what it gets.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	calls   map[string]int // by tool
	last    *http.Request  // the last call's, without its body
	listing http.HandlerFunc
}

const toolsResult = `{"tools":[{"name":"echo","inputSchema":{"type":"object"}},{"name":"never","inputSchema":{"type":"object"}},{"name":"secret","inputSchema":{"type":"object"}}]}`

func newServer(t *testing.T) *server {
	s := &server{calls: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct{ Name string }
	}
	if err != nil || json.Unmarshal(body, &m) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	result := `{}`
	switch m.Method {
	case "tools/list":
		s.mu.Lock()
		own := s.listing
		s.mu.Unlock()
		if own != nil {
			own(w, r)
			return
		}
		result = toolsResult
	case "tools/call":
		s.mu.Lock()
		s.calls[m.Params.Name]++
		s.last = r
		s.mu.Unlock()
		result = `{"content":[{"type":"text","text":"done"}]}`
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

// list has it answer tools/list in another way; nil is the usual one.
func (s *server) list(how http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listing = how
}

// called is how often each tool was executed.
func (s *server) called(tool string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[tool]
}

// request is the last call, nil without any, and forgets it.
func (s *server) request() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.last
	s.last = nil
	return r
}
