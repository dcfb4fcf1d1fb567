// Package gateway builds MCPermit's programs and runs them for whole-program
// tests, with a configuration, a state directory and free ports of their own.
package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mcpermit-bin-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir+"/", "./cmd/...")
	cmd.Dir = root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/...: %w\n%s", err, out)
	}
	return dir, nil
})

// root is the module's directory: tests run in the directory of their package.
func root() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			panic("not inside the module")
		}
		dir = filepath.Dir(dir)
	}
}

// Program returns the path of a program of cmd/, built once for each test binary.
func Program(t testing.TB, name string) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// Config is what a test says of its gateway; the rest of mcpermit.yaml is
// filled in.
type Config struct {
	// Policy is a directory of Rego.
	Policy string
	// Servers is the `servers` mapping, as JSON can write it.
	Servers map[string]any
	// Extra are further top-level keys, or members of those that are filled in.
	Extra map[string]any
}

// Gateway is a running `mcpermit up` (or `pdp`).
type Gateway struct {
	// URL is "http://host:port", AdminURL that of the admin listener.
	URL, AdminURL string
	// ConfigFile and StateDir are the program's; its PDP listens for
	// enforcement points at PDP.
	ConfigFile, StateDir, PDP string
	Process                   *Process

	program string
}

// Start runs `mcpermit up` until the test ends, and waits until it serves. It
// also offers decisions on a unix socket for `mcpermit-pep`.
func Start(t testing.TB, c Config) *Gateway {
	t.Helper()
	g := Prepare(t, c)
	g.Up(t)
	return g
}

// Prepare writes the configuration without starting anything.
func Prepare(t testing.TB, c Config) *Gateway {
	t.Helper()
	dir, err := os.MkdirTemp("", "mcpermit-") // short: a unix socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listen, admin := FreeAddress(t), FreeAddress(t)
	g := &Gateway{
		URL: "http://" + listen, AdminURL: "http://" + admin,
		ConfigFile: filepath.Join(dir, "mcpermit.yaml"), StateDir: filepath.Join(dir, "state"),
		PDP: "unix://" + filepath.Join(dir, "pdp.sock"), program: Program(t, "mcpermit"),
	}
	policy, err := filepath.Abs(c.Policy)
	if err != nil {
		t.Fatal(err)
	}
	doc := map[string]any{
		"listen": listen, "admin": admin, "state": g.StateDir, "servers": c.Servers,
		// The deadlines are ample: on a busy machine a test must not fail for them.
		"policy": map[string]any{"source": policy, "deadline": "2s"},
		"pdp":    map[string]any{"address": g.PDP, "deadline": "5s"},
	}
	for key, value := range c.Extra {
		known, ok := doc[key].(map[string]any)
		if more, isMap := value.(map[string]any); ok && isMap {
			maps.Copy(known, more)
		} else {
			doc[key] = value
		}
	}
	b, err := json.Marshal(doc) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.ConfigFile, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// Configure changes top-level keys of the configuration, before anything runs.
func (g *Gateway) Configure(t testing.TB, keys map[string]any) {
	t.Helper()
	g.edit(t, g.ConfigFile, func(doc map[string]any) { maps.Copy(doc, keys) })
}

// edit writes the configuration to a file, changed.
func (g *Gateway) edit(t testing.TB, name string, change func(doc map[string]any)) {
	t.Helper()
	b, err := os.ReadFile(g.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	change(doc)
	if b, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Up starts `mcpermit up` and waits until it serves.
func (g *Gateway) Up(t testing.TB) {
	t.Helper()
	g.Process = Run(t, g.program, "up", "-c", g.ConfigFile)
	g.await(t)
}

// Split starts `mcpermit pdp` and, in front of the servers, `mcpermit-pep
// proxy`, as two processes. Process is the former.
func (g *Gateway) Split(t testing.TB) (proxy *Process) {
	t.Helper()
	g.PDPUp(t)
	config := g.pepConfig(t, nil)
	proxy = Run(t, Program(t, "mcpermit-pep"), "proxy", "-c", config)
	awaitListener(t, "tcp", strings.TrimPrefix(g.URL, "http://"), proxy)
	return proxy
}

// PDPUp starts `mcpermit pdp` and waits until it serves.
func (g *Gateway) PDPUp(t testing.TB) {
	t.Helper()
	g.Process = Run(t, g.program, "pdp", "-c", g.ConfigFile)
	g.await(t)
}

func (g *Gateway) await(t testing.TB) {
	t.Helper()
	awaitListener(t, "tcp", strings.TrimPrefix(g.AdminURL, "http://"), g.Process)
}

// pepConfig is the configuration of an enforcement point: with an admin address
// of its own, without what only a PDP needs, and with what is added.
func (g *Gateway) pepConfig(t testing.TB, added map[string]any) string {
	t.Helper()
	name := filepath.Join(filepath.Dir(g.ConfigFile), "pep.yaml")
	g.edit(t, name, func(doc map[string]any) {
		delete(doc, "policy")
		doc["admin"] = FreeAddress(t)
		maps.Copy(doc, added)
	})
	return name
}

// awaitListener waits until somebody listens at the address, as long as the
// process lives that should.
func awaitListener(t testing.TB, network, addr string, p *Process) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial(network, addr); err == nil {
			conn.Close()
			return
		}
		if p.Exited() {
			break
		}
	}
	t.Fatalf("nobody listens on %s:\n%s", addr, p.Output())
}

// CLI runs the command line against the gateway and returns its standard
// output. A failure ends the test.
func (g *Gateway) CLI(t testing.TB, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(g.program, append([]string{"-c", g.ConfigFile}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("mcpermit %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// Grant creates a grant for the servers and returns its id and token.
func (g *Gateway) Grant(t testing.TB, subject string, servers ...string) (id, token string) {
	t.Helper()
	args := []string{"grants", "create", "--subject", subject, "-o", "json"}
	for _, s := range servers {
		args = append(args, "--server", s)
	}
	var grant struct{ ID, Token string }
	if err := json.Unmarshal(g.CLI(t, args...), &grant); err != nil {
		t.Fatal(err)
	}
	return grant.ID, grant.Token
}

// Endpoint is the client URL of a server.
func (g *Gateway) Endpoint(server string) string { return g.URL + "/mcp/" + server + "/" }

// FreeAddress returns a loopback address that nobody listens on now.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Process is a program that runs beside the test.
type Process struct {
	Cmd  *exec.Cmd
	out  syncBuffer
	done chan struct{}
	err  error
}

// Run starts a program that is ended with the test, its whole process group
// with it.
func Run(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	p := &Process{Cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = &p.out, &p.out
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.Cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s %s:\n%s", filepath.Base(name), strings.Join(args, " "), p.Output())
		}
	})
	return p
}

// Output is what the program has written so far.
func (p *Process) Output() string { return p.out.String() }

// Exited says whether the program has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal to the program alone.
func (p *Process) Signal(s os.Signal) error { return p.Cmd.Process.Signal(s) }

// Wait waits until the program ends.
func (p *Process) Wait(within time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		return errors.New("still running")
	}
}

// Kill ends the program at once and waits for its end.
func (p *Process) Kill() {
	if !p.Exited() {
		_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
	}
	<-p.done
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
