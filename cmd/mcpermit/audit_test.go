package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/mcpermit/mcpermit/pdp/audit"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// auditTrail writes a small trail and returns its directory.
func auditTrail(t *testing.T) (dir string, l *audit.Log) {
	t.Helper()
	dir = t.TempDir()
	l, err := audit.Open(audit.Options{Dir: dir, Fsync: audit.FsyncNever, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for i, name := range []string{"list_charges", "create_refund", "=HYPERLINK(\"http://x\")", "a\u202eb\nc\x1b[31m"} {
		writeAudit(t, l, i, name)
	}
	l.Outcome("d-0", audit.Outcome{Forwarded: true, Status: 200, DurationUS: 12345})
	writeAudit(t, l, 4, "list_charges")
	return dir, l
}

func writeAudit(t *testing.T, l *audit.Log, i int, name string) {
	t.Helper()
	r := &audit.Record{
		DecisionID: fmt.Sprintf("d-%d", i), Time: time.Now().Add(time.Duration(i-10) * time.Hour),
		Frame: audit.Frame{Method: "tools/call", Name: name}, Server: "stripe", Effect: "allow",
		Subject: &audit.Subject{ID: "alice"}, ReasonCode: "policy",
	}
	if name == "create_refund" {
		r.Effect, r.Reason = "deny", "Refund exceeds the policy limit."
		r.Rules = []audit.Rule{{Path: "policy.servers.stripe.deny", ID: "refund-cap", File: "stripe.rego", Line: 6}}
		r.Arguments = []byte(`{"amount":500000}`)
	}
	if err := l.Record(context.Background(), r); err != nil {
		t.Fatal(err)
	}
}

// mcpermit runs the program.
func mcpermit(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return out.String(), errs.String(), code
}

func TestAuditQueryText(t *testing.T) {
	dir, _ := auditTrail(t)
	out, errs, code := mcpermit(t, "audit", "query", "--dir", dir)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if code != 0 || errs != "" || len(lines) != 6 {
		t.Fatalf("exit %d, %s\n%s", code, errs, out)
	}
	for _, want := range []string{"TIME", "ok 12ms", "policy.servers.stripe.deny#refund-cap (stripe.rego:6)  Refund exceeds the policy limit.", `a\u202eb\u000ac\u001b[31m`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.ContainsAny(out, "\x1b\u202e") {
		t.Errorf("control characters in\n%q", out)
	}
	if c := strings.Index(lines[0], "SERVER"); strings.Index(lines[2], "stripe") != c {
		t.Errorf("columns are not aligned:\n%s", out)
	}
}

func TestAuditQueryFilters(t *testing.T) {
	dir, _ := auditTrail(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "d-0 d-1 d-2 d-3 d-4"},
		{[]string{"--limit", "2"}, "d-3 d-4"},
		{[]string{"--effect", "deny"}, "d-1"},
		{[]string{"--name", "list_charges", "--limit", "1"}, "d-4"},
		{[]string{"--since", "8h30m", "--until", "450m"}, "d-2"},
		{[]string{"--since", "1d", "--subject", "alice", "--server", "stripe", "--method", "tools/call"}, "d-0 d-1 d-2 d-3 d-4"},
		{[]string{"--subject", "bob"}, ""},
		{[]string{"--since", time.Now().Format(time.RFC3339)}, ""},
		{[]string{"--decision", "d-3"}, "d-3"},
		{[]string{"--code", "policy", "--limit", "1"}, "d-4"},
		{[]string{"--code", "quota_exceeded"}, ""},
	} {
		out, errs, code := mcpermit(t, append([]string{"audit", "query", "-o", "json", "--dir", dir}, c.args...)...)
		var got []string
		for line := range strings.Lines(out) {
			var r struct {
				ID string `json:"decision_id"`
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v: %v in %s", c.args, err, line)
			}
			got = append(got, r.ID)
		}
		if strings.Join(got, " ") != c.want || code != 0 {
			t.Errorf("%v: %v, exit %d, %s; want %s", c.args, got, code, errs, c.want)
		}
	}
}

func TestAuditMisuse(t *testing.T) {
	dir, _ := auditTrail(t)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"query", "--since", "yesterday"}, 2, "neither a duration"},
		{[]string{"query", "--limit=-1"}, 2, "negative"},
		{[]string{"query", "--effect", "maybe"}, 2, "effect"},
		{[]string{"query", "--decision", "d-9"}, 1, "no record of decision d-9"},
		{[]string{"verify", "--dir", filepath.Join(dir, "none")}, 1, "no such file"},
		{[]string{"export", "--to", dir}, 2, "--to"},
	} {
		args := append([]string{"audit", c.args[0], "--dir", dir}, c.args[1:]...)
		if out, errs, code := mcpermit(t, args...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: exit %d, %s%s; want %d and %q", args, code, out, errs, c.code, c.says)
		}
	}
}

