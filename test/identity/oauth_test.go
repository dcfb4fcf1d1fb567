// Package identity connects clients by every kind of evidence. Real MCP clients come by
// their own OAuth flow: they find the
// authorization server by the gateway's metadata, register there, get a token for
// the server that they call, and step up to further scopes where the policy asks.
package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
	"github.com/mcpermit/mcpermit/test/parts"
	"github.com/mcpermit/mcpermit/test/provider"
)

var scopes = []string{"payments:read", "payments:refund"}

// flow is one time that a client sent its person to the authorization server.
type flow struct{ Scope, Resource string }

// outcome is what a client says.
type outcome struct {
	Op, Name, Version string
	Flows             []flow
	Tools             []string
	Text              string
	IsError           bool `json:"is_error"`
	Error             string
	Token             string
}

type job struct {
	URL   string `json:"url"`
	Mode  string `json:"mode"`
	Calls []call `json:"calls"`
}

type call struct {
	Name      string         `json:"name"`
	Arguments map[string]any `json:"arguments,omitempty"`
}

// drive has a client do a job.
func drive(t *testing.T, command []string, j job) []outcome {
	t.Helper()
	in, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\nstdout: %s\nstderr: %s", err, stdout.String(), stderr.String())
	}
	var outcomes []outcome
	for line := range bytes.Lines(stdout.Bytes()) {
		var o outcome
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("the client wrote %q: %v", line, err)
		}
		outcomes = append(outcomes, o)
	}
	if len(outcomes) != 3+len(j.Calls) {
		t.Fatalf("%d outcomes: %s\nstderr: %s", len(outcomes), stdout.String(), stderr.String())
	}
	return outcomes
}

// startProvider runs the authorization server, at which ada sits, and returns its
// issuer.
func startProvider(t *testing.T) string {
	t.Helper()
	return provider.Start(t, provider.Options{
		Login: "ada", Scopes: scopes, TTL: 300,
		People: map[string]any{"ada": map[string]any{"realm": map[string]any{"groups": []string{"staff"}}, "email": "ada@example.com"}},
	}).Issuer
}

// serve runs a gateway before the demo server, for clients with access tokens
// under /oauth.
func serve(t *testing.T, issuer string) (g *gateway.Gateway, url string) {
	t.Helper()
	upstream := gateway.FreeAddress(t)
	gateway.Run(t, gateway.Program(t, "mcpermit-demo"), "-listen", upstream)
	g = gateway.Prepare(t, gateway.Config{
		Policy:  "policy",
		Servers: map[string]any{"payments": map[string]any{"url": "http://" + upstream + "/mcp"}},
	})
	g.Configure(t, map[string]any{"oauth": map[string]any{
		"url": g.URL + "/oauth", "scopes": []string{"payments:read"},
		"issuers": []any{map[string]any{"url": issuer, "groups": "realm.groups", "claims": []string{"email"}}},
	}})
	g.Up(t)
	return g, g.URL + "/oauth/mcp/payments"
}

func TestI10_ClientsConnectWithTheirOwnOAuthFlow(t *testing.T) {
	installed := parts.Of(t)
	typescript, err := installed.PlaceScript("typescript_client.mjs")
	if err != nil {
		t.Fatal(err)
	}
	issuer := startProvider(t)
	g, url := serve(t, issuer)
	for name, command := range map[string][]string{
		"python": {installed.Python, "python_client.py"}, "typescript": {installed.Node, typescript},
	} {
		for _, mode := range []string{"auto", "legacy"} {
			t.Run(name+"-"+mode, func(t *testing.T) {
				got := drive(t, command, job{URL: url, Mode: mode, Calls: []call{
					{Name: "get_balance"},
					{Name: "create_refund", Arguments: map[string]any{"charge_id": "ch_105", "amount": 500}},
					{Name: "delete_customer", Arguments: map[string]any{"customer_id": "cus_9"}},
				}})
				connect, list, read, refund, hidden, tokens := got[0], got[1], got[2], got[3], got[4], got[5]
				if len(connect.Flows) != 1 || connect.Flows[0].Resource != url || !strings.Contains(connect.Flows[0].Scope, "payments:read") {
					t.Errorf("connected by %+v, want one flow for %s", connect.Flows, url)
				}
				slices.Sort(list.Tools)
				if want := []string{"create_refund", "get_balance", "list_charges"}; !slices.Equal(list.Tools, want) {
					t.Errorf("listed %q, want %q", list.Tools, want)
				}
				if read.Error != "" || read.IsError || len(read.Flows) != 0 {
					t.Errorf("a call that needs no more: %+v", read)
				}
				if refund.Error != "" || refund.IsError || len(refund.Flows) != 1 || !strings.Contains(refund.Flows[0].Scope, "payments:refund") {
					t.Errorf("a call that needs a scope: %+v", refund)
				}
				if !strings.Contains(hidden.Error+hidden.Text, "Unknown tool") {
					t.Errorf("a hidden tool: %+v", hidden)
				}
				elsewhere(t, g, tokens.Token)
			})
		}
	}
	onRecord(t, g, issuer)
}

// elsewhere shows that the token is good for its one server and on its listener
// alone.
func elsewhere(t *testing.T, g *gateway.Gateway, token string) {
	t.Helper()
	if token == "" {
		t.Fatal("the client has no token")
	}
	for path, want := range map[string]int{"/oauth/mcp/payments": http.StatusOK, "/mcp/payments/": http.StatusUnauthorized} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+path, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}

// onRecord holds that the trail says who it was, by whose word, and no token.
func onRecord(t *testing.T, g *gateway.Gateway, issuer string) {
	t.Helper()
	out := g.CLI(t, "audit", "query", "--limit", "1000", "-o", "json")
	people, scoped := 0, 0
	for line := range bytes.Lines(out) {
		var r struct {
			Subject    *struct{ ID, Type, Issuer string }
			Grant      string
			ReasonCode string `json:"reason_code"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if r.Subject != nil {
			if people++; fmt.Sprint(*r.Subject) != fmt.Sprint(struct{ ID, Type, Issuer string }{"ada", "person", issuer}) || r.Grant != "" {
				t.Errorf("on record: %+v", r)
			}
		}
		if r.ReasonCode == "insufficient_scope" {
			scoped++
		}
	}
	if people == 0 || scoped != 4 {
		t.Errorf("%d records name somebody, %d ask for a scope, want some and 4", people, scoped)
	}
	if bytes.Contains(out, []byte("eyJ")) {
		t.Error("a token is on record")
	}
}
