package e2e

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mcpermit/mcpermit/test/gateway"
)

// TestI8_Approvals has real clients call a tool that a person has to approve.
// Those of 2026-07-28 that open links are asked, and held while the approval is
// pending; all others are told to repeat the call.
func TestI8_Approvals(t *testing.T) {
	configured := map[string]any{}
	for _, name := range []string{"python", "typescript-v2"} {
		configured[name] = fleetServer(t, name).configuration()
	}
	g := gateway.Start(t, gateway.Config{Policy: "approvals", Servers: configured})
	all := clients(gateway.Program(t, "mcpermit-pep"))
	t.Run("clients", func(t *testing.T) {
		for _, pair := range [][2]string{
			{"python", "typescript-v2"}, {"typescript-v2", "python"}, {"go", "python"}, {"pep-stdio", "typescript-v2"},
		} {
			newCaller(t, g, all, pair, "approved", (*caller).approvedWhileHeld)
			newCaller(t, g, all, pair, "refused", (*caller).refusedWhileHeld)
			newCaller(t, g, all, pair, "declined", (*caller).declinesTheLink)
		}
		for _, pair := range [][2]string{
			{"python", "python"},
			{"python-legacy", "typescript-v2"},
			{"typescript-v1", "python"},
			{"typescript-v2-legacy", "python"},
			{"go-legacy", "typescript-v2"},
			{"pep-stdio-legacy", "python"},
			{"mcp-remote-legacy", "typescript-v2"},
		} {
			newCaller(t, g, all, pair, "repeated", (*caller).repeatsTheCall)
		}
	})
}

func fleetServer(t *testing.T, name string) server {
	t.Helper()
	i := slices.IndexFunc(fleet.all, func(s server) bool { return s.name == name })
	if i < 0 {
		t.Fatalf("there is no server %s", name)
	}
	return fleet.all[i]
}

// caller is one client that calls one server under a grant of its own, and the
// person who decides on its calls.
type caller struct {
	*testing.T
	g      *gateway.Gateway
	client client
	server server
	grant  string
	to     target
	addend int // of this caller's calls alone
	call   operation
}

// addends are numbers that nothing else has in its log.
var addends atomic.Int64

func init() { addends.Store(31_415_000) }

func newCaller(t *testing.T, g *gateway.Gateway, all []client, pair [2]string, how string, do func(*caller)) {
	t.Helper()
	t.Run(pair[0]+"/"+pair[1]+"/"+how, func(t *testing.T) {
		t.Parallel()
		i := slices.IndexFunc(all, func(c client) bool { return c.name == pair[0] })
		c := &caller{T: t, g: g, client: all[i], server: fleetServer(t, pair[1])}
		grant, token := g.Grant(t, "agent:"+t.Name(), pair[1])
		c.grant = grant
		c.to = target{
			URL: g.Endpoint(pair[1]), Headers: map[string]string{"Authorization": "Bearer " + token},
			Gateway: g, Server: pair[1], Token: token,
		}
		c.addend = int(addends.Add(1))
		c.call = call("add", map[string]any{"a": c.addend, "b": 1})
		do(c)
	})
}

// waiting is a call that waits for a person, as the command line shows it.
type waiting struct{ ID, Grant string }

// pending waits until a call of the client waits.
func (c *caller) pending() waiting {
	c.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for line := range bytes.Lines(c.g.CLI(c.T, "approvals", "list", "-o", "json")) {
			var w waiting
			if err := json.Unmarshal(line, &w); err != nil {
				c.Fatalf("%v: %s", err, line)
			}
			if w.Grant == c.grant {
				return w
			}
		}
	}
	c.Fatal("no call waits for a person")
	return waiting{}
}

// calls has the client make the call once.
func (c *caller) calls() outcome {
	c.Helper()
	return perform(c.T, c.client, c.server, c.to, []operation{c.call})[1]
}

