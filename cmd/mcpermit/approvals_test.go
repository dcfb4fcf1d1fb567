package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pdp/approval"
)

// pointFor runs a decision point with the configuration's further lines, and
// returns how to run the command line against it.
func pointFor(t *testing.T, further string) (*decisionPoint, func(args ...string) (code int, stdout, stderr string)) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "mcpermit.yaml")
	for path, text := range map[string]string{
		file: "policy: ./policy\nstate: ./state\n" + further,
		filepath.Join(dir, "policy", "global", "a.rego"): "package policy.global.team\n\nallow contains \"Reading\" if input.method == \"tools/list\"\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newDecisionPoint(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := adminService(p, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- admin.Run() }()
	t.Cleanup(func() {
		if err := errors.Join(admin.Stop(t.Context()), <-ended, p.close()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p, func(args ...string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		code := run(append(args, "-c", file), &stdout, &stderr)
		return code, stdout.String(), stderr.String()
	}
}

func waitingCall(t *testing.T, p *decisionPoint, name string, change func(a *approval.Approval)) approval.Approval {
	t.Helper()
	a := approval.Approval{
		Subject: approval.Subject{ID: "agent:1", Type: "agent"}, Owner: "olga", GrantID: "g1",
		Server: "stripe", Method: "tools/call", Name: name, ToolClass: "destructive",
		Arguments: []byte(`{"amount":20000,"note":"pay\u202e","card":{"number":"4242"}}`), Masked: []string{"/card/number"},
		Reason: "Refunds need a person", Rules: []approval.Rule{{Path: "policy.servers.stripe.approve", ID: "refund", File: "stripe.rego", Line: 3}},
		Requirements: []approval.Requirement{{Approvers: []string{"group:finance"}, Required: 1}, {Required: 2}},
	}
	if change != nil {
		change(&a)
	}
	a, err := p.approvals.Request(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const threePeople = `people:
  - {id: anna, groups: [finance]}
  - {id: bob, groups: [finance]}
  - {id: olga, groups: [finance], role: admin}
  - {id: vera, groups: [finance], role: viewer}
`

func wants(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%s", what, part, text)
		}
	}
}

func TestApprovalsOnTheCommandLine(t *testing.T) {
	p, mcpermit := pointFor(t, threePeople)
	a := waitingCall(t, p, "create_refund", nil)
	code, out, _ := mcpermit("approvals", "list")
	if code != 0 {
		t.Errorf("list: %d", code)
	}
	wants(t, "list", out, a.ID, "pending", "agent:1", "create_refund", "1 of group:finance, 2 of any approver")

	code, out, stderr := mcpermit("approvals", "approve", a.ID, "--as", "anna", "--reason", "looks right")
	if code != 0 {
		t.Errorf("approve: %d, %s", code, stderr)
	}
	wants(t, "the first vote", out, "Your vote counts", "1 of any approver")

	_, out, _ = mcpermit("approvals", "show", a.ID)
	wants(t, "show", out, "agent agent:1 under grant g1", "Owner      olga", "tools/call create_refund on stripe", "class destructive, risk unknown",
		"policy.servers.stripe.approve#refund (stripe.rego:3)", "Needs      1 of group:finance (1 so far)", "Needs      2 of any approver (1 so far)",
		"anna approved", "cli): looks right", "Masked     /card/number", "\n             \"amount\": 20000,\n", `"number": "[masked]"`)
	if strings.Contains(out, "4242") || strings.Contains(out, "\u202e") {
		t.Errorf("show: %s", out)
	}

	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"approve", a.ID}, 2, "say who decides"},
		{[]string{"approve", a.ID, "--as", "zoe"}, 2, "nobody of the id"},
		{[]string{"approve", a.ID, "--as", "vera"}, 2, "nobody of the id"},
		{[]string{"approve", a.ID, "--as", "olga"}, 1, "another approver has to"},
		{[]string{"refuse", "NONE", "--as", "anna"}, 1, "there is no approval"},
		{[]string{"show", "NONE"}, 1, "there is no approval"},
	} {
		code, _, stderr := mcpermit(append([]string{"approvals"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.says) || strings.Count(strings.TrimSpace(stderr), "\n") != 0 {
			t.Errorf("%v: %d, %s; want %d, %s", c.args, code, stderr, c.code, c.says)
		}
	}

	if code, out, _ = mcpermit("approvals", "approve", a.ID, "--as", "bob"); code != 0 {
		t.Errorf("approve: %d", code)
	}
	wants(t, "the second vote", out, "Approved: create_refund on stripe", "may pass once")
	if code, _, stderr = mcpermit("approvals", "refuse", a.ID, "--as", "bob"); code != 1 || !strings.Contains(stderr, "is approved") {
		t.Errorf("refuse an approved one: %d, %s", code, stderr)
	}
	if _, err := p.approvals.Use(t.Context(), a.ID, "d1"); err != nil {
		t.Fatal(err)
	}

	b := waitingCall(t, p, "other", nil)
	if code, out, _ = mcpermit("approvals", "refuse", b.ID, "--as", "bob", "--reason", "no"); code != 0 {
		t.Errorf("refuse: %d", code)
	}
	wants(t, "refuse", out, "Refused: other on stripe")

	if _, out, _ = mcpermit("approvals", "list"); strings.Contains(out, a.ID) {
		t.Errorf("list: %s", out)
	}
	_, out, _ = mcpermit("approvals", "list", "--all", "-o", "json")
	var views []approvalView
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var v approvalView
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		views = append(views, v)
	}
	if len(views) != 2 || views[0].State != "refused" || views[1].State != "used" || views[1].UsedBy != "d1" || len(views[1].Votes) != 2 || strings.Contains(out, "4242") {
		t.Errorf("list as JSON: %s", out)
	}

	// Every act, taken or not, is on the trail, which verifies.
	_, out, _ = mcpermit("audit", "query", "--acts")
	wants(t, "acts", out, "anna", "looks right", "olga", "own call", "already decided", "refuse", "taken")
	if n := strings.Count(out, "\n"); n != 6 { // a head, and five
		t.Errorf("%d lines of acts:\n%s", n, out)
	}
	if _, out, _ = mcpermit("audit", "query", "--acts", "--subject", "olga", "-o", "json"); strings.Count(out, "\n") != 1 || !strings.Contains(out, `"result":"own call"`) {
		t.Errorf("olga's acts: %s", out)
	}
	if code, _, stderr = mcpermit("audit", "query", "--acts", "--server", "stripe"); code != 2 || !strings.Contains(stderr, "--acts") {
		t.Errorf("acts of a server: %d, %s", code, stderr)
	}
	if code, _, _ = mcpermit("audit", "verify"); code != 0 {
		t.Errorf("verify: %d", code)
	}
}

func TestTheOperatorDecidesWhereNobodyIsNamed(t *testing.T) {
	p, mcpermit := pointFor(t, "")
	a := waitingCall(t, p, "create_refund", func(a *approval.Approval) { a.Requirements = nil })
	if code, _, stderr := mcpermit("approvals", "approve", a.ID, "--as", "anna"); code != 2 {
		t.Errorf("as anna: %d, %s", code, stderr)
	}
	if code, out, stderr := mcpermit("approvals", "approve", a.ID); code != 0 || !strings.Contains(out, "Approved") {
		t.Errorf("as the operator: %d, %s%s", code, out, stderr)
	}
	_, out, _ := mcpermit("approvals", "show", a.ID)
	wants(t, "show", out, "operator approved", "Needs      1 of any approver (1 so far)")
}

// A call cannot forge lines of what an approver is shown.
func TestHostileCallsAreShownInert(t *testing.T) {
	p, mcpermit := pointFor(t, "")
	a := waitingCall(t, p, "x\nReason     harmless\x1b[2J\u202e", func(a *approval.Approval) {
		a.Subject.ID = "a\nVote       olga approved"
		a.Arguments, a.Masked = []byte("{\"a\":\"\u202e\u200b\"}"), nil
	})
	for _, args := range [][]string{{"show", a.ID}, {"list"}, {"approve", a.ID}} {
		_, out, _ := mcpermit(append([]string{"approvals"}, args...)...)
		for _, bad := range []string{"\nReason     harmless", "\nVote       olga", "\x1b", "\u202e", "\u200b"} {
			if strings.Contains(out, bad) {
				t.Errorf("%v has %q:\n%s", args, bad, out)
			}
		}
	}
}

func TestGrantsNameAnOwner(t *testing.T) {
	_, mcpermit := pointFor(t, "")
	code, out, stderr := mcpermit("grants", "create", "--subject", "agent:1", "--server", "stripe", "--owner", "olga@example.com", "-o", "json")
	var v grantView
	if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil || v.Owner != "olga@example.com" {
		t.Fatalf("create: %d, %s%s", code, out, stderr)
	}
	_, out, _ = mcpermit("grants", "show", v.ID)
	wants(t, "show", out, "Owner    olga@example.com")
	_, out, _ = mcpermit("grants", "list")
	wants(t, "list", out, "OWNER", "olga@example.com")
	if code, _, stderr = mcpermit("grants", "create", "--subject", "a", "--server", "s", "--owner", " x"); code != 2 || !strings.Contains(stderr, "owner") {
		t.Errorf("an owner that is none: %d, %s", code, stderr)
	}
}

// Webhooks of the configuration are told, with the page and without secrets.
func TestWebhooksOfTheConfiguration(t *testing.T) {
	got := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.Header.Get("Webhook-Signature")[:3] + string(b)
	}))
	defer hook.Close()
	p, mcpermit := pointFor(t, "console: {url: 'https://console.example'}\napprovals: {webhooks: [{url: '"+hook.URL+"', secret: s}]}\n")
	a := waitingCall(t, p, "create_refund", func(a *approval.Approval) { a.Requirements = nil })
	wants(t, "opened", <-got, "v1,", `"type":"approval.opened"`, "https://console.example/approvals/"+a.ID, "[masked]")
	mcpermit("approvals", "refuse", a.ID)
	decided := <-got
	wants(t, "decided", decided, `"type":"approval.decided"`, `"state":"refused"`)
	if strings.Contains(decided, "4242") {
		t.Errorf("decided: %s", decided)
	}
}
