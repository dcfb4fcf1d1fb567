package envoy

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// TestI1_ListingBrokenOffHalfway kills the enforcement point while a listing is
// on its way through it: nothing that it has not read passes.
func TestI1_ListingBrokenOffHalfway(t *testing.T) {
	const document = `{"jsonrpc":"2.0","id":"list","result":` + toolsResult + `}`
	half := strings.Index(document, "secret") + len("secret")
	for _, c := range []struct{ name, kind, first, rest string }{
		{"document", "application/json", document[:half], document[half:]},
		{"event", "text/event-stream", ": here it comes\n\ndata: " + document[:half], document[half:] + "\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMesh(t, nil)
			if r := m.post(t, listFrame); r.status != http.StatusOK || !strings.Contains(r.body, `"echo"`) {
				t.Fatalf("before the fault: %v", r)
			}
			sent, broken := make(chan struct{}), make(chan struct{})
			m.up.list(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				_, _ = io.WriteString(w, c.first)
				_ = http.NewResponseController(w).Flush()
				close(sent)
				<-broken
				_, _ = io.WriteString(w, c.rest)
			})
			got := make(chan reply, 1)
			go func() {
				res, err := http.DefaultTransport.RoundTrip(m.request(t, listFrame))
				if err != nil {
					got <- reply{err: err}
					return
				}
				defer res.Body.Close()
				text, err := io.ReadAll(res.Body)
				got <- reply{res.StatusCode, res.Header, string(text), err}
			}()
			<-sent
			within(t, "the answer is read", func() bool {
				return m.envoy.Stat(t, `cluster\.mcpermit_answers\.upstream_rq_active`) > 0
			})
			m.envoy.PEP.Kill()
			close(broken)
			r := <-got
			if strings.Contains(r.body, "secret") || strings.Contains(r.body, `"tools"`) {
				t.Errorf("an unread listing passed: %v", r)
			}
			if r.status == http.StatusOK && r.err == nil {
				t.Errorf("a listing that was broken off looks whole: %v", r)
			}
			t.Logf("the client got %d %q %v", r.status, r.body, r.err)

			m.up.list(nil)
			m.envoy.PEPUp(t)
			within(t, "listings are back", func() bool {
				r := m.post(t, listFrame)
				return strings.Contains(r.body, `"echo"`) && !strings.Contains(r.body, "secret")
			})
		})
	}
}

// TestI1_SlowDecisionIsNone stops the decision point without ending it.
func TestI1_SlowDecisionIsNone(t *testing.T) {
	for _, c := range []struct {
		name, deadline, want string
		status, kept         int
	}{
		// The enforcement point gives up first, and knows the frame's id.
		{"point", "100ms", `{"jsonrpc":"2.0","id":"echo","error":{"code":1003,"message":"No decision could be had in time; try again."}}`, http.StatusOK, 0},
		// Envoy gives up first.
		{"envoy", "20s", `{"jsonrpc":"2.0","id":null,"error":{"code":1003,"message":"No decision could be had in time; try again.","data":{"rule":"pdp_unavailable"}}}`, http.StatusServiceUnavailable, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMesh(t, map[string]any{"pdp": map[string]any{"deadline": c.deadline}})
			within(t, "calls pass", func() bool { return m.passes(t) })
			executed := m.up.called("echo")
			if err := m.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			r := m.post(t, echoFrame)
			if r.status != c.status || r.body != c.want {
				t.Errorf("got %v, want %d %s", r, c.status, c.want)
			}
			if err := m.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			within(t, "calls pass again", func() bool { return m.passes(t) })
			if n := m.up.called("echo"); n != executed+1 {
				t.Errorf("%d calls were executed, want 1", n-executed)
			}
			// What is on record as forwarded is what was executed. A decision that
			// reaches the enforcement point after Envoy has gone is one on which
			// nothing was forwarded; one that does not reach it has no outcome.
			within(t, "the outcomes are on record", func() bool {
				forwarded, kept := 0, 0
				outcomes := m.Outcomes(t)
				for _, r := range m.All(t) {
					if o, has := outcomes[r.DecisionID]; has && o.Forwarded && r.Frame.Name == "echo" {
						forwarded++
					} else if has && r.Frame.Name == "echo" {
						kept++
					}
				}
				return forwarded == m.up.called("echo") && kept == c.kept
			})
		})
	}
}

// TestI1_FrameOverTheLimit sends frames that are too long, with and without
// saying so before.
func TestI1_FrameOverTheLimit(t *testing.T) {
	m := newMesh(t, map[string]any{"limits": map[string]any{"frame_bytes": limit}})
	within(t, "calls pass", func() bool { return m.passes(t) })
	executed := m.up.called("echo")
	pad := func(to int) string { return echoFrame + strings.Repeat(" ", to-len(echoFrame)) }
	for _, declared := range []bool{true, false} {
		for _, size := range []int{limit, limit + 1, limit + 2, 2 * limit, 20 * limit} {
			r := m.request(t, pad(size))
			if !declared {
				r.ContentLength, r.GetBody = -1, nil
			}
			got := do(t, r)
			if size <= limit {
				if executed++; got.body != echoed {
					t.Errorf("%d bytes: %v", size, got)
				}
			} else if got.status != http.StatusRequestEntityTooLarge || !strings.Contains(got.body, `"rule":"too-large"`) {
				t.Errorf("%d bytes (declared: %t): %v", size, declared, got)
			}
		}
	}
	if n := m.up.called("echo"); n != executed {
		t.Errorf("%d calls were executed, want %d", n, executed)
	}
}