// callsAside does the same beside the test, with what it answers to links.
func (c *caller) callsAside(elicit string) <-chan outcome {
	done := make(chan outcome, 1)
	to := c.to
	to.Elicit = elicit
	go func() {
		outcomes, err := c.client.perform(c.Context(), to, []operation{c.call})
		if err != nil || len(outcomes) < 2 {
			c.Errorf("the client failed: %v %+v", err, outcomes)
			outcomes = make([]outcome, 2)
		}
		done <- outcomes[1]
	}()
	return done
}

// thinking is how long a person thinks: long enough for a client that is not held to
// have used up all rounds.
const thinking = time.Second

func (c *caller) approvedWhileHeld() {
	done := c.callsAside("accept")
	a := c.pending()
	time.Sleep(thinking)
	c.reached(0)
	c.g.CLI(c.T, "approvals", "approve", a.ID)
	c.answered(<-done, c.sum(), c.link(a))
	c.reached(1)
	c.decided("approve", "allow")
}

func (c *caller) refusedWhileHeld() {
	done := c.callsAside("accept")
	a := c.pending()
	time.Sleep(thinking)
	c.g.CLI(c.T, "approvals", "refuse", a.ID, "--reason", "not today")
	got := <-done
	if !got.IsError || !strings.Contains(got.Text, "[POLICY DENIED]") || !strings.Contains(got.Text, "not today") {
		c.Errorf("answered %+v", got)
	}
	c.reached(0)
	c.decided("approve", "deny")
}

func (c *caller) declinesTheLink() {
	got := <-c.callsAside("decline")
	c.toldToRepeat(got, c.link(c.pending()))
	c.reached(0)
	c.decided("approve", "approve")
}

func (c *caller) repeatsTheCall() {
	c.toldToRepeat(c.calls())
	c.g.CLI(c.T, "approvals", "approve", c.pending().ID)
	c.answered(c.calls(), c.sum())
	c.toldToRepeat(c.calls()) // an approval lets one call pass
	c.reached(1)
	c.decided("approve", "allow", "approve")
}

func (c *caller) sum() string { return strconv.Itoa(c.addend + 1) }

func (c *caller) link(a waiting) string { return c.g.AdminURL + "/approvals/" + a.ID }

func (c *caller) answered(got outcome, text string, links ...string) {
	c.Helper()
	if got.Error != nil || got.IsError || got.Text != text {
		c.Errorf("answered %+v (error %v), want %s", got, got.Error, text)
	}
	if diff := cmp.Diff(links, got.Links, cmpopts.EquateEmpty()); diff != "" {
		c.Errorf("links (-want +got):\n%s", diff)
	}
}

func (c *caller) toldToRepeat(got outcome, links ...string) {
	c.Helper()
	a := c.pending()
	if !got.IsError || !strings.HasPrefix(got.Text, "[APPROVAL NEEDED] Sums need a person.") ||
		!strings.Contains(got.Text, a.ID) || !strings.HasSuffix(got.Text, "then repeat the same call.") {
		c.Errorf("answered %+v (error %v)", got, got.Error)
	}
	if diff := cmp.Diff(links, got.Links, cmpopts.EquateEmpty()); diff != "" {
		c.Errorf("links (-want +got):\n%s", diff)
	}
}

// reached is how often the call has arrived at the server.
func (c *caller) reached(want int) {
	c.Helper()
	if log := fleet.logs[c.server.name].String(); strings.Count(log, strconv.Itoa(c.addend)) != want {
		c.Errorf("want %d calls of %d in the server's log:\n%s", want, c.addend, log)
	}
}

// decided wants one record for each frame of the call, with these effects (I5).
func (c *caller) decided(want ...string) {
	c.Helper()
	var effects []string
	for _, r := range c.g.All(c.T) {
		if r.Frame.Method == "tools/call" && r.Grant == c.grant {
			effects = append(effects, r.Effect)
		}
	}
	if diff := cmp.Diff(want, effects); diff != "" {
		c.Errorf("on record (-want +got):\n%s", diff)
	}
}
