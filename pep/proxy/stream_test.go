package proxy

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// reader gives the lines of a stream as they come.
type reader struct {
	res   *http.Response
	lines *bufio.Scanner
	stop  context.CancelFunc
}

func (g *gateway) open(t *testing.T, r *http.Request) *reader {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	res, err := g.client.Do(r.WithContext(ctx))
	if err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); res.Body.Close() })
	return &reader{res, bufio.NewScanner(res.Body), stop}
}

// next returns the next line that is not blank.
func (r *reader) next() string {
	for r.lines.Scan() {
		if line := r.lines.Text(); line != "" {
			return line
		}
	}
	if err := r.lines.Err(); err != nil {
		return "error: " + err.Error()
	}
	return "end"
}

func TestStreamsAreNotBuffered(t *testing.T) {
	step := make(chan string)
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if member([]byte(body), "method") == "tools/list" {
			tools(w, r, body)
			return
		}
		for b := range step {
			say(w, b)
		}
	})
	g := newGateway(t, up.URL, &fakePDP{})
	go func() { step <- ":\n\n" }()
	s := g.open(t, g.request(http.MethodPost, call("1", "echo", "{}")))
	for _, c := range []struct{ block, want string }{
		{event(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`), `data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`},
		{"event: message\r\ndata: {\"jsonrpc\":\"2.0\",\r\ndata: \"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1}}\r\n\r\n: x", `data: {"jsonrpc":"2.0", "method":"notifications/message","params":{"level":"info","data":1}}`},
		{"\n\n" + event(result("1", `{"content":[]}`)), "data: " + result("1", `{"content":[]}`)},
	} {
		step <- c.block
		got := s.next()
		for got == ":" {
			got = s.next()
		}
		if got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	close(step)
	if got := s.next(); got != "end" {
		t.Errorf("after the answer: %q", got)
	}
	if h := s.res.Header; h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", h)
	}
}

// TestGoldenStream holds a whole stream of a legacy server to what the client
// must see of it.
func TestGoldenStream(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if member([]byte(body), "method") == "tools/list" {
			tools(w, r, body)
			return
		}
		say(w,
			"id: 1\nretry: 500\ndata: \n\n", // priming
			": a comment\n\n",
			"retry: 700\n\n",
			"id: bad\u2028data: {}\n\n",
			"event: message\nid: 2\n"+event(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"_id":1,"id":2}}}`),
			event(`{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{}}`),
			event(`{"jsonrpc":"2.0","id":10,"method":"elicitation/create","params":{"message":"m"}}`),
			event(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///secret"}}`),
			event(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///open"}}`),
			event(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`),
			event(`{"jsonrpc":"2.0","method":"notifications/vendor/thing"}`),
			event(result(`"`+ownPrefix+`1"`, toolList)),
			event(result("77", `{"late":true}`)),
			event(result("1", `{"content":[],"isError":true}`)),
		)
	})
	pdp := &fakePDP{
		hidden: map[string]bool{"file:///secret": true},
		rule: func(r *v1.DecideRequest) *v1.DecideResponse {
			switch r.GetMethod() {
			case "sampling/createMessage", "notifications/vendor/thing":
				return deny(v1.ReasonCode_REASON_CODE_POLICY, "No sampling.")
			}
			return allow()
		},
	}
	g := newGateway(t, up.URL, pdp)
	got := g.post(t, call("1", "echo", "{}"))
	want := strings.Join([]string{
		"id: 1\nretry: 500\ndata: \n\n",
		":\n\n",
		"retry: 700\n\n",
		":\n\n",
		"id: 2\n" + event(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"_id":1,"id":2}}}`),
		event(`{"jsonrpc":"2.0","id":10,"method":"elicitation/create","params":{"message":"m"}}`),
		event(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///open"}}`),
		event(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`),
		event(result("77", `{"late":true}`)),
		event(result("1", `{"content":[],"isError":true}`)),
	}, "")
	if diff := cmp.Diff(want, got.Body); diff != "" {
		t.Errorf("the client got (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"tools/call echo", "<- sampling/createMessage", "<- elicitation/create", "<- notifications/resources/updated file:///secret",
		"<- notifications/resources/updated file:///open", "<- notifications/vendor/thing",
	}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	refusal := `{"jsonrpc":"2.0","id":9,"error":{"code":1001,"message":"[POLICY DENIED] No sampling.","data":{"io.github.mcpermit/decision":{"id":"d2","reasonCode":"policy"}}}}`
	if diff := cmp.Diff([]string{call("1", "echo", "{}"), refusal}, up.calls()); diff != "" {
		t.Errorf("at the server (-want +got):\n%s", diff)
	}
	if o := pdp.outcome(t, 1); !o.GetIsError() || o.GetBytes() != int64(len(want)) || o.GetError() != "" {
		t.Errorf("outcome: %v", o)
	}
}

func TestI1_AnUnreadableMessageDoesNotPass(t *testing.T) {
	for _, c := range []struct{ name, message string }{
		{"no JSON", `{"jsonrpc":"2.0","id":1,"result":`},
		{"batch", `[` + result("1", "{}") + `]`},
		{"a request that is a response, too", `{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","result":{}}`},
		{"a request for other readers", `{"jsonrpc":"2.0","method":"notifications/progress","Method":"sampling/createMessage","id":3}`},
		{"two results", `{"jsonrpc":"2.0","id":1,"result":{},"result":{"x":1}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
				if r.Method == http.MethodPost {
					say(w, event(c.message), event(result("1", `{"after":1}`)))
					return
				}
				say(w, event(c.message), event(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`))
			})
			pdp := &fakePDP{}
			g := newGateway(t, up.URL, pdp)
			want := event(`{"jsonrpc":"2.0","id":1,"error":{"code":1003,"message":"The server's answer could not be read with certainty."}}`)
			if got := g.post(t, `{"jsonrpc":"2.0","id":1,"method":"ping"}`); got.Body != want {
				t.Errorf("POST: %q, want %q", got.Body, want)
			}
			want = event(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`)
			if got := g.do(t, g.request(http.MethodGet, "")); got.Body != want {
				t.Errorf("GET: %q, want %q", got.Body, want)
			}
		})
	}
}

func TestGetStreamsAreDecided(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, _ string) {
		if r.Header.Get("Last-Event-ID") == "9" {
			say(w, "id: 10\n"+event(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`))
			return
		}
		w.WriteHeader(http.StatusMethodNotAllowed)
	})
	effect := v1.Effect_EFFECT_ALLOW
	pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse {
		return &v1.DecideResponse{Effect: effect, Reason: "Not today.", ReasonCode: v1.ReasonCode_REASON_CODE_POLICY}
	}}
	g := newGateway(t, up.URL, pdp)
	for _, c := range []struct {
		effect v1.Effect
		last   string
		status int
		body   string
	}{
		{v1.Effect_EFFECT_ALLOW, "", 405, "not offered by the server\n"},
		{v1.Effect_EFFECT_ALLOW, "9", 200, "id: 10\n" + event(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`)},
		{v1.Effect_EFFECT_HIDE, "9", 405, "not offered\n"},
		{v1.Effect_EFFECT_DENY, "9", 403, `{"jsonrpc":"2.0","error":{"code":1003,"message":"Not today.","data":{"rule":"policy"}}}`},
	} {
		effect = c.effect
		r := g.request(http.MethodGet, "")
		if c.last != "" {
			r.Header.Set("Last-Event-ID", c.last)
		}
		if got := g.do(t, r); got.Status != c.status || got.Body != c.body {
			t.Errorf("%v: %d %q, want %d %q", c.effect, got.Status, got.Body, c.status, c.body)
		}
	}
	if diff := cmp.Diff([]string{"stream/open", "stream/open", "stream/open", "stream/open"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
}

func TestIdleStreamsAreKeptAlive(t *testing.T) {
	hold := make(chan struct{})
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, _ string) {
		say(w, ": x\n\n")
		<-hold
	})
	defer close(hold)
	g := newGateway(t, up.URL, &fakePDP{}, func(o *Options) { o.KeepAlive = 5 * time.Millisecond })
	s := g.open(t, g.request(http.MethodGet, ""))
	for range 4 {
		if got := s.next(); got != ":" {
			t.Fatalf("got %q", got)
		}
	}
	s.stop()
}

func TestAClientThatLeavesTakesTheUpstreamWithIt(t *testing.T) {
	gone := make(chan struct{})
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if member([]byte(body), "method") == "tools/list" {
			tools(w, r, body)
			return
		}
		say(w, ": x\n\n")
		<-r.Context().Done()
		close(gone)
	})
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	s := g.open(t, g.request(http.MethodPost, call("1", "echo", "{}")))
	s.next()
	s.stop()
	<-gone
	if o := pdp.outcome(t, 1); o.GetError() != "client gone" || !o.GetForwarded() {
		t.Errorf("outcome: %v", o)
	}
}

func TestModernSubscriptionsAreFiltered(t *testing.T) {
	hold := make(chan struct{})
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, _ string) {
		say(w,
			event(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{}}}`),
			event(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"secret"}}`),
			event(`{"jsonrpc":"2.0","id":1,"method":"roots/list"}`),
			event(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"open"}}`))
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	})
	pdp := &fakePDP{hidden: map[string]bool{"secret": true}}
	g := newGateway(t, up.URL, pdp, func(o *Options) { o.Servers[0].Timeout = 20 * time.Millisecond })
	body, header := modern("1", "subscriptions/listen", `"notifications":{}`)
	s := g.open(t, g.request(http.MethodPost, body, header...))
	for _, want := range []string{"acknowledged", `"uri":"open"`} {
		if got := s.next(); !strings.Contains(got, want) {
			t.Errorf("got %q, want %s", got, want)
		}
	}
	// It outlives the time-out of calls, and ends cleanly when the gateway
	// drains.
	time.AfterFunc(40*time.Millisecond, func() { g.gate.drainNow() })
	if got := s.next(); got != "end" {
		t.Errorf("got %q", got)
	}
	close(hold)
	if o := pdp.outcome(t, 1); o.GetError() != "" {
		t.Errorf("outcome: %v", o)
	}
	if diff := cmp.Diff([]string{"subscriptions/listen", "<- notifications/resources/updated secret", "<- roots/list !direction", "<- notifications/resources/updated open"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
}

func TestAnswersForClientsThatTakeOnlyStreams(t *testing.T) {
	up := newServer(t, tools)
	g := newGateway(t, up.URL, &fakePDP{hidden: map[string]bool{"secret": true}})
	got := g.post(t, call("1", "secret", "{}"), "Accept", "text/event-stream")
	want := event(`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: secret"}}`)
	if got.Header.Get("Content-Type") != "text/event-stream" || got.Body != want {
		t.Errorf("%v %q", got.Header, got.Body)
	}
}

func TestAServersFloodOfQuestionsIsBounded(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if strings.Contains(body, `"error"`) {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		var b strings.Builder
		for i := range maxAsked + 3 {
			b.WriteString(event(`{"jsonrpc":"2.0","id":` + string(rune('0'+i%10)) + `,"method":"roots/list"}`))
		}
		say(w, b.String())
		_, _ = io.WriteString(w, event(result("1", "{}")))
	})
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	got := g.post(t, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	if n := strings.Count(got.Body, "roots/list"); n != maxAsked {
		t.Errorf("%d questions passed, want %d", n, maxAsked)
	}
	if n := len(up.calls()) - 1; n != 3 {
		t.Errorf("the gateway answered %d questions itself, want 3", n)
	}
}

func TestI9_AStreamEndsWhenADecisionFindsTheGrantRevoked(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, _ string) {
		say(w, event(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a"}}`),
			event(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`))
		<-r.Context().Done()
	})
	pdp := &fakePDP{rule: func(r *v1.DecideRequest) *v1.DecideResponse {
		if r.GetMethod() == "notifications/resources/updated" {
			return deny(v1.ReasonCode_REASON_CODE_REVOKED_TOKEN, "Revoked.")
		}
		return allow()
	}}
	g := newGateway(t, up.URL, pdp)
	if got := g.do(t, g.request(http.MethodGet, "")); got.Status != 200 || got.Body != "" {
		t.Errorf("%d %q", got.Status, got.Body)
	}
	if o := pdp.outcome(t, 1); o.GetError() != "credential no longer valid" {
		t.Errorf("outcome: %v", o)
	}
}

func TestSubscriptionsCountAsStreams(t *testing.T) {
	up := newServer(t, tools)
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp, func(o *Options) { o.MaxStreams = 1 })
	other := g.gate.enter(true)
	body, header := modern("1", "subscriptions/listen", `"notifications":{}`)
	if got := g.post(t, body, header...); got.Status != 503 {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if diff := cmp.Diff([]string{"subscriptions/listen !overload"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	other.leave()
	if got := g.post(t, body, header...); got.Status != 200 {
		t.Errorf("%d %s", got.Status, got.Body)
	}
}
