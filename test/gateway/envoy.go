package gateway

import (
	"bufio"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Envoy is a running Envoy in front of the servers, with an enforcement point
// that it asks.
type Envoy struct {
	// Process is Envoy's, PEP that of `mcpermit-pep envoy`.
	Process, PEP *Process
	// AdminURL is "http://host:port" of Envoy's admin interface.
	AdminURL string

	config, socket string // the enforcement point's
}

// Envoy starts `mcpermit pdp`, `mcpermit-pep envoy` and, with the configuration
// that the latter prints, the program, which is an Envoy. It waits until Envoy
// serves, at g.URL: what a test asks of a gateway, it can ask of this one.
// Servers that are commands cannot be reached.
func (g *Gateway) Envoy(t testing.TB, program string) *Envoy {
	t.Helper()
	g.PDPUp(t)
	admin := FreeAddress(t)
	e := &Envoy{AdminURL: "http://" + admin, socket: filepath.Join(filepath.Dir(g.ConfigFile), "pep.sock")}
	e.config = g.pepConfig(t, map[string]any{"envoy": map[string]any{"listen": "unix://" + e.socket}})
	e.PEPUp(t)

	bootstrap := filepath.Join(filepath.Dir(g.ConfigFile), "envoy.yaml")
	printed := Run(t, Program(t, "mcpermit-pep"), "envoy", "config", "-c", g.ConfigFile,
		"--pep", "unix://"+e.socket, "--admin", admin, "-o", bootstrap)
	if err := printed.Wait(20 * time.Second); err != nil {
		t.Fatalf("mcpermit-pep envoy config: %v\n%s", err, printed.Output())
	}
	e.Process = Run(t, program, "-c", bootstrap, "--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warn")
	awaitListener(t, "tcp", admin, e.Process)
	awaitListener(t, "tcp", strings.TrimPrefix(g.URL, "http://"), e.Process)
	for deadline := time.Now().Add(20 * time.Second); !e.Healthy(t); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("Envoy does not find its enforcement point:\n%s\n%s", e.Process.Output(), e.PEP.Output())
		}
	}
	return e
}

// PEPUp starts the enforcement point and waits until it listens. Envoy goes
// back to it by itself.
func (e *Envoy) PEPUp(t testing.TB) {
	t.Helper()
	e.PEP = Run(t, Program(t, "mcpermit-pep"), "envoy", "-c", e.config)
	awaitListener(t, "unix", e.socket, e.PEP)
}

// Healthy says whether Envoy takes the enforcement point for healthy, where it
// asks and where it has answers read.
func (e *Envoy) Healthy(t testing.TB) bool {
	t.Helper()
	return e.Stat(t, `cluster\.mcpermit(_answers)?\.membership_healthy`) == 2
}

// Stat is the sum of those of Envoy's counters and gauges whose whole names match
// the regular expression.
func (e *Envoy) Stat(t testing.TB, name string) int {
	t.Helper()
	res, err := http.Get(e.AdminURL + "/stats?filter=" + url.QueryEscape("^("+name+")$"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	sum := 0
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		_, value, _ := strings.Cut(lines.Text(), ": ")
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		sum += n
	}
	return sum
}

// Asked is how many requests Envoy has put to its enforcement point.
func (e *Envoy) Asked(t testing.TB) int {
	t.Helper()
	return e.Stat(t, `http\.mcp\.ext_authz\.(ok|denied|error)`)
}
