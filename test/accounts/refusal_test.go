package accounts

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// TestI5_RefusedCalls: what happens when the server takes the account's token no more
// goes by what the call does. However often something is sent, it is one frame: on
// record once, and counted once.
func TestI5_RefusedCalls(t *testing.T) {
	server := startProtected(t)
	given := startProvider(t, server)
	f := newFront(t, "protected", server.withAccounts(), 1, nil)
	f.classify()
	const notAccepted = "The server does not accept the gateway's credentials."

	t.Run("a call that reads is sent once more", func(t *testing.T) {
		token, trail := f.ready("vera", "balance", "42"), f.gateways[0].Trail(t)
		server.refuseLast(false)
		before := len(server.arrivals(`"balance"`))
		f.call(0, token, "balance").is(t, "42")
		given.Grants(t, "refresh_token", 1)
		if n := len(server.arrivals(`"balance"`)) - before; n != 2 {
			t.Errorf("sent %d times, want 2", n)
		}
		f.onRecord(trail.Next(t), "balance", http.StatusOK)
		f.counted("agent:of-vera", "2")
	})

	t.Run("a call that does something is sent once, and the next passes", func(t *testing.T) {
		token, trail := f.ready("ada", "charge", "charged"), f.gateways[0].Trail(t)
		server.refuseLast(false)
		before, charged := len(server.arrivals(`"charge"`)), server.charged.Load()
		if a := f.call(0, token, "charge"); a.status != http.StatusOK || a.Error.Message != notAccepted {
			t.Errorf("refused by the server: %s", a.raw)
		}
		if n := len(server.arrivals(`"charge"`)) - before; n != 1 || server.charged.Load() != charged {
			t.Errorf("sent %d times, done %d times, want 1 and 0", n, server.charged.Load()-charged)
		}
		f.call(0, token, "charge").is(t, "charged")
		given.Grants(t, "refresh_token", 2)
		f.onRecord(trail.Next(t), "charge", http.StatusUnauthorized, http.StatusOK)
		f.counted("agent:of-ada", "3")
	})

	t.Run("nor is it when it was done and refused", func(t *testing.T) {
		token, trail := f.ready("bea", "charge", "charged"), f.gateways[0].Trail(t)
		server.refuseLast(true)
		before, charged := len(server.arrivals(`"charge"`)), server.charged.Load()
		if a := f.call(0, token, "charge"); a.status != http.StatusOK || a.Error.Message != notAccepted {
			t.Errorf("refused by the server: %s", a.raw)
		}
		if n := len(server.arrivals(`"charge"`)) - before; n != 1 || server.charged.Load() != charged+1 {
			t.Errorf("sent %d times, done %d times, want once", n, server.charged.Load()-charged)
		}
		f.call(0, token, "charge").is(t, "charged")
		f.onRecord(trail.Next(t), "charge", http.StatusUnauthorized, http.StatusOK)
		f.counted("agent:of-bea", "3")
	})
}

// ready is the token of an agent that has made a call with an account.
func (f *front) ready(person, tool, says string) (token string) {
	f.Helper()
	token = f.connected(person)
	f.call(0, token, tool).is(f.T, says)
	return token
}

// onRecord holds that calls of a tool are on record as often as the server has had an
// answer for one, and what became of each, once.
func (f *front) onRecord(records []gateway.Record, tool string, statuses ...int) {
	f.Helper()
	var calls []gateway.Record
	for _, r := range records {
		if r.Frame.Method == "tools/call" && r.Frame.Name == tool {
			calls = append(calls, r)
		}
	}
	if len(calls) != len(statuses) {
		f.Fatalf("%d calls of %s are on record, want %d", len(calls), tool, len(statuses))
	}
	for i, r := range calls {
		o, ok := gateway.Outcome{}, false
		for deadline := time.Now().Add(patience); !ok && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			o, ok = f.gateways[0].Outcomes(f)[r.DecisionID] // of which there is one at most
		}
		if r.Effect != "allow" || !o.Forwarded || o.Status != statuses[i] {
			f.Errorf("on record: %s %+v, want status %d", r.Effect, o, statuses[i])
		}
	}
}

// completed counts the calls of a tool that a replica has allowed, of each of which it
// is on record, once, that it was answered.
func (f *front) completed(g *gateway.Gateway, tool string) (n int) {
	f.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		open := 0
		outcomes := g.Outcomes(f) // fails if there are two for one
		n = 0
		for _, r := range g.All(f) {
			if r.Frame.Method != "tools/call" || r.Frame.Name != tool || r.Effect != "allow" {
				continue
			}
			if outcomes[r.DecisionID].Status == http.StatusOK {
				n++
			} else {
				open++
			}
		}
		if open == 0 || time.Now().After(deadline) {
			return n
		}
	}
}

// counted holds how much of a subject's quota is used.
func (f *front) counted(subject, want string) {
	f.Helper()
	for line := range strings.Lines(string(f.gateways[0].CLI(f, "quotas", "list", "-o", "json"))) {
		var c struct {
			Per  map[string]string
			Used string
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			f.Fatal(err)
		}
		if c.Per["subject"] == subject {
			if c.Used != want {
				f.Errorf("%s of the quota of %s are used, want %s", c.Used, subject, want)
			}
			return
		}
	}
	f.Errorf("nothing of the quota of %s is used", subject)
}
