package proxy

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

type lister struct {
	asked atomic.Int64
	list  atomic.Value // func() string
	key   string       // wanted in Authorization
}

func (l *lister) serve(w http.ResponseWriter, r *http.Request, body string) {
	if l.key != "" && r.Header.Get("Authorization") != l.key {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if member([]byte(body), "method") == "tools/list" {
		l.asked.Add(1)
		cursor := ""
		members([]byte(body), func(name string, value []byte) bool {
			if name == "params" {
				cursor = member(value, "cursor")
			}
			return true
		})
		replyJSON(w, result(idOf(body), l.list.Load().(func(string) string)(cursor)))
		return
	}
	tools(w, r, body)
}

func fixed(s string) func(string) string { return func(string) string { return s } }

func TestDefinitionsReachTheDecision(t *testing.T) {
	l := new(lister)
	l.list.Store(func(cursor string) string {
		switch cursor {
		case "":
			return `{"tools":[{"name":"echo","v":1}],"nextCursor":"2"}`
		case "2":
			return `{"tools":[],"nextCursor":"3"}`
		default:
			return `{"tools":[{"name":"sum","v":2}]}`
		}
	})
	up := newServer(t, l.serve)
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	for _, c := range []struct {
		name       string
		presence   v1.Presence
		definition string
	}{
		{"echo", v1.Presence_PRESENCE_LISTED, `{"name":"echo","v":1}`},
		{"sum", v1.Presence_PRESENCE_LISTED, `{"name":"sum","v":2}`},
		{"mul", v1.Presence_PRESENCE_ABSENT, ""},
	} {
		g.post(t, call("1", c.name, "{}"))
		target := pdp.last().GetTarget()
		if target.GetPresence() != c.presence || string(target.GetDefinition()) != c.definition {
			t.Errorf("%s: %v", c.name, target)
		}
	}
	if n := l.asked.Load(); n != 3 {
		t.Errorf("the server was asked for %d pages, want 3", n)
	}
	pdp.mu.Lock()
	defer pdp.mu.Unlock()
	if len(pdp.lists) != 1 || pdp.lists[0].GetDecisionId() != "" || len(pdp.lists[0].GetItems()) != 2 {
		t.Errorf("the PDP's catalog was told: %v", pdp.lists)
	}
}

func TestAListingIsAskedForOnceByMany(t *testing.T) {
	l := new(lister)
	release := make(chan struct{})
	l.list.Store(func(string) string { <-release; return toolList })
	up := newServer(t, l.serve)
	g := newGateway(t, up.URL, &fakePDP{})
	done := make(chan answer)
	for range 16 {
		go func() { done <- g.post(t, call("1", "echo", "{}")) }()
	}
	eventually(t, "the question", func() bool { return l.asked.Load() == 1 })
	close(release)
	for range 16 {
		if got := <-done; got.Status != 200 {
			t.Errorf("%d %s", got.Status, got.Body)
		}
	}
	if n := l.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestNoListingIsAskedForWithoutAToken(t *testing.T) {
	l := new(lister)
	l.list.Store(fixed(toolList))
	up := newServer(t, l.serve)
	g := newGateway(t, up.URL, &fakePDP{})
	if got := g.post(t, call("1", "echo", "{}"), "Authorization", "-"); got.Status != 401 {
		t.Errorf("status %d", got.Status)
	}
	if n := len(up.requests()); n != 0 {
		t.Errorf("the server got %d requests", n)
	}
}

func TestAListingThatCannotBeHadLeavesItToThePDP(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if member([]byte(body), "method") == "tools/list" {
			replyJSON(w, `{"jsonrpc":"2.0","id":`+idOf(body)+`,"error":{"code":-32000,"message":"not now"}}`)
			return
		}
		tools(w, r, body)
	})
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	for range 2 {
		if got := g.post(t, call("1", "echo", "{}")); got.Status != 200 || pdp.last().GetTarget().GetPresence() != v1.Presence_PRESENCE_UNSPECIFIED {
			t.Errorf("%d %s, target %v", got.Status, got.Body, pdp.last().GetTarget())
		}
	}
	if n := len(up.requests()); n != 3 {
		t.Errorf("the server got %d requests, want one question and two calls", n)
	}
}

func TestAServerWithoutToolsHasNone(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, _ *http.Request, body string) {
		replyJSON(w, `{"jsonrpc":"2.0","id":`+idOf(body)+`,"error":{"code":-32601,"message":"Method not found"}}`)
	})
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	g.post(t, call("1", "echo", "{}"))
	if p := pdp.last().GetTarget().GetPresence(); p != v1.Presence_PRESENCE_ABSENT {
		t.Errorf("presence %v", p)
	}
}

