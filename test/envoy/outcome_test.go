package envoy

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// TestI5_OutcomesAndCost holds that an ordinary call has no answer read, that a
// listing has, and that of both it is on record what became of them.
func TestI5_OutcomesAndCost(t *testing.T) {
	m := newMesh(t, nil)
	if r := m.post(t, listFrame); r.status != http.StatusOK { // the gateway's own question comes first
		t.Fatal(r)
	}
	trail := m.Trail(t)
	started := func() int { return m.envoy.Stat(t, `http\.mcp\.ext_proc\.streams_started`) }
	before := started()
	if before == 0 {
		t.Fatal("the first listing was not read")
	}
	call := m.request(t, modernFrame)
	call.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	call.Header.Set("Mcp-Method", "tools/call")
	call.Header.Set("Mcp-Name", "echo")
	if r := do(t, call); r.status != http.StatusOK || r.body != echoed {
		t.Errorf("a call: %v", r)
	}
	if n := started() - before; n != 0 {
		t.Errorf("an ordinary call started %d ext_proc streams", n)
	}
	list := m.post(t, listFrame)
	if n := started() - before; n != 1 {
		t.Errorf("a listing started %d ext_proc streams", n)
	}
	if list.status != http.StatusOK || !strings.Contains(list.body, `"echo"`) || strings.Contains(list.body, "secret") {
		t.Errorf("a listing: %v", list)
	}
	if r := m.post(t, neverFrame); !strings.Contains(r.body, "[POLICY DENIED] Never.") || m.up.called("never") != 0 {
		t.Errorf("a denied call: %v", r)
	}

	records := trail.Next(t)
	if len(records) != 3 || records[0].Frame.Name != "echo" || records[1].Frame.Method != "tools/list" || records[2].Effect != "deny" {
		t.Fatalf("on record: %+v", records)
	}
	called, listed := m.outcome(t, records[0].DecisionID), m.outcome(t, records[1].DecisionID)
	if want := (gateway.Outcome{Forwarded: true, Status: http.StatusOK, Bytes: int64(len(echoed))}); called != want {
		t.Errorf("the call's outcome is %+v, want %+v", called, want)
	}
	if want := (gateway.Outcome{Forwarded: true, Status: http.StatusOK, Bytes: int64(len(list.body))}); listed != want {
		t.Errorf("the listing's outcome is %+v, want %+v", listed, want)
	}
	if _, has := m.Outcomes(t)[records[2].DecisionID]; has {
		t.Error("a denied call has an outcome")
	}
}

// outcome waits for the outcome of a decision.
func (m *mesh) outcome(t *testing.T, decision string) (o gateway.Outcome) {
	t.Helper()
	began := time.Now()
	within(t, "the outcome is on record", func() bool {
		all := m.Outcomes(t)
		_, has := all[decision]
		o = all[decision]
		return has
	})
	t.Logf("the outcome was on record %v after it was looked for", time.Since(began).Round(time.Millisecond))
	return o
}
