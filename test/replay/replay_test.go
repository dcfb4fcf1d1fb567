// Package replay decides calls with the real programs, and again from what is
// on record.
package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// run starts the example with the demo server behind it and returns its gateway.
func run(t *testing.T) (*gateway.Gateway, string) {
	t.Helper()
	listen := gateway.FreeAddress(t)
	gateway.Run(t, gateway.Program(t, "mcpermit-demo"), "-listen", listen)
	g := gateway.Start(t, gateway.Config{
		Policy:  "../../bundles/starter/policy",
		Servers: map[string]any{"stripe": map[string]any{"url": "http://" + listen + "/mcp"}},
		Extra:   map[string]any{"people": []any{map[string]any{"id": "grace", "groups": []string{"finance"}}}},
	})
	_, token := g.Grant(t, "ada", "stripe")
	return g, token
}

func call(t *testing.T, g *gateway.Gateway, token, tool, arguments string) string {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + arguments + `}}`
	req, err := http.NewRequest(http.MethodPost, g.Endpoint("stripe"), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// mcpermit runs the command line and returns its output and exit code.
func mcpermit(t *testing.T, g *gateway.Gateway, args ...string) (stdout string, code int) {
	t.Helper()
	cmd := exec.Command(gateway.Program(t, "mcpermit"), append([]string{"-c", g.ConfigFile}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	t.Logf("mcpermit %s → %d\n%s%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), out, &stderr)
	return string(out), cmd.ProcessState.ExitCode()
}

func TestI12_RecordedDecisionsAreMadeAgain(t *testing.T) {
	g, token := run(t)
	call(t, g, token, "create_refund", `{"charge_id":"ch_105","amount":5000}`)
	denied := call(t, g, token, "create_refund", `{"charge_id":"ch_105","amount":500000}`)
	call(t, g, token, "delete_customer", `{"customer_id":"c"}`)
	call(t, g, "mcpg_wrong", "create_refund", `{"charge_id":"ch_105","amount":1}`)

	id := regexp.MustCompile(`"id":"([0-9a-f-]{36})"`).FindStringSubmatch(denied)
	if id == nil {
		t.Fatalf("no decision id in %s", denied)
	}
	explained, code := mcpermit(t, g, "policy", "explain", "--decision", id[1])
	if code != 0 || !strings.HasPrefix(explained, "DENY  Refund exceeds the policy limit.") || !strings.Contains(explained, "policy.servers.stripe.deny#refund-cap (servers/stripe.rego:15)") {
		t.Error("the denied call is not explained")
	}

	same, code := mcpermit(t, g, "policy", "replay", "--all", "-o", "json", "../../bundles/starter/policy")
	if code != 0 || !strings.Contains(same, `{"same":3,"changed":0,"not_replayed":{"no policy was asked":1}}`) {
		t.Errorf("the same policy changed something (exit %d)", code)
	}
	if n := strings.Count(same, `"changed":false`); n != 3 {
		t.Errorf("%d decisions shown, want 3", n)
	}

	changed, code := mcpermit(t, g, "policy", "replay", "--since", "1h", "-o", "json", lifted(t))
	if code != 1 {
		t.Errorf("exit code %d where a decision changes, want 1", code)
	}
	var first struct {
		Decision string `json:"decision_id"`
		Was, Is  struct {
			Effect string
			Rules  []string
		}
		Time time.Time
	}
	if err := json.NewDecoder(strings.NewReader(changed)).Decode(&first); err != nil {
		t.Fatal(err)
	}
	if first.Decision != id[1] || first.Was.Effect != "deny" || first.Is.Effect != "approve" || first.Time.IsZero() {
		t.Errorf("changed: %+v", first)
	}
	if _, code := mcpermit(t, g, "policy", "replay", "no/such/policy"); code != 2 {
		t.Errorf("exit code %d for a policy that is not there, want 2", code)
	}
}

// lifted is the starter policy with a higher limit.
func lifted(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../bundles/starter/policy")); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "servers", "stripe.rego")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b = regexp.MustCompile(`\b50000\b`).ReplaceAll(b, []byte("900000"))
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestI12_WhatPolicySaidIsReplayed: what a quota or a person made of it is not
// for another policy to change.
func TestI12_WhatPolicySaidIsReplayed(t *testing.T) {
	g, token := run(t)
	const larger = `{"charge_id":"ch_105","amount":20000}`
	id := regexp.MustCompile(`"approvalId":"([A-Z2-7]+)"`).FindStringSubmatch(call(t, g, token, "create_refund", larger))
	if id == nil {
		t.Fatal("the larger refund does not wait for a person")
	}
	if out, code := mcpermit(t, g, "approvals", "approve", id[1], "--as", "grace"); code != 0 {
		t.Fatal(out)
	}
	if answer := call(t, g, token, "create_refund", larger); !strings.Contains(answer, "Refunded 200.00") {
		t.Fatal(answer)
	}
	for range 18 { // then the day's 2000.00 are spent
		call(t, g, token, "create_refund", `{"charge_id":"ch_105","amount":10000}`)
	}
	for _, amount := range []string{"10000", "20000", `"10"`} {
		if answer := call(t, g, token, "create_refund", `{"charge_id":"ch_105","amount":`+amount+`}`); !strings.Contains(answer, `"isError":true`) {
			t.Fatal(answer)
		}
	}
	same, code := mcpermit(t, g, "policy", "replay", "-o", "json", "../../bundles/starter/policy")
	if code != 0 || !strings.Contains(same, `{"same":23,"changed":0,`) {
		t.Errorf("the same policy changed something (exit %d)", code)
	}
	if exceeded, _ := mcpermit(t, g, "audit", "query", "--code", "quota_exceeded", "-o", "json"); strings.Count(exceeded, "\n") != 2 {
		t.Errorf("refused for a quota: %s", exceeded)
	}
}
