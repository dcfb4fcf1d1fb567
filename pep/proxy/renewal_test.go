package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// credentialed allows with a credential that has the key: X-Key in a header.
func credentialed(key string, retriable bool) *v1.DecideResponse {
	d := allow(setHeader("X-Key", key), setQuery("q", key))
	d.Credential = &v1.CredentialUse{Name: "main", Generation: 1, Retriable: retriable}
	return d
}

func renewed(key string) func(*v1.RenewCredentialRequest) *v1.RenewCredentialResponse {
	return func(*v1.RenewCredentialRequest) *v1.RenewCredentialResponse {
		return &v1.RenewCredentialResponse{Retry: true, Obligations: []*v1.Obligation{setHeader("X-Key", key), setQuery("q", key)}}
	}
}

// wants is a server that wants the key, and says to others whom they should ask.
func wants(key string) func(w http.ResponseWriter, r *http.Request, body string) {
	return func(w http.ResponseWriter, r *http.Request, body string) {
		if r.Header.Get("X-Key") != key {
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="https://upstream.example/secret"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet {
			say(w, "data: "+`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`+"\n\n")
			return
		}
		tools(w, r, body)
	}
}

func TestARefusedCredentialIsRenewedOnce(t *testing.T) {
	const said = `{"jsonrpc":"2.0","id":1,"error":{"code":1003,"message":"The server does not accept the gateway's credentials."}}`
	done := result("1", `{"content":[{"type":"text","text":"done"}]}`)
	for _, c := range []struct {
		name     string
		decision *v1.DecideResponse
		renew    func(*v1.RenewCredentialRequest) *v1.RenewCredentialResponse
		keys     []string // with which the call arrives at the server
		renewals int
		body     string
	}{
		{"a read is sent once more", credentialed("old", true), renewed("new"), []string{"old", "new"}, 1, done},
		{"a charge is sent once", credentialed("old", false), renewed("new"), []string{"old"}, 1, said},
		{"refused again", credentialed("old", true), renewed("other"), []string{"old", "other"}, 1, said},
		{"nothing better", credentialed("old", true), func(*v1.RenewCredentialRequest) *v1.RenewCredentialResponse { return &v1.RenewCredentialResponse{} }, []string{"old"}, 1, said},
		{"no renewal can be had", credentialed("old", true), nil, []string{"old"}, 1, said},
		{"no credential", allow(setHeader("X-Key", "old")), renewed("new"), []string{"old"}, 0, said},
		{"good as it is", credentialed("new", true), renewed("other"), []string{"new"}, 0, done},
		{"what cannot be carried out", credentialed("old", true), func(*v1.RenewCredentialRequest) *v1.RenewCredentialResponse {
			return &v1.RenewCredentialResponse{Retry: true, Obligations: []*v1.Obligation{setHeader("X-Key", "new"), setHeader("Host", "evil")}}
		}, []string{"old"}, 1, said},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := newServer(t, wants("new"))
			pdp := &fakePDP{renew: c.renew, rule: func(r *v1.DecideRequest) *v1.DecideResponse {
				if r.GetMethod() == "tools/list" {
					return allow(setHeader("X-Key", "new"))
				}
				return c.decision
			}}
			g := newGateway(t, up.URL, pdp)
			g.post(t, `{"jsonrpc":"2.0","id":0,"method":"tools/list"}`) // so that the listing is known
			first := pdp.n
			got := g.post(t, call("1", "echo", "{}"))
			if got.Status != http.StatusOK || got.Body != c.body || got.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("%d %s %v", got.Status, got.Body, got.Header)
			}
			var keys []string
			for _, r := range up.requests() {
				if strings.Contains(r.Body, "tools/call") {
					keys = append(keys, r.Header.Get("X-Key"))
					if r.Body != call("1", "echo", "{}") {
						t.Errorf("the server got %s", r.Body)
					}
				}
			}
			if fmt.Sprint(keys) != fmt.Sprint(c.keys) || pdp.renewals != c.renewals {
				t.Errorf("sent with %q, want %q; %d renewals, want %d", keys, c.keys, pdp.renewals, c.renewals)
			}
			// One decision, and one completion with the final outcome: the fake PDP
			// refuses a second, which is retried until the test ends.
			o := pdp.outcome(t, first+1)
			if pdp.n != first+1 || !o.GetForwarded() || (o.GetStatus() == 200) != (c.body == done) || (o.GetError() == "") != (c.body == done) {
				t.Errorf("%d decisions; outcome %v", pdp.n-first, o)
			}
		})
	}
}

// reporting is Envoy, which has seen the answer and tells of it.
type reporting struct{ sent atomic.Int64 }

func (r *reporting) RoundTrip(*http.Request) (*http.Response, error) {
	r.sent.Add(1)
	return nil, &Reported{Outcome: &v1.Outcome{Forwarded: true, Status: http.StatusUnauthorized}}
}

