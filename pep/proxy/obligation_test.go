package proxy

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mcpermit/mcpermit/pep"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func setQuery(name, value string) *v1.Obligation {
	return &v1.Obligation{Act: &v1.Obligation_SetQuery{SetQuery: &v1.SetQuery{Name: name, Value: value}}}
}

func setEnvironment(name, value string) *v1.Obligation {
	return &v1.Obligation{Act: &v1.Obligation_SetEnvironment{SetEnvironment: &v1.SetEnvironment{Name: name, Value: value}}}
}

func TestQueriesAreAddedToWhatIsThere(t *testing.T) {
	for _, c := range []struct {
		raw  string
		add  []*v1.Obligation
		want string
	}{
		{"", nil, ""},
		{"a=1&b=%20;x", nil, "a=1&b=%20;x"},
		{"", []*v1.Obligation{setQuery("key", "a b&c=d+/é")}, "key=a%20b%26c%3Dd%2B%2F%C3%A9"},
		{"tenant=7", []*v1.Obligation{setQuery("key", "x")}, "tenant=7&key=x"},
		{"key=old&tenant=7&k%65y=older&key", []*v1.Obligation{setQuery("key", "x")}, "tenant=7&key=x"},
		{"KEY=a&key2=b&bad%=c", []*v1.Obligation{setQuery("key", "x")}, "KEY=a&key2=b&bad%=c&key=x"},
		{"a=1", []*v1.Obligation{setQuery("a", "2"), setQuery("b&c", "3"), setQuery("a", "4")}, "b%26c=3&a=4"},
	} {
		if got, changed := withQuery(c.raw, pep.Query(c.add)); got != c.want || changed != (c.add != nil) {
			t.Errorf("%q with %v: %q, want %q", c.raw, c.add, got, c.want)
		}
	}
}

func TestAQueryIsForOneRequestOnly(t *testing.T) {
	var queries []string
	var mu sync.Mutex
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		queries = append(queries, r.URL.RawQuery)
		mu.Unlock()
		replyJSON(w, result("1", "{}"))
	}))
	defer up.Close()
	with := true
	pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse {
		if with {
			return allow(setQuery("key", "k 1"))
		}
		return allow()
	}}
	g := newGateway(t, up.URL, pdp, func(o *Options) {
		u := *o.Servers[0].URL
		u.RawQuery = "tenant=7"
		o.Servers[0].URL = &u
	})
	g.post(t, ping)
	with = false
	g.post(t, ping)
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(queries, []string{"tenant=7&key=k%201", "tenant=7"}) {
		t.Errorf("queries %q", queries)
	}
}

// transport is one that keeps what it is given, and answers nothing.
type transport struct {
	mu  sync.Mutex
	got []*http.Request
}

func (s *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, r)
	return nil, errors.Join(ErrNotSent, errors.New("no"))
}

