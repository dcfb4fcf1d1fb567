package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"cl","version":"3"}}}`

// sessions is a stateful server: it gives out session ids and wants them back.
func sessions() func(w http.ResponseWriter, r *http.Request, body string) {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request, body string) {
		if member([]byte(body), "method") == "initialize" {
			w.Header().Set("Mcp-Session-Id", "session-"+string(rune('a'+n.Add(1)-1)))
			replyJSON(w, result(idOf(body), `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}`))
			return
		}
		switch id := r.Header.Get("Mcp-Session-Id"); {
		case id == "":
			http.Error(w, "no session", http.StatusBadRequest)
		case id == "session-z":
			http.Error(w, "gone", http.StatusNotFound)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusOK)
		default:
			tools(w, r, body)
		}
	}
}

func TestT4_ASessionBelongsToWhoOpenedIt(t *testing.T) {
	up := newServer(t, sessions())
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	opened := g.post(t, initialize)
	id := opened.Header.Get("Mcp-Session-Id")
	if opened.Status != 200 || id != "session-a" {
		t.Fatalf("initialize: %d %v", opened.Status, opened.Header)
	}
	for _, c := range []struct {
		name, token, session string
		status               int
		rule                 string
	}{
		{"its owner", "alice", id, 200, ""},
		{"the same grant with another token", "alice2", id, 200, ""},
		{"another subject, first seen", "bob", id, 404, ""},
		{"another subject, known", "bob", id, 404, "session-of-another"},
		{"nobody's session", "alice", "session-q", 404, "unknown-session"},
		{"no session at all", "alice", "", 400, ""},
		{"its owner still", "alice", id, 200, ""},
	} {
		before := len(up.calls())
		pdp.forget()
		header := []string{"Authorization", "Bearer " + c.token}
		if c.session != "" {
			header = append(header, "Mcp-Session-Id", c.session)
		}
		got := g.post(t, call("5", "echo", "{}"), header...)
		if got.Status != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, got.Status, c.status, got.Body)
		}
		if reached := len(up.calls()) - before; reached != 0 && c.status == 404 {
			t.Errorf("%s: the call reached the server", c.name)
		}
		if q := pdp.last(); q.GetFault().GetRule() != c.rule || len(pdp.questions()) != 1 {
			t.Errorf("%s: on record as %q", c.name, pdp.questions())
		} else if c.status == 200 && (q.GetContext().GetSession() != id || q.GetClient().GetName() != "cl" || q.GetContext().GetProtocolVersion() != "2025-11-25") {
			t.Errorf("%s: decided with %v %v", c.name, q.GetContext(), q.GetClient())
		}
	}
	for _, verb := range []string{http.MethodGet, http.MethodDelete} {
		if got := g.do(t, g.request(verb, "", "Mcp-Session-Id", id, "Authorization", "Bearer bob")); got.Status != 404 {
			t.Errorf("%s by another subject: %d", verb, got.Status)
		}
	}
	if got := g.do(t, g.request(http.MethodDelete, "", "Mcp-Session-Id", id)); got.Status != 200 {
		t.Errorf("DELETE: %d %s", got.Status, got.Body)
	}
	if got := g.post(t, call("6", "echo", "{}"), "Mcp-Session-Id", id); got.Status != 404 {
		t.Errorf("after DELETE: %d", got.Status)
	}
	g.post(t, initialize)
	eventually(t, "the end of all acts", func() bool {
		g.dialogs.mu.Lock()
		defer g.dialogs.mu.Unlock()
		uses := 0
		for _, d := range g.dialogs.byKey {
			uses += d.uses
		}
		return uses == 0 && len(g.dialogs.byKey) == 1
	})
}

func TestT4_AServersSecondUseOfASessionIDIsRefused(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		w.Header().Set("Mcp-Session-Id", "the-only-one")
		replyJSON(w, result(idOf(body), `{}`))
	})
	g := newGateway(t, up.URL, &fakePDP{})
	if got := g.post(t, initialize); got.Header.Get("Mcp-Session-Id") != "the-only-one" {
		t.Fatalf("first: %v", got)
	}
	got := g.post(t, initialize, "Authorization", "Bearer bob")
	if got.Header.Get("Mcp-Session-Id") != "" || !strings.Contains(got.Body, "belongs to somebody else") {
		t.Errorf("second: %v", got)
	}
}

func TestSessionsAreForgottenWhenIdleOrMany(t *testing.T) {
	s := newDialogs(time.Hour, 2)
	open := func(id string) *dialog {
		d, ok := s.open(&dialog{key: dialogKey{session: id}})
		if !ok {
			t.Fatalf("%s is somebody else's", id)
		}
		return d
	}
	known := func(id string) bool {
		d := s.take(dialogKey{session: id})
		s.release(d)
		return d != nil
	}
	busy := open("busy")
	for _, id := range []string{"a", "b", "c"} {
		s.release(open(id))
	}
	if !known("busy") || known("a") || !known("c") {
		t.Errorf("kept: busy %v a %v b %v c %v", known("busy"), known("a"), known("b"), known("c"))
	}
	s.release(busy)
	s.idle = 0
	if known("c") {
		t.Error("an idle session is still known")
	}
}

func TestI10_AResponseOfTheClientNeedsAQuestionOfTheServer(t *testing.T) {
	asked := make(chan struct{})
	finish := make(chan struct{})
	serve := sessions()
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if member([]byte(body), "method") != "tools/call" {
			serve(w, r, body)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"jsonrpc\":\"2.0\",\"id\":\"q0\",\"method\":\"sampling/createMessage\",\"params\":{}}\n\n")
		_, _ = io.WriteString(w, "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"q1\",\"method\":\"roots/list\"}\n\n")
		_ = http.NewResponseController(w).Flush()
		close(asked)
		<-finish
		_, _ = io.WriteString(w, "data: "+result(idOf(body), `{"content":[]}`)+"\n\n")
	})
	pdp := &fakePDP{rule: func(r *v1.DecideRequest) *v1.DecideResponse {
		if r.GetMethod() == "sampling/createMessage" {
			return deny(v1.ReasonCode_REASON_CODE_POLICY, "No sampling.")
		}
		return allow()
	}}
	g := newGateway(t, up.URL, pdp)
	id := g.post(t, initialize).Header.Get("Mcp-Session-Id")

	done := make(chan answer)
	go func() { done <- g.post(t, call("5", "echo", "{}"), "Mcp-Session-Id", id) }()
	<-asked
	eventually(t, "the question to the client", func() bool { return strings.Contains(strings.Join(pdp.questions(), ","), "<- roots/list") })

	roots := `{"jsonrpc":"2.0","id":"q1","result":{"roots":[]}}`
	for _, c := range []struct {
		name, body, token string
		status            int
	}{
		{"the refused question", strings.Replace(roots, "q1", "q0", 1), "alice", 400},
		{"another id", strings.Replace(roots, "q1", "q2", 1), "alice", 400},
		{"another subject", roots, "bob", 404},
		{"the answer", roots, "alice", 202},
		{"the answer again", roots, "alice", 400},
	} {
		if got := g.post(t, c.body, "Mcp-Session-Id", id, "Authorization", "Bearer "+c.token); got.Status != c.status {
			t.Errorf("%s: %d %s", c.name, got.Status, got.Body)
		}
	}
	close(finish)
	if got := <-done; !strings.Contains(got.Body, `"id":5,"result"`) || !strings.Contains(got.Body, "id: 1\ndata: ") {
		t.Errorf("the stream:\n%s", got.Body)
	}
	pdp.mu.Lock()
	defer pdp.mu.Unlock()
	for _, q := range pdp.asked {
		if q.GetKind() == v1.FrameKind_FRAME_KIND_RESPONSE && q.GetFault() == nil {
			if q.GetMethod() != "roots/list" || string(q.GetArguments()) != `{"roots":[]}` {
				t.Errorf("the response was decided as %s with %s", q.GetMethod(), q.GetArguments())
			}
			return
		}
	}
	t.Error("the response was not decided on")
}

func TestI5_AConnectionThatBreaksOffIsOnRecord(t *testing.T) {
	up := newServer(t, tools)
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "POST /mcp/s HTTP/1.1\r\nHo"); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	eventually(t, "the record", func() bool { return len(pdp.questions()) > 0 })
	if diff := cmp.Diff([]string{"!http"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
}