func TestBehindAnEnvoyARenewalIsForTheNextRequest(t *testing.T) {
	up := newServer(t, wants("new"))
	envoy := &reporting{}
	for what, change := range map[string]func(*Options){
		"an answer that is read here":  func(o *Options) { o.Transport = v1.Transport_TRANSPORT_ENVOY },
		"an answer that is told about": func(o *Options) { o.Transport, o.Servers[0].Transport = v1.Transport_TRANSPORT_ENVOY, envoy },
	} {
		renewals := make(chan string, 2)
		pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse { return credentialed("old", true) }}
		pdp.renew = func(r *v1.RenewCredentialRequest) *v1.RenewCredentialResponse {
			renewals <- r.GetDecisionId()
			return renewed("new")(r)
		}
		g := newGateway(t, up.URL, pdp, change)
		g.post(t, ping)
		select {
		case id := <-renewals:
			if id != "d1" {
				t.Errorf("%s: renewed for %s", what, id)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: not renewed", what)
		}
		if o := pdp.outcome(t, 1); !o.GetForwarded() || o.GetStatus() == http.StatusOK {
			t.Errorf("%s: outcome %v", what, o)
		}
	}
	if len(up.requests()) != 1 || envoy.sent.Load() != 1 {
		t.Errorf("sent %d and %d times, want once each", len(up.requests()), envoy.sent.Load())
	}
}

func TestARenewalIsAskedForByName(t *testing.T) {
	up := newServer(t, wants("new"))
	var asked *v1.RenewCredentialRequest
	pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse { return credentialed("old", true) }}
	pdp.renew = func(r *v1.RenewCredentialRequest) *v1.RenewCredentialResponse {
		asked = r
		return renewed("new")(r)
	}
	g := newGateway(t, up.URL, pdp)
	if got := g.post(t, ping); got.Body != result("1", `{"content":[{"type":"text","text":"done"}]}`) {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if r := asked; r.GetDecisionId() != "d1" || r.GetServer() != "s" || r.GetCredential().GetName() != "main" || r.GetCredential().GetGeneration() != 1 {
		t.Errorf("asked for %v", r)
	}
}

func TestStreamsAndSessionsAndListingsAreRenewedToo(t *testing.T) {
	up := newServer(t, wants("new"))
	pdp := &fakePDP{renew: renewed("new"), rule: func(*v1.DecideRequest) *v1.DecideResponse { return credentialed("old", true) }}
	g := newGateway(t, up.URL, pdp, func(o *Options) { o.Servers[0].Credentialed = true })
	if got := g.do(t, g.request(http.MethodGet, "")); got.Status != 200 || !strings.Contains(got.Body, "notifications/message") {
		t.Errorf("stream: %d %s", got.Status, got.Body)
	}
	if got := g.do(t, g.request(http.MethodDelete, "")); got.Status != http.StatusMethodNotAllowed {
		t.Errorf("session: %d %s", got.Status, got.Body) // what this server says to it
	}
	if got := g.post(t, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); got.Status != http.StatusAccepted {
		t.Errorf("notification: %d %s", got.Status, got.Body)
	}
	if pdp.renewals != 3 {
		t.Errorf("%d renewals, want 3", pdp.renewals)
	}
	// The gateway's own question for the listing, on account of a call.
	g.post(t, call("1", "echo", "{}"))
	if got := pdp.last().GetTarget().GetPresence(); got != v1.Presence_PRESENCE_LISTED {
		t.Errorf("the listing was not had: %v", got)
	}
	if pdp.renewals != 5 {
		t.Errorf("%d renewals, want 5", pdp.renewals)
	}
}

func TestNothingOfTheUpstreams401ReachesTheClient(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired} {
		up := newServer(t, func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="https://upstream.example/secret"`)
			w.WriteHeader(status)
		})
		g := newGateway(t, up.URL, &fakePDP{})
		for what, r := range map[string]*http.Request{
			"a request":      g.request(http.MethodPost, ping),
			"a notification": g.request(http.MethodPost, `{"jsonrpc":"2.0","method":"notifications/initialized"}`),
			"a stream":       g.request(http.MethodGet, ""),
			"a session":      g.request(http.MethodDelete, ""),
		} {
			got := g.do(t, r)
			if want := http.StatusBadGateway; got.Status == status || what != "a request" && got.Status != want {
				t.Errorf("%d on %s: the client got %d", status, what, got.Status)
			}
			if got.Header.Get("WWW-Authenticate") != "" || strings.Contains(got.Body, "upstream.example") || !strings.Contains(got.Body, "does not accept the gateway") {
				t.Errorf("%d on %s: the client got %v %s", status, what, got.Header, got.Body)
			}
		}
	}
}

func TestADrainDoesNotWaitForARenewal(t *testing.T) {
	up := newServer(t, wants("new"))
	pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse { return credentialed("old", true) }}
	g := newGateway(t, up.URL, pdp)
	drained, ended := make(chan error, 1), make(chan error, 1)
	pdp.hang = func(ctx context.Context) {
		go func() { drained <- g.Shutdown(t.Context()) }()
		<-ctx.Done()
		ended <- ctx.Err()
	}
	got := g.post(t, ping)
	if !strings.Contains(got.Body, "does not accept the gateway") {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) { // and not at its deadline
		t.Errorf("the renewal ended with %v", err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestI6_NoCredentialIsLogged(t *testing.T) {
	pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse { return credentialed("s3cret-key", true) }}
	up := newServer(t, tools)
	g := newGateway(t, up.URL, pdp)
	up.Close() // errors of net/http name the URL
	g.post(t, call("1", "echo", "{}"))
	g.do(t, g.request(http.MethodGet, ""))
	if s := g.logs.String(); s == "" || strings.Contains(s, "s3cret") {
		t.Errorf("log: %s", s)
	}
}
