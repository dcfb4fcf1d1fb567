package frames

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Recorder is an upstream MCP server that executes whatever it is sent, reads
// JSON as laxly as the standard library does, and remembers the bytes.
type Recorder struct {
	*httptest.Server
	mu    sync.Mutex
	calls [][]byte
	other []string // requests that are neither calls nor harmless
}

const tools = `[
{"name":"get_balance","inputSchema":{"type":"object","properties":{"account":{"type":"string"}}}},
{"name":"refund","inputSchema":{"type":"object","properties":{"amount":{"type":"number"},"account":{"type":"string"},"note":{"type":"string"}},"required":["amount"]}},
{"name":"refund_int","inputSchema":{"type":"object","properties":{"amount":{"type":"integer"},"account":{"type":"string"}},"required":["amount"]}},
{"name":"batch_refund","inputSchema":{"type":"object","properties":{"items":{"type":"array","items":{"type":"object"}}},"required":["items"]}},
{"name":"delete_account","inputSchema":{"type":"object","properties":{"account":{"type":"string"}}}}]`

// NewRecorder starts one that runs until the test ends.
func NewRecorder(t *testing.T) *Recorder {
	r := &Recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *Recorder) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct {
			Meta map[string]any `json:"_meta"`
		}
	}
	if err := json.Unmarshal(body, &m); err != nil {
		r.note("unreadable: %q", body)
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	result := "{}"
	switch m.Method {
	case "tools/call":
		r.mu.Lock()
		r.calls = append(r.calls, body)
		r.mu.Unlock()
		result = `{"content":[{"type":"text","text":"done"}]}`
	case "tools/list":
		result = `{"tools":` + tools + `}`
	case "initialize":
		result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"payments","version":"1"}}`
	case "server/discover":
		result = `{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"payments","version":"1"}}`
	case "prompts/list", "resources/list", "resources/templates/list": // the gateway asks what there is
		result = `{"prompts":[],"resources":[],"resourceTemplates":[]}`
	case "ping", "notifications/initialized", "notifications/cancelled":
	default:
		r.note("%s %q", req.Method, body)
	}
	if m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, modern := m.Params.Meta["io.modelcontextprotocol/protocolVersion"]; modern {
		result = `{"resultType":"complete",` + result[1:]
		if result[len(result)-2] == ',' {
			result = `{"resultType":"complete"}`
		}
	}
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

func (r *Recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.other = append(r.other, fmt.Sprintf(format, args...))
}

// Take returns what arrived since the last call.
func (r *Recorder) Take() (calls [][]byte, other []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls, other = r.calls, r.other
	r.calls, r.other = nil, nil
	return calls, other
}
