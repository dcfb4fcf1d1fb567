package envoy

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const restarts = 20

// TestI1_EnforcementPointKilledUnderLoad kills and restarts `mcpermit-pep envoy`
// while calls go on.
func TestI1_EnforcementPointKilledUnderLoad(t *testing.T) {
	m := newMesh(t, nil)
	m.survives(t, func() { m.envoy.PEP.Kill() }, func() { m.envoy.PEPUp(t) })
}

// TestI1_DecisionPointKilledUnderLoad kills and restarts `mcpermit pdp`.
func TestI1_DecisionPointKilledUnderLoad(t *testing.T) {
	m := newMesh(t, nil)
	m.survives(t, func() { m.Process.Kill() }, func() { m.PDPUp(t) })
}

// survives kills a part and starts it again, under a load of calls of which one
// half must be denied: none of these arrives, no connection is stuck, and every
// answer is one that a client can read.
func (m *mesh) survives(t *testing.T, kill, start func()) {
	t.Helper()
	load := m.load(t)
	within(t, "calls pass", func() bool { return load.allowed.Load() > 0 && load.denied.Load() > 0 })
	var slowest time.Duration
	for i := range restarts {
		seen := load.allowed.Load() + load.denied.Load()
		within(t, "calls go on", func() bool { return load.allowed.Load()+load.denied.Load() >= seen+20 })
		kill()
		within(t, "calls are refused for want of a decision", func() bool { return !m.passes(t) })
		if i%4 == 3 { // long enough for Envoy to take it for dead
			within(t, "Envoy takes the enforcement point for dead, or it is not what is away", func() bool {
				return m.envoy.Stat(t, `cluster\.mcpermit\.membership_healthy`) == 0 || !m.envoy.PEP.Exited()
			})
		}
		start()
		began := time.Now()
		within(t, "service is back", func() bool { return m.passes(t) })
		slowest = max(slowest, time.Since(began))
	}
	load.end()
	t.Logf("%d restarts: %d calls allowed, %d denied, %d without a decision; back after %v at most",
		restarts, load.allowed.Load(), load.denied.Load(), load.undecided.Load(), slowest.Round(time.Millisecond))
	if load.odd.Load() > 0 {
		t.Errorf("%d odd answers", load.odd.Load())
	}
	if n := m.up.called("never"); n > 0 {
		t.Errorf("%d denied calls arrived", n)
	}
	within(t, "no request is under way", func() bool {
		return m.envoy.Stat(t, `http\.mcp\.downstream_rq_active|cluster\.server_up\.upstream_rq_active|cluster\.mcpermit_answers\.upstream_rq_active`) == 0
	})
	// I5: what was executed was recorded as allowed before.
	recorded := 0
	for _, r := range m.All(t) {
		if r.Effect == "allow" && r.Frame.Method == "tools/call" {
			recorded++
		}
	}
	if n := m.up.called("echo"); n > recorded {
		t.Errorf("I5: %d calls were executed, %d are on record", n, recorded)
	}
}

// passes says whether a call passes now.
func (m *mesh) passes(t *testing.T) bool {
	t.Helper()
	return m.post(t, echoFrame).body == echoed
}

// load is what eight clients see, each on a connection of its own.
type load struct {
	allowed, denied, undecided, odd atomic.Int64

	stop    atomic.Bool
	clients sync.WaitGroup
}

func (m *mesh) load(t *testing.T) *load {
	t.Helper()
	l := &load{}
	for range 8 {
		l.clients.Go(func() {
			client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := 0; !l.stop.Load(); i++ {
				frame := echoFrame
				if i%2 == 1 {
					frame = neverFrame
				}
				res, err := client.Do(m.request(t, frame))
				if err != nil {
					l.odd.Add(1)
					t.Logf("no answer: %v", err)
					continue
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				l.count(t, frame, res.StatusCode, string(body), err)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	l.stop.Store(true)
	l.clients.Wait()
}

func (l *load) count(t *testing.T, frame string, status int, body string, err error) {
	switch {
	case err == nil && frame == echoFrame && status == http.StatusOK && body == echoed:
		l.allowed.Add(1)
	case err == nil && frame == neverFrame && status == http.StatusOK && strings.Contains(body, "[POLICY DENIED] Never."):
		l.denied.Add(1)
	case err == nil && strings.HasPrefix(body, `{"jsonrpc":"2.0",`) && strings.Contains(body, `"code":1003`): // no decision, or nobody to read the answer
		l.undecided.Add(1)
		time.Sleep(5 * time.Millisecond) // what comes at once must not be all the load
	default:
		l.odd.Add(1)
		t.Logf("an odd answer to %s: %d %s %v", frame, status, body, err)
	}
}