func TestASessionsListingIsLearntFromItsClientAndRenewed(t *testing.T) {
	l := new(lister)
	l.list.Store(fixed(`{"tools":[{"name":"echo","v":1}]}`))
	changed := make(chan struct{})
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		switch {
		case member([]byte(body), "method") == "initialize":
			w.Header().Set("Mcp-Session-Id", "s1")
			replyJSON(w, result("0", `{}`))
		case r.Method == http.MethodGet:
			say(w, ": hello\n\n")
			<-changed
			say(w, event(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`))
		default:
			l.serve(w, r, body)
		}
	})
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	g.post(t, initialize)
	g.post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`, "Mcp-Session-Id", "s1")
	definition := func() string {
		g.post(t, call("1", "echo", "{}"), "Mcp-Session-Id", "s1")
		return string(pdp.last().GetTarget().GetDefinition())
	}
	if got := definition(); got != `{"name":"echo","v":1}` || l.asked.Load() != 1 {
		t.Errorf("learnt %s, asked %d times", got, l.asked.Load())
	}
	l.list.Store(fixed(`{"tools":[{"name":"echo","v":2}]}`))
	close(changed)
	g.do(t, g.request(http.MethodGet, "", "Mcp-Session-Id", "s1"))
	if got := definition(); got != `{"name":"echo","v":2}` || l.asked.Load() != 2 {
		t.Errorf("after list_changed: %s, asked %d times", got, l.asked.Load())
	}
}

func TestAFilteredQuestionTeachesNothing(t *testing.T) {
	l := new(lister)
	l.list.Store(fixed(`{"tools":[{"name":"sum"}]}`))
	up := newServer(t, l.serve)
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	g.post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"only":"sum"}}`)
	g.post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"com.example/only":"sum"}}}`)
	l.list.Store(fixed(toolList))
	g.post(t, call("1", "echo", "{}"))
	if p := pdp.last().GetTarget().GetPresence(); p != v1.Presence_PRESENCE_LISTED {
		t.Errorf("presence %v", p)
	}
}

func TestI6_AListingBehindCredentialsIsAskedForByDecision(t *testing.T) {
	l := &lister{key: "Bearer upstream-key"}
	l.list.Store(fixed(toolList))
	up := newServer(t, l.serve)
	pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse {
		return allow(setHeader("Authorization", "Bearer upstream-key"))
	}}
	g := newGateway(t, up.URL, pdp)
	g.post(t, call("1", "echo", "{}"))
	if diff := cmp.Diff([]string{"tools/list", "tools/call echo"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	if target := pdp.last().GetTarget(); target.GetPresence() != v1.Presence_PRESENCE_LISTED {
		t.Errorf("target %v", target)
	}
	if o := pdp.outcome(t, 1); !o.GetForwarded() || o.GetListed() != 3 {
		t.Errorf("the question's outcome: %v", o)
	}
	g.post(t, call("1", "sum", "{}"))
	if n := len(pdp.questions()); n != 3 {
		t.Errorf("%d decisions, want 3", n)
	}
	if strings.Contains(g.logs.String(), "upstream-key") || strings.Contains(g.logs.String(), "alice") {
		t.Error("a secret is in the log")
	}
}

func TestARecordIsRenewedAsideWhenANameIsMissed(t *testing.T) {
	l := new(lister)
	l.list.Store(fixed(toolList))
	up := newServer(t, l.serve)
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	g.post(t, call("1", "newtool", "{}"))
	l.list.Store(fixed(`{"tools":[{"name":"newtool"}]}`))
	r := &g.upstreams["s"].shelf.tools
	r.mu.Lock()
	r.at = time.Now().Add(-2 * missAge)
	r.mu.Unlock()
	g.post(t, call("1", "newtool", "{}"))
	eventually(t, "the renewal", func() bool { return l.asked.Load() == 2 })
	eventually(t, "the new tool", func() bool {
		return strings.Contains(g.post(t, call("1", "newtool", "{}")).Body, "done")
	})
}

func TestWhoMayNotListKeepsNobodyElseFromIt(t *testing.T) {
	l := &lister{key: "Bearer upstream-key"}
	l.list.Store(fixed(toolList))
	up := newServer(t, l.serve)
	pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse {
		return allow(setHeader("Authorization", "Bearer upstream-key"))
	}}
	g := newGateway(t, up.URL, pdp)
	for range 3 {
		g.post(t, call("1", "echo", "{}"), "Authorization", "Bearer mallory")
	}
	if diff := cmp.Diff([]string{"tools/list", "tools/call echo", "tools/call echo", "tools/call echo"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	g.post(t, call("1", "echo", "{}"))
	if p := pdp.last().GetTarget().GetPresence(); p != v1.Presence_PRESENCE_LISTED {
		t.Errorf("presence %v", p)
	}
}

func TestAListingHadWithoutCredentialsIsNotTrustedOnceThereAreSome(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if r.Header.Get("X-Key") == "" && member([]byte(body), "method") == "tools/list" {
			replyJSON(w, result(idOf(body), `{"tools":[{"name":"echo"}]}`))
			return
		}
		tools(w, r, body)
	})
	pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse { return allow(setHeader("X-Key", "k")) }}
	g := newGateway(t, up.URL, pdp)
	g.post(t, call("1", "echo", "{}"))
	g.post(t, call("2", "sum", "{}"))
	if diff := cmp.Diff([]string{"tools/call echo", "tools/list", "tools/call sum"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	if p := pdp.last().GetTarget().GetPresence(); p != v1.Presence_PRESENCE_LISTED {
		t.Errorf("presence %v", p)
	}
}