func TestI1_WhatCannotBeCarriedOutIsRefused(t *testing.T) {
	header, query, environment := setHeader("X-Key", "s3cret"), setQuery("key", "s3cret"), setEnvironment("KEY", "s3cret")
	for _, c := range []struct {
		name    string
		duty    *v1.Obligation
		server  Server
		over    v1.Transport
		carried bool
	}{
		{"a header to a URL", header, Server{}, 0, true},
		{"a query to a URL", query, Server{}, 0, true},
		{"an environment to a URL", environment, Server{}, 0, false},
		{"a header to a command", header, Server{Command: true}, 0, false},
		{"a query to a command", query, Server{Command: true}, 0, false},
		{"an environment to a command", environment, Server{Command: true}, 0, true},
		{"an environment to a command, from standard streams", environment, Server{Command: true}, v1.Transport_TRANSPORT_STDIO, true},
		{"a query through Envoy", query, Server{}, v1.Transport_TRANSPORT_ENVOY, true},
		{"a query through Envoy that has to be escaped", setQuery("key", "a b"), Server{}, v1.Transport_TRANSPORT_ENVOY, false},
		{"a query through Envoy with a tilde", setQuery("key", "a~b"), Server{}, v1.Transport_TRANSPORT_ENVOY, false},
		{"a query through Envoy whose name has to be", setQuery("a/b", "b"), Server{}, v1.Transport_TRANSPORT_ENVOY, false},
		{"a query through Envoy to a URL that has one", query, Server{URL: &url.URL{Scheme: "http", Host: "up", RawQuery: "a=b"}}, v1.Transport_TRANSPORT_ENVOY, false},
		{"a header through Envoy to a URL that has a query", header, Server{URL: &url.URL{Scheme: "http", Host: "up", RawQuery: "a=b"}}, v1.Transport_TRANSPORT_ENVOY, true},
		{"an environment through Envoy", environment, Server{}, v1.Transport_TRANSPORT_ENVOY, false},
		{"a query without a name", setQuery("", "x"), Server{}, 0, false},
		{"a query with a line break", setQuery("key", "a\nb"), Server{}, 0, false},
		{"a query that is no UTF-8", setQuery("key", "\xff"), Server{}, 0, false},
		{"a variable with a blank", setEnvironment("A B", "x"), Server{Command: true}, 0, false},
		{"a variable with an equals sign", setEnvironment("A=B", "x"), Server{Command: true}, 0, false},
		{"a variable with a zero", setEnvironment("A", "x\x00"), Server{Command: true}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink := new(transport)
			c.server.Name, c.server.Transport = "s", sink
			pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse { return allow(c.duty) }}
			g := newGateway(t, "http://up.example", pdp, func(o *Options) {
				o.Servers, o.Transport = []Server{c.server}, c.over
			})
			got := g.post(t, ping)
			if refused := strings.Contains(got.Body, "An obligation of the decision could not be carried out."); refused == c.carried {
				t.Errorf("%d %s", got.Status, got.Body)
			}
			if strings.Contains(g.logs.String(), "s3cret") {
				t.Errorf("log: %s", g.logs)
			}
			if !c.carried {
				if len(sink.got) > 0 {
					t.Error("it went on")
				}
				if o := pdp.outcome(t, 1); o.GetForwarded() || o.GetError() == "" {
					t.Errorf("outcome %v", o)
				}
				return
			}
			r := sink.got[0]
			env := EnvironmentFrom(r.Context())
			if n := len(r.Header["X-Key"]) + strings.Count(r.URL.RawQuery, "key=s3cret") + len(env); n != 1 {
				t.Errorf("carried out %d times: %v %v %v", n, r.Header, r.URL, env)
			}
		})
	}
}

// The gateway's own question for a listing carries all that a call would.
func TestOwnListingsCarryAllObligations(t *testing.T) {
	for name, c := range map[string]struct {
		duty    *v1.Obligation
		command bool
	}{
		"header":      {setHeader("X-Key", "k"), false},
		"query":       {setQuery("key", "k"), false},
		"environment": {setEnvironment("KEY", "k"), true},
	} {
		t.Run(name, func(t *testing.T) {
			sink := new(transport)
			pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse { return allow(c.duty) }}
			g := newGateway(t, "http://up.example", pdp, func(o *Options) {
				o.Servers = []Server{{Name: "s", Transport: sink, Command: c.command}}
			})
			g.post(t, ping) // from here on the server is known to want something
			g.post(t, call("1", "echo", "{}"))
			asked := 0
			for _, r := range sink.got[1:] {
				env := EnvironmentFrom(r.Context())
				if r.Header.Get("X-Key") == "k" || r.URL.RawQuery == "key=k" || slices.Equal(env, []string{"KEY=k"}) {
					asked++
				}
			}
			if asked != 2 || len(sink.got) != 3 {
				t.Errorf("%d of %d requests carried it; want the listing and the call", asked, len(sink.got)-1)
			}
		})
	}
}

func TestACredentialedServerIsNeverAskedWithout(t *testing.T) {
	sink := new(transport)
	pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse { return allow(setEnvironment("KEY", "k")) }}
	g := newGateway(t, "http://up.example", pdp, func(o *Options) {
		o.Servers = []Server{{Name: "s", Transport: sink, Command: true, Credentialed: true}}
	})
	g.post(t, call("1", "echo", "{}"))
	for _, r := range sink.got {
		if EnvironmentFrom(r.Context()) == nil {
			t.Error("a request without the environment")
		}
	}
}
