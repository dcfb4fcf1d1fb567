package accounts

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// withAccounts is the protected server, to which people connect an account.
func (p *protected) withAccounts() map[string]any {
	return map[string]any{"url": p.url, "credentials": map[string]any{"own": map[string]any{"account": map[string]any{}}}}
}

// accountNeeded is the code of a JSON-RPC error that asks for an account.
const accountNeeded = 1004

// TestAccountNeeded: a client's first call says where the account is to be
// connected, and passes when that is done. The server sees the account's token, and
// never the client's.
func TestAccountNeeded(t *testing.T) {
	server := startProtected(t)
	startProvider(t, server)
	f := newFront(t, "protected", server.withAccounts(), 1, nil)
	token := f.agentOf("vera")

	link := f.asksForAnAccount(token)
	if arrived := server.arrivals(""); len(arrived) != 0 {
		t.Errorf("without an account, the server has got %q", arrived[0].all)
	}
	f.connect("vera", link)
	f.call(0, token, "whoami").is(t, "vera-at-the-provider")
	if a := f.initialize(token); a.status != http.StatusOK || a.Error.Code != 0 {
		t.Errorf("initialize: %s", a.raw)
	}
	if a := f.list(token); len(a.Result.Tools) != 3 {
		t.Errorf("tools/list: %s", a.raw)
	}
	session, err := f.dial(token)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami"})
	if err != nil || res.IsError || res.Content[0].(*mcp.TextContent).Text != "vera-at-the-provider" {
		t.Errorf("a client of the Go SDK: %v, %v", res, err)
	}
	if a := f.call(0, f.agentOf("ada"), "whoami"); !strings.Contains(a.raw, "ada has to ") {
		t.Errorf("somebody else's agent: %s", a.raw)
	}
	f.keepsApart(token, server.arrivals(""))
}

// asksForAnAccount holds that whatever a client begins with says where, and returns
// that.
func (f *front) asksForAnAccount(token string) (link string) {
	f.Helper()
	call := f.call(0, token, "whoami")
	link = call.link(f.T)
	if !strings.HasPrefix(link, f.gateways[0].AdminURL+"/connect/protected/own") {
		f.Errorf("the link is %s", link)
	}
	decision, _ := call.Result.Meta["io.github.mcpermit/decision"].(map[string]any)
	if !call.Result.IsError || call.Error.Code != 0 || !strings.HasPrefix(call.Result.Content[0].Text, "[ACCOUNT NEEDED] vera has not connected an account of protected.\nvera has to open "+link+" and connect an account of the server, then repeat the same call.") ||
		strings.Count(call.Result.Content[0].Text, link) != 1 || decision["reasonCode"] != "account_needed" || decision["url"] != link {
		f.Errorf("tools/call: %s", call.raw)
	}
	for method, a := range map[string]answer{"initialize": f.initialize(token), "tools/list": f.list(token)} {
		if a.status != http.StatusOK || a.Error.Code != accountNeeded || !strings.HasPrefix(a.Error.Message, "[ACCOUNT NEEDED] ") || a.link(f.T) != link {
			f.Errorf("%s: %s", method, a.raw)
		}
	}
	if _, err := f.dial(token); err == nil || !strings.Contains(err.Error(), link) {
		f.Errorf("a client of the Go SDK is told: %v", err)
	}
	return link
}

// dial connects a client of the Go SDK.
func (f *front) dial(token string) (*mcp.ClientSession, error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	return client.Connect(f.Context(), &mcp.StreamableClientTransport{
		Endpoint: f.gateways[0].Endpoint(f.server), HTTPClient: &http.Client{Transport: bearer(token)}, DisableStandaloneSSE: true,
	}, nil)
}

// bearer sends a token.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// keepsApart holds that nothing of the client's token has reached the server, and that
// neither it nor what the server has got in its place is in a log or on record.
func (f *front) keepsApart(client string, arrived []arrival) {
	f.Helper()
	if len(arrived) == 0 {
		f.Fatal("nothing has reached the server")
	}
	said := f.said()
	if strings.Contains(said, client) {
		f.Error("the client's token is in a log or on record")
	}
	for _, a := range arrived {
		if strings.Contains(a.all, client) {
			f.Fatal("the client's token has reached the server")
		}
		if a.body == `{"jsonrpc":"2.0","id":1,"method":"ping"}` && a.secret() == "" {
			continue // the broker's, to learn whose tokens the server takes
		}
		if a.secret() == "" {
			f.Fatalf("a request came without a secret: %s", a.all)
		}
		if strings.Contains(said, a.secret()) {
			f.Fatal("what the server has got is in a log or on record")
		}
	}
}

// said is all that was logged, and put on record.
func (f *front) said() string {
	f.Helper()
	var said strings.Builder
	for _, g := range f.gateways {
		said.WriteString(g.Process.Output())
		files, err := filepath.Glob(filepath.Join(g.StateDir, "audit", "*"))
		if err != nil || len(files) == 0 {
			f.Fatal(files, err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			said.Write(b)
		}
	}
	return said.String()
}
