package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// TestI8_PDPReplacedWhileACallIsHeld stops, and kills, the decision point while a
// call waits for a person at the enforcement point. A stop does not wait for
// people, and the next decision point goes on where that one was.
func TestI8_PDPReplacedWhileACallIsHeld(t *testing.T) {
	u := newUpstream(t)
	listing := `{"tools":[{"name":"pay","inputSchema":{"type":"object"}}]}`
	u.listing.Store(&listing)
	g := prepare(t, u, nil)
	g.Split(t)
	_, token := g.Grant(t, "ada", "up")
	c := newClient(g, token)
	c.http.Timeout = time.Minute
	for i, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		key, state := asked(t, c.pay(t, i, ""))
		held := make(chan string, 1)
		go func() {
			held <- c.pay(t, i, fmt.Sprintf(`,"inputResponses":{%q:{"action":"accept"}},"requestState":%q`, key, state))
		}()
		select {
		case body := <-held:
			t.Fatalf("the call was not held: %s", body)
		case <-time.After(300 * time.Millisecond):
		}
		if err := g.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := g.Process.Wait(10 * time.Second); err != nil && signal == syscall.SIGTERM {
			t.Errorf("after %v: %v", signal, err)
		}
		g.PDPUp(t)
		g.CLI(t, "approvals", "approve", pending(t, g))
		if body := <-held; !done(body) {
			t.Errorf("after %v: %s", signal, body)
		}
	}
	if n := u.executed.Load(); n != 2 {
		t.Errorf("%d calls were executed", n)
	}
}

// pay makes a call of 2026-07-28 by a client that opens links.
func (c *client) pay(t *testing.T, i int, rounds string) (body string) {
	frame := fmt.Sprintf(`{"jsonrpc":"2.0","id":"pay","method":"tools/call","params":{"name":"pay","arguments":{"n":%d}%s,"_meta":{`+
		`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}}}}`, i, rounds)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url, strings.NewReader(frame))
	if err != nil {
		return err.Error()
	}
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + c.token},
		"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"pay"},
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// asked reads the question out of an answer.
func asked(t *testing.T, body string) (key, state string) {
	t.Helper()
	var m struct {
		Result struct {
			InputRequests map[string]any
			RequestState  string
		}
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil || len(m.Result.InputRequests) != 1 {
		t.Fatalf("no question: %s", body)
	}
	for key = range m.Result.InputRequests {
		state = m.Result.RequestState
	}
	return key, state
}

// pending is the id of the one approval that waits.
func pending(t *testing.T, g *gateway.Gateway) string {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(g.CLI(t, "approvals", "list", "-o", "json")), []byte("\n"))
	var a struct{ ID string }
	if err := json.Unmarshal(lines[0], &a); err != nil || len(lines) != 1 || a.ID == "" {
		t.Fatalf("%d approvals wait: %s", len(lines), lines)
	}
	return a.ID
}