func TestAuditVerifyOffline(t *testing.T) {
	dir, l := auditTrail(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	out, errs, code := mcpermit(t, "audit", "verify", "--dir", dir)
	if code != 0 || !strings.Contains(out, "The chain is whole: 6 entries.") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[0], bytes.Replace(b, []byte("500000"), []byte("100000"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code = mcpermit(t, "audit", "verify", "--dir", dir, "-o", "json")
	if code != 1 || !strings.Contains(errs, "entry 2 was altered") || !strings.Contains(out, `"problem":"`) {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
}

func TestAuditExport(t *testing.T) {
	dir, _ := auditTrail(t)
	out, errs, code := mcpermit(t, "audit", "export", "--dir", dir)
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || code != 0 || len(rows) != 6 {
		t.Fatalf("exit %d, %v, %s\n%s", code, err, errs, out)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	for _, c := range []struct {
		row        int
		name, want string
	}{
		{1, "duration_us", "12345"},
		{2, "rules", "policy.servers.stripe.deny#refund-cap (stripe.rego:6)"},
		{2, "arguments", `{"amount":500000}`},
		{3, "name", `'=HYPERLINK("http://x")`},
		{4, "name", `a\u202eb\u000ac\u001b[31m`},
	} {
		if got := rows[c.row][column[c.name]]; got != c.want {
			t.Errorf("row %d, %s: %q, want %q", c.row, c.name, got, c.want)
		}
	}
	file := filepath.Join(t.TempDir(), "out.jsonl")
	if _, errs, code := mcpermit(t, "audit", "export", "--dir", dir, "--format", "jsonl", "--to", file, "--effect", "deny"); code != 0 {
		t.Fatalf("exit %d, %s", code, errs)
	}
	if b, err := os.ReadFile(file); err != nil || bytes.Count(b, []byte("\n")) != 1 || !json.Valid(b) {
		t.Errorf("%s, %v", b, err)
	}
}

// A cell that a spreadsheet would run is kept from it, however it begins.
func TestInertCell(t *testing.T) {
	for in, want := range map[string]string{
		"":             "",
		"list":         "list",
		"=1+1":         "'=1+1",
		"+1":           "'+1",
		"-1":           "'-1",
		"@SUM(A1)":     "'@SUM(A1)",
		"＝1":           "'＝1",
		"|cmd":         "'|cmd",
		"\t=1":         `\u0009=1`,
		"\r=1":         `\u000d=1`,
		"a=1":          "a=1",
		"\u202e=1":     `\u202e=1`,
		"\u200b=1":     `\u200b=1`,
		"\U000e0041=1": `\U000e0041=1`,
	} {
		if got := inertCell(in); got != want {
			t.Errorf("inertCell(%q) = %q, want %q", in, got, want)
		}
	}
}

// Against a running PDP: query and verify, and a tail that begins with the last
// records and shows each later one once.
func TestAuditOfAPDP(t *testing.T) {
	_, l := auditTrail(t)
	socket := filepath.Join(t.TempDir(), "admin.sock")
	lis, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	v1.RegisterAuditServiceServer(s, audit.NewService(l))
	go func() { _ = s.Serve(lis) }()
	defer s.Stop()
	addr := "unix://" + socket

	out, errs, code := mcpermit(t, "audit", "query", "--addr", addr, "--effect", "deny", "-o", "json")
	if code != 0 || !strings.Contains(out, `"decision_id":"d-1"`) || strings.Count(out, "\n") != 1 {
		t.Errorf("query: exit %d, %s%s", code, out, errs)
	}
	if out, errs, code = mcpermit(t, "audit", "query", "--addr", addr, "--code", "no_match", "-o", "json"); code != 0 || out != "" {
		t.Errorf("query by a code that no record has: exit %d, %s%s", code, out, errs)
	}
	out, errs, code = mcpermit(t, "audit", "verify", "--addr", addr)
	if code != 0 || !strings.Contains(out, "The chain is whole: 6 entries.") {
		t.Errorf("verify: exit %d, %s%s", code, out, errs)
	}

	lines := make(lineWriter)
	tail := make(chan int, 1)
	go func() {
		tail <- run([]string{"audit", "tail", "--addr", addr, "-n", "2", "-o", "json"}, lines, &bytes.Buffer{})
	}()
	for _, want := range []string{"d-3", "d-4"} {
		lines.expect(t, want)
	}
	writeAudit(t, l, 5, "list_charges")
	lines.expect(t, "d-5")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-tail:
		if code != 1 {
			t.Errorf("tail: exit %d after the PDP has gone", code)
		}
	case <-time.After(10 * time.Second):
		t.Error("tail goes on after the PDP has gone")
	}
}

// lineWriter hands over what is written.
type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

func (w lineWriter) expect(t *testing.T, id string) {
	t.Helper()
	select {
	case line := <-w:
		if !strings.Contains(line, `"decision_id":"`+id+`"`) {
			t.Fatalf("got %s, want %s", line, id)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s does not come", id)
	}
}

// Without a PDP the trail in the state directory is read, and that is said.
func TestAuditWithoutAPDP(t *testing.T) {
	dir, l := auditTrail(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(home, "state", "audit"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(home, "mcpermit.yaml")
	if err := os.WriteFile(conf, []byte("policy: ./policy\nstate: ./state\nservers:\n  s: {url: \"http://127.0.0.1:1/mcp\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify"}, {"query", "--limit", "1", "-o", "json"}, {"export"}} {
		out, errs, code := mcpermit(t, append([]string{"-c", conf, "audit"}, args...)...)
		if code != 0 || !strings.Contains(errs, "no PDP answers; reading") || out == "" {
			t.Errorf("%v: exit %d, %s%s", args, code, out, errs)
		}
	}
	if _, errs, code := mcpermit(t, "-c", conf, "audit", "tail"); code != 1 || !strings.Contains(errs, "no PDP answers") {
		t.Errorf("tail: exit %d, %s", code, errs)
	}
}
