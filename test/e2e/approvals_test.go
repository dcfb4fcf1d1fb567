package e2e

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
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
	desk   v1.ApprovalServiceClient
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
		c := &caller{T: t, g: g, client: all[i], server: fleetServer(t, pair[1]), desk: desk(t, g)}
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

// desk is where people decide: the command line's own way to the decision point.
func desk(t *testing.T, g *gateway.Gateway) v1.ApprovalServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+filepath.Join(g.StateDir, "admin.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return v1.NewApprovalServiceClient(conn)
}

// pending waits until a call of the client waits.
func (c *caller) pending() *v1.Approval {
	c.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		res, err := c.desk.ListApprovals(c.Context(), &v1.ListApprovalsRequest{Limit: 100})
		if err != nil {
			c.Fatal(err)
		}
		for _, a := range res.GetApprovals() {
			if a.GetGrantId() == c.grant {
				return a
			}
		}
	}
	c.Fatal("no call waits for a person")
	return nil
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
	c.approve(a)
	c.answered(<-done, c.sum(), c.link(a))
	c.reached(1)
	c.decided("approve", "allow")
}

func (c *caller) refusedWhileHeld() {
	done := c.callsAside("accept")
	a := c.pending()
	time.Sleep(thinking)
	if _, err := c.desk.RefuseCall(c.Context(), &v1.RefuseCallRequest{Id: a.GetId(), Reason: "not today"}); err != nil {
		c.Fatal(err)
	}
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
	c.approve(c.pending())
	c.answered(c.calls(), c.sum())
	c.toldToRepeat(c.calls()) // an approval lets one call pass
	c.reached(1)
	c.decided("approve", "allow", "approve")
}

func (c *caller) approve(a *v1.Approval) {
	c.Helper()
	if _, err := c.desk.ApproveCall(c.Context(), &v1.ApproveCallRequest{Id: a.GetId()}); err != nil {
		c.Fatal(err)
	}
}

func (c *caller) sum() string { return strconv.Itoa(c.addend + 1) }

func (c *caller) link(a *v1.Approval) string { return c.g.AdminURL + "/approvals/" + a.GetId() }

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
		!strings.Contains(got.Text, a.GetId()) || !strings.HasSuffix(got.Text, "then repeat the same call.") {
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
