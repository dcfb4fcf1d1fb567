// Package quickstart does what the first screen of README.md says, and holds
// the answers against those that it shows.
package quickstart

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// try is one of the calls of the README: its title and the answer it shows.
type try struct{ title, answer string }

// shown reads the second console block: titles after "# ", answers below.
func shown(t *testing.T) []try {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(blocks) < 2 || !bytes.Contains(blocks[0][1], []byte("$ make run")) || !bytes.Contains(blocks[0][1], []byte("$ make test")) {
		t.Fatal("the README's first console block does not show make run and make test")
	}
	var out []try
	lines := strings.Split(strings.TrimSpace(string(blocks[1][1])), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		out = append(out, try{strings.TrimPrefix(lines[i], "# "), lines[i+1]})
	}
	if len(out) != 4 {
		t.Fatalf("the README shows %d calls, want 4", len(out))
	}
	return out
}

func TestREADME(t *testing.T) {
	want := shown(t)
	state := t.TempDir()
	p := run(t, state)
	output := p.Output()
	for _, line := range []string{"Client URL: http://127.0.0.1:8700/mcp/stripe/", "Grant token: mcpg_"} {
		if !strings.Contains(output, line) {
			t.Errorf("make run does not print %q", line)
		}
	}
	for _, w := range want {
		command := between(output, "# "+w.title+"\n", "\n")
		if !strings.HasPrefix(command, "curl ") {
			t.Fatalf("make run prints no curl line under %q:\n%s", w.title, output)
		}
		answer, err := exec.Command("sh", "-c", command).Output()
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		if !matches(w.answer, string(answer)) {
			t.Errorf("%s answers\n%s\nthe README shows\n%s", w.title, answer, w.answer)
		}
		if strings.Contains(w.title, "list") && bytes.Contains(answer, []byte("delete_customer")) {
			t.Errorf("delete_customer is listed: %s", answer)
		}
	}
	referenceCase(t, p, state)
}

// referenceCase holds what only the logs show: the denied refund never arrived,
// the allowed one unchanged, and the record names the rule.
func referenceCase(t *testing.T, p *gateway.Process, state string) {
	t.Helper()
	output := p.Output()
	const refund = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_refund","arguments":{"charge_id":"ch_105","amount":5000}}}`
	if n := strings.Count(output, "demo: received "+refund+"\n"); n != 1 {
		t.Errorf("the allowed refund arrived %d times, want once, unchanged", n)
	}
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "demo: received") && strings.Contains(line, "500000") {
			t.Errorf("the denied refund arrived: %s", line)
		}
	}
	g := gateway.Gateway{StateDir: state}
	var denials []gateway.Record
	for _, r := range g.All(t) {
		if r.Effect == "deny" {
			denials = append(denials, r)
		}
	}
	if len(denials) != 1 || len(denials[0].Rules) != 1 {
		t.Fatalf("denials on record: %+v, want one with one rule", denials)
	}
	if r := denials[0].Rules[0]; r.Path != "policy.servers.stripe.deny" || r.ID != "refund-cap" || !strings.HasSuffix(r.File, "stripe.rego") || r.Line == 0 {
		t.Errorf("the rule on record is %+v", r)
	}
}

// run does `make run` with a state directory of the test's own.
func run(t *testing.T, state string) *gateway.Process {
	t.Helper()
	for _, addr := range []string{"127.0.0.1:8700", "127.0.0.1:8701", "127.0.0.1:9000"} {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Fatalf("somebody else listens on %s, which the example uses", addr)
		}
	}
	example, err := os.ReadFile("../../bundles/example/mcpermit.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(state, "mcpermit.yaml")
	policy, err := filepath.Abs("../../bundles/starter/policy")
	if err != nil {
		t.Fatal(err)
	}
	example = bytes.Replace(example, []byte("state: ../../state"), []byte("state: "+state), 1)
	example = bytes.Replace(example, []byte("policy: ../starter/policy"), []byte("policy: {source: "+policy+", deadline: 2s}"), 1) // the machine may be busy
	if err := os.WriteFile(config, example, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MCPERMIT_CONFIG", config)
	p := gateway.Run(t, "make", "-C", "../..", "run")
	for deadline := time.Now().Add(5 * time.Minute); !strings.Contains(p.Output(), "audit tail"); time.Sleep(50 * time.Millisecond) {
		if p.Exited() || time.Now().After(deadline) {
			t.Fatalf("make run did not get ready:\n%s", p.Output())
		}
	}
	t.Cleanup(func() {
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	})
	return p
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

// matches compares an answer with one in which "…" stands for anything.
func matches(shown, got string) bool {
	parts := strings.Split(shown, "…")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile("^(?s)" + strings.Join(parts, ".*") + "\n?$").MatchString(got)
}
