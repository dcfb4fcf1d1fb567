// Package faults breaks what MCPermit stands on, while it is in use, and holds
// that nothing passes that should not, that every answer is clear, and that
// service comes back by itself.
package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// TestI1_PDPKilledUnderLoad kills and restarts the PDP while calls go on.
func TestI1_PDPKilledUnderLoad(t *testing.T) {
	u := newUpstream(t)
	g := prepare(t, u, nil)
	proxy := g.Split(t)
	_, token := g.Grant(t, "ada", "up")
	c := newClient(g, token)
	if _, body := c.call("first", "echo"); !done(body) {
		t.Fatalf("before any fault: %s", body)
	}

	var stop atomic.Bool
	var wg sync.WaitGroup
	var answered, allowed, odd atomic.Int64
	for w := range 8 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				status, body := c.call(fmt.Sprintf("w%d-%d", w, i), "echo")
				answered.Add(1)
				switch {
				case done(body):
					allowed.Add(1)
				case status == http.StatusOK && strings.Contains(body, `"error"`), strings.Contains(body, "isError"):
				default:
					odd.Add(1)
					t.Logf("an odd answer: %d %s", status, body)
				}
			}
		})
	}
	for range 5 {
		time.Sleep(200 * time.Millisecond) // calls go on
		g.Process.Kill()
		began := time.Now()
		if _, body := c.call("away", "echo"); done(body) {
			t.Error("a call passed without a PDP")
		} else if took := time.Since(began); took > 2*time.Second {
			t.Errorf("denied only after %v", took)
		}
		g.PDPUp(t)
		back := time.Now()
		for {
			if _, body := c.call("back", "echo"); done(body) {
				break
			}
			if time.Since(back) > 5*time.Second {
				t.Fatal("service does not come back by itself")
			}
		}
	}
	stop.Store(true)
	wg.Wait()
	if proxy.Exited() || odd.Load() > 0 || allowed.Load() == 0 {
		t.Errorf("proxy exited %v, %d odd answers, %d of %d allowed", proxy.Exited(), odd.Load(), allowed.Load(), answered.Load())
	}
	// I5: whatever was executed was recorded as allowed before.
	recorded := 0
	for _, r := range g.All(t) {
		if r.Effect == "allow" && r.Frame.Method == "tools/call" {
			recorded++
		}
	}
	if n := int(u.executed.Load()); n > recorded {
		t.Errorf("I5: %d calls executed, %d on record", n, recorded)
	}
}

// TestDrain holds that a call in flight at SIGTERM is answered, new ones are
// not taken, and the program ends by itself.
func TestDrain(t *testing.T) {
	u := newUpstream(t)
	g := prepare(t, u, nil)
	g.Up(t)
	_, token := g.Grant(t, "ada", "up")
	c := newClient(g, token)
	var answers sync.Map
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, body := c.call(fmt.Sprint(i), "slow")
			answers.Store(i, body)
		})
	}
	for u.executed.Load() < 8 {
		time.Sleep(5 * time.Millisecond)
	}
	if err := g.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	answers.Range(func(i, body any) bool {
		if !done(body.(string)) {
			t.Errorf("call %v was lost: %s", i, body)
		}
		return true
	})
	if err := g.Process.Wait(10 * time.Second); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if status, _ := c.call("late", "echo"); status != 0 {
		t.Errorf("a call after the end was answered with %d", status)
	}
	// The outcomes of the last calls are in the trail.
	if n := strings.Count(readAll(t, filepath.Join(g.StateDir, "audit")), `"type":"outcome"`); n < 8 {
		t.Errorf("%d outcomes on record, want 8", n)
	}
}

// TestUpstreamFaults holds that a broken upstream gives clear answers and
// nothing else breaks.
func TestUpstreamFaults(t *testing.T) {
	u := newUpstream(t)
	g := prepare(t, u, map[string]any{"limits": map[string]any{"answer_bytes": 64 << 10}})
	g.Up(t)
	_, token := g.Grant(t, "ada", "up")
	c := newClient(g, token)
	for _, tool := range []string{"hang", "reset"} {
		status, body := c.call("1", tool)
		if status == 0 || !strings.Contains(body, `"id":"1"`) || done(body) {
			t.Errorf("%s: %d %s", tool, status, body)
		}
		if _, body := c.call("2", "echo"); !done(body) {
			t.Errorf("after %s: %s", tool, body)
		}
	}
	for name, listing := range map[string]string{
		"oversized": `{"tools":[` + strings.Repeat(`{"name":"echo","inputSchema":{"type":"object"}},`, 4000) + `{"name":"x"}]}`,
		"invalid":   `{"tools":[{"name":"echo","name":"never"}]}`,
		"not one":   `{"tools":"echo"}`,
	} {
		u.listing.Store(&listing)
		if status, body := list(t, c); strings.Contains(body, `"result"`) || !strings.Contains(body, `"error"`) {
			t.Errorf("%s listing: %d %.200s", name, status, body)
		}
	}
	u.listing.Store(nil)
	if _, body := list(t, c); !strings.Contains(body, `"echo"`) || strings.Contains(body, `"never"`) {
		t.Errorf("a good listing again: %s", body)
	}
	u.CloseClientConnections()
	u.Close()
	if status, body := c.call("3", "echo"); status == 0 || !strings.Contains(body, `"error"`) && !strings.Contains(body, "isError") {
		t.Errorf("without an upstream: %d %s", status, body)
	}
}

