package replicas

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// upstream is a server on the Go SDK that speaks both eras of the protocol.
type upstream struct {
	*httptest.Server
	looked atomic.Int64 // calls that arrived
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{}
	server := mcp.NewServer(&mcp.Implementation{Name: "up", Version: "1"}, nil)
	for _, name := range []string{"look", "ask"} {
		mcp.AddTool(server, &mcp.Tool{Name: name}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			u.looked.Add(1)
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "seen"}}}, nil, nil
		})
	}
	// The SDK speaks the newest version only where there are no sessions.
	handler := func(stateless bool) http.Handler {
		return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{JSONResponse: true, Stateless: stateless})
	}
	modern, legacy := handler(true), handler(false)
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") == "2026-07-28" {
			modern.ServeHTTP(w, r)
		} else {
			legacy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		for s := range server.Sessions() {
			_ = s.Close() // the client's end may have come first
		}
		u.CloseClientConnections()
		u.Close()
	})
	return u
}

// config is how a replica reaches the server.
func (u *upstream) config() map[string]any { return map[string]any{"url": u.URL} }

// modern is a client of 2026-07-28 that looks through one replica's proxy.
type modern struct {
	url, token string
	http       *http.Client
}

func (u *upstream) client(t *testing.T, r replica, g *grant) modern {
	t.Helper()
	c := modern{r.Endpoint("up"), g.token, &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// look returns the text of the answer and whether it is an error.
func (c modern) look(t *testing.T) (text string, isError bool) {
	t.Helper()
	const meta = `{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{},"_meta":` + meta + `}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + c.token, "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "look",
	} {
		req.Header.Set(name, value)
	}
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Result struct {
			Content []struct{ Text string }
			IsError bool
		}
	}
	if err := json.Unmarshal(bytes.TrimSpace(b), &answer); err != nil || len(answer.Result.Content) == 0 {
		return res.Status + " " + string(b), true
	}
	return answer.Result.Content[0].Text, answer.Result.IsError
}

// refused wants a refusal in time.
func (c modern) refused(t *testing.T, within time.Duration) {
	t.Helper()
	began := time.Now()
	text, isError := c.look(t)
	if took := time.Since(began); !isError || took > within {
		t.Errorf("through the proxy, after %s: %s", took, text)
	}
}
