package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mcpermit/mcpermit/test/gateway"
)

const unknownTool = "no_such_tool"

// TestI3_I4_ThroughGateway runs every pair through one `mcpermit up`: the
// filtered listing, allowed calls, denied calls, and the same answer to a
// hidden and to an unknown name. Then it looks at what arrived upstream and at
// what is on record.
func TestI3_I4_ThroughGateway(t *testing.T) {
	configured := map[string]any{}
	for _, s := range fleet.all {
		configured[s.name] = s.configuration()
	}
	g := gateway.Start(t, gateway.Config{Policy: "policies", Servers: configured})
	w := newWitness(t, g, slices.Collect(maps.Keys(configured)))
	t.Run("pairs", func(t *testing.T) {
		eachPair(t, clients(gateway.Program(t, "mcpermit-pep")), w.pair)
	})
	w.judge(t, map[string]*gateway.Process{"mcpermit": g.Process})
}

// witness has what the pairs do through one gateway, and is asked about it in
// the end.
type witness struct {
	g     *gateway.Gateway
	token string
	trail *gateway.Trail
	sent  *denials
}

func newWitness(t *testing.T, g *gateway.Gateway, servers []string) *witness {
	t.Helper()
	_, token := g.Grant(t, "agent:e2e", servers...)
	return &witness{g: g, token: token, trail: g.Trail(t), sent: newDenials()}
}

func (w *witness) pair(t *testing.T, c client, s server) {
	runPair(t, c, s, target{
		URL: w.g.Endpoint(s.name), Headers: map[string]string{"Authorization": "Bearer " + w.token},
		Gateway: w.g, Server: s.name, Token: w.token,
	}, w.sent)
}

// judge looks at the trail, at what the servers did, and at what the processes
// wrote.
func (w *witness) judge(t *testing.T, processes map[string]*gateway.Process) {
	t.Run("I5_each_denial_on_record_with_its_rule", func(t *testing.T) {
		recorded := map[string]int{}
		for _, record := range w.trail.Next(t) {
			if record.Frame.Method != "tools/call" || record.Effect != "deny" {
				continue
			}
			recorded[record.Server]++
			named := false
			for _, rule := range record.Rules {
				named = named || strings.HasPrefix(rule.Path, "policy.servers") && rule.File != "" && rule.Line > 0
			}
			if !named {
				t.Errorf("a denial of %s on %s names no rule with file and line: %+v", record.Frame.Name, record.Server, record.Rules)
			}
		}
		if diff := cmp.Diff(w.sent.byServer, recorded); diff != "" {
			t.Errorf("denied calls sent (-) and on record (+), by server:\n%s", diff)
		}
	})
	t.Run("I1_nothing_denied_or_hidden_arrived", func(t *testing.T) {
		for name, log := range fleet.logs {
			if text := log.String(); strings.Contains(text, "987654321") || strings.Contains(text, "called wipe") {
				t.Errorf("%s executed a call that policy stops:\n%s", name, text)
			}
		}
		if files, err := filepath.Glob(filepath.Join(fleet.files, "new.txt")); err != nil || len(files) > 0 {
			t.Errorf("the filesystem server executed a hidden call: %v %v", files, err)
		}
	})
	t.Run("I6_no_token_in_log_or_audit", func(t *testing.T) {
		for name, p := range processes {
			if strings.Contains(p.Output(), w.token) {
				t.Errorf("the grant token is in the log of %s", name)
			}
		}
		segments, err := filepath.Glob(filepath.Join(w.g.StateDir, "audit", "*"))
		if err != nil || len(segments) == 0 {
			t.Fatalf("no audit segments: %v", err)
		}
		for _, segment := range segments {
			if text, err := os.ReadFile(segment); err == nil && strings.Contains(string(text), w.token) {
				t.Errorf("the grant token is in %s", segment)
			}
		}
	})
}

// denials counts the calls that should be denied and on record.
type denials struct {
	mu       sync.Mutex
	byServer map[string]int
}

func newDenials() *denials { return &denials{byServer: map[string]int{}} }

func (d *denials) add(server string, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.byServer[server] += n
}

// runPair has one client do everything on one server.
func runPair(t *testing.T, c client, s server, to target, sent *denials) {
	allowed, denied := c.calls(s.allowed), slices.Clone(c.calls(s.denied))
	if !c.hidesUnlisted {
		denied = append(denied, s.refused...)
	}
	operations := []operation{{Op: "list"}}
	for _, want := range slices.Concat(allowed, denied) {
		operations = append(operations, want.operation)
	}
	operations = append(operations, s.hidden, call(unknownTool, s.hidden.Arguments))

	outcomes := perform(t, c, s, to, operations)
	if outcomes == nil {
		return
	}
	sent.add(s.name, len(denied))
	listing, rest := outcomes[1], outcomes[2:]
	if listing.Error != nil {
		t.Errorf("list: error %v %s", listing.Error.Code, listing.Error.Message)
	} else if got := slices.Sorted(slices.Values(listing.Tools)); !slices.Equal(got, s.listed) {
		t.Errorf("listed %v, want %v", got, s.listed)
	}
	for i, want := range allowed {
		checkAllowed(t, c, s, want, rest[i])
	}
	rest = rest[len(allowed):]
	for i, want := range denied {
		checkDenied(t, want, rest[i])
	}
	rest = rest[len(denied):]
	checkUnknown(t, c, s.hidden.Name, rest[0])
	checkUnknown(t, c, unknownTool, rest[1])
}

func checkDenied(t *testing.T, want expectation, got outcome) {
	t.Helper()
	text := "[POLICY DENIED] " + want.text
	if got.Error != nil {
		t.Errorf("%s %v: error %v %s, want the result %q", want.Name, want.Arguments, got.Error.Code, got.Error.Message, text)
	} else if !got.IsError || got.Text != text {
		t.Errorf("%s %v: answered %q (isError %t), want %q", want.Name, want.Arguments, got.Text, got.IsError, text)
	}
}

// checkUnknown wants the one answer that hidden and unknown names have in
// common. A client that does not even call an unlisted tool says so itself.
func checkUnknown(t *testing.T, c client, name string, got outcome) {
	t.Helper()
	var code any = float64(-32602)
	message := "Unknown tool: " + name
	if c.hidesUnlisted {
		code, message = "tool_not_found", "Tool '"+name+"' not found on server."
	}
	if got.Error == nil {
		t.Errorf("%s: answered %q (isError %t), want error %v %s", name, got.Text, got.IsError, code, message)
		return
	}
	// The TypeScript SDK v1 puts the code in front of the message.
	if told := strings.TrimPrefix(got.Error.Message, "MCP error -32602: "); told != message || got.Error.Code != code {
		t.Errorf("%s: error %v %s, want %v %s", name, got.Error.Code, got.Error.Message, code, message)
	}
}