func list(t *testing.T, c *client) (status int, body string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + c.token}}
	res, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	if err := res.Write(&b); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b.String()
}

// TestI11_Reload changes the policy of a running program, for good and for bad.
func TestI11_Reload(t *testing.T) {
	u := newUpstream(t)
	dir := t.TempDir()
	good, err := os.ReadFile("policy/up.rego")
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.Prepare(t, gateway.Config{Policy: dir, Servers: map[string]any{"up": map[string]any{"url": u.URL}}})
	g.Up(t)
	_, token := g.Grant(t, "ada", "up")
	c := newClient(g, token)

	// Nothing there yet: denied, and not ready.
	if _, body := c.call("1", "echo"); done(body) {
		t.Error("a call passed without a policy")
	}
	if status := get(t, g.AdminURL+"/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz without a policy: %d", status)
	}
	if status := get(t, g.AdminURL+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d", status)
	}
	file := filepath.Join(dir, "up.rego")
	write(t, file, string(good))
	eventually(t, "the first policy", func() bool { _, body := c.call("2", "echo"); return done(body) })
	if status := get(t, g.AdminURL+"/readyz"); status != http.StatusOK {
		t.Errorf("/readyz with a policy: %d", status)
	}
	// A bad one changes nothing but the status.
	write(t, file, "package policy.servers.up\nallow contains")
	eventually(t, "the failure in the status", func() bool {
		return strings.Contains(string(g.CLI(t, "policy", "status", "-o", "json")), "up.rego")
	})
	if _, body := c.call("3", "echo"); !done(body) {
		t.Errorf("after a bad policy: %s", body)
	}
	// A stricter one is in force without a restart.
	write(t, file, "package policy.servers.up\n\ndeny contains \"Closed.\" if input.method == \"tools/call\"\n")
	eventually(t, "the stricter policy", func() bool {
		_, body := c.call("4", "echo")
		return strings.Contains(body, "[POLICY DENIED] Closed.")
	})
}

// TestI6_NoSecretAnywhere plants secrets and looks for them in everything that
// the programs write.
func TestI6_NoSecretAnywhere(t *testing.T) {
	u := newUpstream(t)
	g := prepare(t, u, map[string]any{"log": map[string]any{"level": "debug"}})
	g.Up(t)
	_, token := g.Grant(t, "ada", "up")
	c := newClient(g, token)
	if _, body := c.call("1", "echo"); !done(body) {
		t.Fatalf("not allowed: %s", body)
	}
	u.mu.Lock()
	h := u.headers
	u.mu.Unlock()
	if h.Get("X-Key") != "upstream-secret-5021" {
		t.Error("the upstream did not get its credential")
	}
	if got := fmt.Sprint(h); strings.Contains(got, token) {
		t.Error("the client's token reached the upstream")
	}
	c.call("2", "never")
	c.call("3", "nothing")
	bad := newClient(g, token[:len(token)-1]+"x")
	bad.call("4", "echo")
	metrics := fetch(t, g.AdminURL+"/metrics")
	if !strings.Contains(metrics, "mcpermit_decisions") {
		t.Errorf("/metrics has no decisions:\n%s", metrics)
	}
	for where, text := range map[string]string{
		"log": g.Process.Output(), "state": readAll(t, g.StateDir), "metrics": metrics,
		"audit": string(g.CLI(t, "audit", "query", "-o", "json")), "grants": string(g.CLI(t, "grants", "list", "-o", "json")),
	} {
		for _, secret := range []string{token, token[len(token)-30:], "upstream-secret-5021"} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is in the %s", where)
			}
		}
		if where == "metrics" && strings.Contains(text, "nothing") {
			t.Error("T12: metrics name a tool")
		}
	}
}

// TestI9_RevokedAtOnce revokes through the command line.
func TestI9_RevokedAtOnce(t *testing.T) {
	u := newUpstream(t)
	g := prepare(t, u, nil)
	g.Up(t)
	id, token := g.Grant(t, "ada", "up")
	c := newClient(g, token)
	if _, body := c.call("1", "echo"); !done(body) {
		t.Fatalf("not allowed: %s", body)
	}
	g.CLI(t, "grants", "revoke", id)
	if status, body := c.call("2", "echo"); status != http.StatusUnauthorized || u.executed.Load() != 1 {
		t.Errorf("after revocation: %d %s", status, body)
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	if err := res.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 15 s", what)
		}
	}
}

// readAll is the content of every regular file below dir.
func readAll(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(name)
		b.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
