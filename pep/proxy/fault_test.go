package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pep"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`

func failed(text string) string {
	return `{"jsonrpc":"2.0","id":1,"error":{"code":1003,"message":"` + text + `"}}`
}

func TestUpstreamsThatMisbehaveAreContained(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	const unread = "The server's answer could not be read with certainty."
	for _, c := range []struct {
		name    string
		reply   func(w http.ResponseWriter, r *http.Request)
		status  int
		body    string
		outcome string
	}{
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example/", http.StatusTemporaryRedirect)
		}, 200, failed("The server answered with a redirect, which is not followed."), "answer refused: The server answered with a redirect, which is not followed."},
		{"unauthorized", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="http://evil.example"`)
			w.WriteHeader(http.StatusUnauthorized)
		}, 200, failed("The server does not accept the gateway's credentials."), "answer refused: The server does not accept the gateway's credentials."},
		{"forbidden", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, 200, failed("The server does not accept the gateway's credentials."), ""},
		{"HTML", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<p>secret")
		}, 200, failed(unread), ""},
		{"bad request without JSON", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusBadRequest) }, 400, failed("The server answered with HTTP 400."), "answer refused: HTTP 400 without a message"},
		{"bad request with other JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"detail":"secret"}`)
		}, 400, failed("The server answered with HTTP 400."), ""},
		{"an error message with a status", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}`)
		}, 404, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}`, "-"},
		{"an error message without an id", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}`)
		}, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}`, "-"},
		{"server error", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusInternalServerError) }, 200, failed(unread), ""},
		{"empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }, 200, failed(unread), ""},
		{"brotli", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			replyJSON(w, result("1", "{}"))
		}, 200, failed("The server's answer is too long, or coded in a way that is not known here."), ""},
		{"a request for an answer", func(w http.ResponseWriter, _ *http.Request) {
			replyJSON(w, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`)
		}, 200, failed("The server answered another request."), ""},
		{"reset before the answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 200, failed("The connection to the server broke before it had answered."), "upstream reset"},
		{"reset within JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			replyJSON(w, `{"jsonrpc":"2.0"`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 200, failed("The connection to the server broke before it had answered."), "upstream reset"},
		{"reset within a stream", func(w http.ResponseWriter, _ *http.Request) {
			say(w, ": x\n\n", "data: {\"jsonrpc\"")
			panic(http.ErrAbortHandler)
		}, 200, ":\n\n" + event(failed("The connection to the server broke before it had answered.")), "upstream reset"},
		{"a stream that ends early", func(w http.ResponseWriter, _ *http.Request) { say(w, ": x\n\n") }, 200, ":\n\n" + event(failed("The connection to the server broke before it had answered.")), "upstream reset"},
		{"silence", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}, 200, failed("The server did not answer in time."), "upstream timeout"},
		{"silence within JSON", func(w http.ResponseWriter, r *http.Request) {
			replyJSON(w, `{"jsonrpc":"2.0"`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, 200, failed("The server did not answer in time."), "upstream timeout"},
		{"silence within a stream", func(w http.ResponseWriter, r *http.Request) {
			say(w, ": x\n\n")
			<-r.Context().Done()
		}, 200, ":\n\n" + event(failed("The server did not answer in time.")), "upstream timeout"},
		{"an event too long", func(w http.ResponseWriter, r *http.Request) {
			say(w, "data: ", strings.Repeat("x", 5000))
			<-r.Context().Done()
		}, 200, event(failed(unread)), "answer refused: too-large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := newServer(t, func(w http.ResponseWriter, r *http.Request, _ string) { c.reply(w, r) })
			pdp := &fakePDP{}
			g := newGateway(t, up.URL, pdp, func(o *Options) {
				o.Servers[0].Timeout = 300 * time.Millisecond
				o.Servers[0].AnswerBytes = 4096
			})
			got := g.post(t, ping)
			if got.Status != c.status || got.Body != c.body {
				t.Errorf("got %d %q, want %d %q", got.Status, got.Body, c.status, c.body)
			}
			for _, h := range []string{"WWW-Authenticate", "Location", "Server", "Set-Cookie"} {
				if v := got.Header.Get(h); v != "" {
					t.Errorf("the client got %s: %s", h, v)
				}
			}
			o := pdp.outcome(t, 1)
			switch {
			case !o.GetForwarded(), (o.GetError() == "") != (c.outcome == "-"):
				t.Errorf("outcome: %v", o)
			case c.outcome != "" && c.outcome != "-" && o.GetError() != c.outcome:
				t.Errorf("outcome %q, want %q", o.GetError(), c.outcome)
			}
			if strings.Contains(got.Body, "secret") {
				t.Error("something unread reached the client")
			}
			if n := len(up.requests()); n != 1 {
				t.Errorf("the server got %d requests, want 1", n)
			}
		})
	}
}

func TestR3_ABrokenStreamThatCanBeResumedIsLeftToTheClient(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if member([]byte(body), "method") == "initialize" {
			w.Header().Set("Mcp-Session-Id", "s1")
			replyJSON(w, result("0", `{}`))
			return
		}
		say(w, "id: 1\ndata: \n\n", "data: {\"jsonrpc\"")
		panic(http.ErrAbortHandler)
	})
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	g.post(t, initialize)
	if got := g.post(t, ping, "Mcp-Session-Id", "s1"); got.Body != "id: 1\ndata: \n\n" {
		t.Errorf("got %q", got.Body)
	}
	if o := pdp.outcome(t, 2); o.GetError() != "upstream reset" {
		t.Errorf("outcome: %v", o)
	}
}

func TestANotificationIsAcknowledged(t *testing.T) {
	status := 202
	up := newServer(t, func(w http.ResponseWriter, _ *http.Request, _ string) { w.WriteHeader(status) })
	g := newGateway(t, up.URL, &fakePDP{})
	note := `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	for _, c := range [][2]int{{202, 202}, {200, 202}, {204, 202}, {400, 400}, {500, 502}} {
		status = c[0]
		got := g.post(t, note)
		if got.Status != c[1] || (got.Body == "") != (c[1] == 202) {
			t.Errorf("upstream %d: %d %q", c[0], got.Status, got.Body)
		}
	}
}

func TestAnUnreachableServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + l.Addr().String()
	l.Close()
	pdp := &fakePDP{}
	g := newGateway(t, dead, pdp)
	if got := g.post(t, ping); got.Status != 200 || got.Body != failed("The server cannot be reached; try again.") {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if o := pdp.outcome(t, 1); o.GetForwarded() || o.GetError() != "upstream unreachable" {
		t.Errorf("outcome: %v", o)
	}
}

// trip is a RoundTripper that is no network.
type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAnOwnTransport(t *testing.T) {
	pdp := &fakePDP{}
	var subject string
	fail := false
	g := newGateway(t, "", pdp, func(o *Options) {
		o.Servers[0].URL = nil
		o.Servers[0].PerSubject = true
		o.Servers[0].Transport = trip(func(r *http.Request) (*http.Response, error) {
			subject = SubjectFrom(r.Context())
			b, _ := io.ReadAll(r.Body)
			if fail {
				return nil, fmt.Errorf("the program is not running: %w", ErrNotSent)
			}
			return &http.Response{
				StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
				Body: io.NopCloser(strings.NewReader(result(idOf(string(b)), toolList))),
			}, nil
		})
	})
	if got := g.post(t, ping); got.Status != 200 || subject != "alice" {
		t.Errorf("%d %s, subject %q", got.Status, got.Body, subject)
	}
	// Now that the subject is known, its own listing is asked for.
	if got := g.post(t, call("1", "nosuch", "{}")); !strings.Contains(got.Body, "Unknown tool") || subject != "alice" {
		t.Errorf("%s, subject %q", got.Body, subject)
	}
	fail = true
	if got := g.post(t, ping); got.Body != failed("The server cannot be reached; try again.") {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if o := pdp.outcome(t, len(pdp.questions())); o.GetForwarded() {
		t.Errorf("outcome: %v", o)
	}
}

func TestI1_NoDecisionNoForwarding(t *testing.T) {
	up := newServer(t, tools)
	for _, c := range []struct {
		name   string
		answer func() (*v1.DecideResponse, error)
		body   string
	}{
		{"error", func() (*v1.DecideResponse, error) { return nil, io.ErrUnexpectedEOF }, failed("No decision could be had in time; try again.")},
		{"nothing", func() (*v1.DecideResponse, error) { return nil, nil }, failed("No decision could be had in time; try again.")},
		{"panic", func() (*v1.DecideResponse, error) { panic("no policy today") }, failed("No decision could be had in time; try again.")},
		{"late", func() (*v1.DecideResponse, error) { time.Sleep(60 * time.Millisecond); return allow(), nil }, failed("No decision could be had in time; try again.")},
		{"no effect", func() (*v1.DecideResponse, error) { return &v1.DecideResponse{}, nil }, "[POLICY DENIED] The decision could not be understood."},
		{"unknown effect", func() (*v1.DecideResponse, error) { return &v1.DecideResponse{Effect: 42}, nil }, "[POLICY DENIED] The decision could not be understood."},
		{"unknown obligation", func() (*v1.DecideResponse, error) { return allow(&v1.Obligation{}), nil }, "[POLICY DENIED] An obligation of the decision could not be carried out."},
		{"a header that is ours", func() (*v1.DecideResponse, error) { return allow(setHeader("Content-Length", "3")), nil }, "[POLICY DENIED] An obligation of the decision could not be carried out."},
		{"a broken header", func() (*v1.DecideResponse, error) { return allow(setHeader("X-Key", "a\r\nb: c")), nil }, "[POLICY DENIED] An obligation of the decision could not be carried out."},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGateway(t, up.URL, &fakePDP{}, func(o *Options) {
				o.Enforcer = pep.NewEnforcer(stubborn{answer: c.answer}, pep.EnforcerOptions{Deadline: 20 * time.Millisecond, Logger: o.Logger})
				t.Cleanup(func() { _ = o.Enforcer.Close(context.Background()) })
			})
			got := g.post(t, strings.Replace(call("1", "echo", "{}"), "echo", "echo", 1))
			if got.Status != 200 || !strings.Contains(got.Body, c.body) {
				t.Errorf("%d %s", got.Status, got.Body)
			}
		})
	}
	if calls := up.calls(); len(calls) != 0 {
		t.Errorf("forwarded without a decision: %q", calls)
	}
}

// stubborn is a Decider that always gives the same answer.
type stubborn struct {
	v1.UnimplementedDecisionServiceServer
	answer func() (*v1.DecideResponse, error)
}

func (s stubborn) Decide(context.Context, *v1.DecideRequest) (*v1.DecideResponse, error) {
	return s.answer()
}

func (stubborn) DecideList(context.Context, *v1.DecideListRequest) (*v1.DecideListResponse, error) {
	return nil, io.ErrUnexpectedEOF
}

func (stubborn) AwaitApproval(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	return nil, errors.ErrUnsupported
}

func (stubborn) Complete(context.Context, *v1.CompleteRequest) (*v1.CompleteResponse, error) {
	return &v1.CompleteResponse{}, nil
}

// TestR12_DrainingUnderLoadEnds has one call under way when draining begins,
// and one that comes in later and is not waited for.
// TestProgressKeepsACallAlive has a call that takes longer than its server may
// be silent.
func TestProgressKeepsACallAlive(t *testing.T) {
	const patience, steps = 400 * time.Millisecond, 12
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		tick := time.NewTicker(patience / 8)
		defer tick.Stop()
		for range steps {
			<-tick.C
			say(w, event(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`))
		}
		say(w, event(result("1", `{"slow":true}`)))
	})
	g := newGateway(t, up.URL, &fakePDP{}, func(o *Options) { o.Servers[0].Timeout = patience })
	if got := g.post(t, ping); !strings.HasSuffix(got.Body, event(result("1", `{"slow":true}`))) {
		t.Errorf("%d %s", got.Status, got.Body)
	}
}

func TestNewSaysWhatToChange(t *testing.T) {
	e := pep.NewEnforcer(&fakePDP{}, pep.EnforcerOptions{})
	t.Cleanup(func() { _ = e.Close(context.Background()) })
	u := func(s string) *url.URL { u, _ := url.Parse(s); return u }
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "Enforcer is required"},
		{Options{Enforcer: e, Servers: []Server{{Name: "A", URL: u("http://x")}}}, "is not 1 to 63 of"},
		{Options{Enforcer: e, Servers: []Server{{Name: "a"}}}, "needs an http or https URL"},
		{Options{Enforcer: e, Servers: []Server{{Name: "a", URL: u("http://k:secret@x")}}}, "without credentials"},
		{Options{Enforcer: e, Servers: []Server{{Name: "a", URL: u("http://x")}, {Name: "a", URL: u("http://y")}}}, "is there twice"},
		{Options{Enforcer: e, AllowedHosts: []string{"http://x"}}, "neither name nor name:port"},
		{Options{Enforcer: e, AllowedOrigins: []string{"x"}}, "is not of the form"},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v, want …%s…", err, c.want)
		}
	}
}

// TestI6_NoHeaderOfTheServersGoesOn but a number of seconds: it may repeat there what
// it was sent.
func TestI6_NoHeaderOfTheServersGoesOn(t *testing.T) {
	for retry, want := range map[string]string{"120": "120", "0": "0", "": "", "c4n4ry": "", "-1": "", "1 c4n4ry": "", "9999999999": "", "Wed, 25 Nov 2026 23:45:28 GMT": ""} {
		up := newServer(t, func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.Header().Set("Content-Type", "application/json")
			for _, name := range []string{"Location", "Www-Authenticate", "Set-Cookie", "X-Debug"} {
				w.Header().Set(name, "c4n4ry")
			}
			w.Header().Set("Retry-After", retry)
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
		})
		g := newGateway(t, up.URL, &fakePDP{})
		got := g.post(t, ping)
		if got.Header.Get("Retry-After") != want {
			t.Errorf("Retry-After %q becomes %q, want %q", retry, got.Header.Get("Retry-After"), want)
		}
		for name, values := range got.Header {
			if strings.Contains(strings.Join(values, ","), "c4n4ry") {
				t.Errorf("%s goes on", name)
			}
		}
	}
}
