package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// upstream is an MCP server that misbehaves as it is told.
type upstream struct {
	*httptest.Server
	executed atomic.Int64
	listing  atomic.Pointer[string] // result of tools/list; nil: the usual

	mu      sync.Mutex
	ids     map[string]int // how often each call's id was executed
	headers http.Header    // of the last call
}

const usualListing = `{"tools":[{"name":"echo","inputSchema":{"type":"object"}},{"name":"slow","inputSchema":{"type":"object"}},{"name":"reset","inputSchema":{"type":"object"}},{"name":"hang","inputSchema":{"type":"object"}},{"name":"never","inputSchema":{"type":"object"}}]}`

func newUpstream(t *testing.T) *upstream {
	u := &upstream{ids: map[string]int{}}
	u.Server = httptest.NewServer(http.HandlerFunc(u.serve))
	t.Cleanup(func() { u.CloseClientConnections(); u.Close() })
	return u
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct{ Name string }
	}
	if json.Unmarshal(body, &m) != nil || m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	result := `{}`
	switch m.Method {
	case "tools/list":
		result = usualListing
		if l := u.listing.Load(); l != nil {
			result = *l
		}
	case "tools/call":
		u.note(string(m.ID), r.Header)
		if !u.behave(w, r, m.Params.Name) {
			return
		}
		result = `{"content":[{"type":"text","text":"done"}]}`
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

func (u *upstream) note(id string, h http.Header) {
	u.executed.Add(1)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ids[id]++
	u.headers = h.Clone()
}

// behave does what the tool is named after, and says whether to answer.
func (u *upstream) behave(w http.ResponseWriter, r *http.Request, tool string) bool {
	switch tool {
	case "slow":
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
		}
	case "hang":
		<-r.Context().Done()
		return false
	case "reset":
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, `{"jsonrpc":"2.0","id":`)
		panic(http.ErrAbortHandler)
	}
	return true
}

func prepare(t *testing.T, u *upstream, extra map[string]any) *gateway.Gateway {
	t.Helper()
	return gateway.Prepare(t, gateway.Config{
		Policy:  "policy",
		Servers: map[string]any{"up": map[string]any{"url": u.URL, "timeout": "1500ms", "headers": map[string]string{"X-Key": "upstream-secret-5021"}}},
		Extra:   extra,
	})
}

// client makes calls with one grant.
type client struct {
	url, token string
	http       *http.Client
}

func newClient(g *gateway.Gateway, token string) *client {
	return &client{url: g.Endpoint("up"), token: token, http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// call calls a tool; status is 0 when there was no answer at all.
func (c *client) call(id, tool string) (status int, body string) {
	req, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(
		fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":"tools/call","params":{"name":%q,"arguments":{}}}`, id, tool)))
	if err != nil {
		return 0, err.Error()
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + c.token}}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

func done(body string) bool { return strings.Contains(body, `"text":"done"`) }
