package conformance

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
	"github.com/mcpermit/mcpermit/test/parts"
)

// startEverything starts the Go SDK's conformance server and returns its URL.
// A run of the suite changes what the server offers, so each run has its own.
func startEverything(t *testing.T, stateless bool) string {
	t.Helper()
	address := gateway.FreeAddress(t)
	flag := "-stateless=false"
	if stateless {
		flag = "-stateless=true"
	}
	p := gateway.Run(t, parts.Of(t).GoProgram("everything-server"), "-http="+address, flag)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if connection, err := net.Dial("tcp", address); err == nil {
			connection.Close()
			return "http://" + address + "/"
		}
		if p.Exited() || time.Now().After(deadline) {
			t.Fatalf("the conformance server does not listen:\n%s", p.Output())
		}
	}
}

// startGateway starts `mcpermit up` before the upstream, under a policy that
// allows everything, and returns the URL of a shim in front of it: the suite
// knows of no Authorization header, so the shim adds the grant's.
func startGateway(t *testing.T, upstream string) string {
	t.Helper()
	g := prepare(t, upstream)
	g.Up(t)
	return admitted(t, g)
}

// startEnvoy is startGateway with a real Envoy, and its enforcement point, in
// place of `mcpermit up`.
func startEnvoy(t *testing.T, upstream string) string {
	t.Helper()
	g := prepare(t, upstream)
	g.Envoy(t, parts.Of(t).Envoy)
	return admitted(t, g)
}

func prepare(t *testing.T, upstream string) *gateway.Gateway {
	t.Helper()
	return gateway.Prepare(t, gateway.Config{
		Policy:  "policy",
		Servers: map[string]any{"everything": map[string]any{"url": upstream}},
	})
}

// admitted returns the URL of a shim with a grant.
func admitted(t *testing.T, g *gateway.Gateway) string {
	t.Helper()
	_, token := g.Grant(t, "agent:conformance", "everything")
	return startShim(t, g.URL, token) + "/mcp/everything/"
}

// startShim adds the token to each request and is otherwise not to be seen: a
// Host or Origin that names the shim itself names the gateway behind it, and
// any other is passed on as it came, for the gateway to judge.
func startShim(t *testing.T, target, token string) string {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	var own string
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			r.Out.Host = strings.Replace(r.In.Host, own, to.Host, 1)
			if origin := r.In.Header.Get("Origin"); origin == "http://"+own {
				r.Out.Header.Set("Origin", target)
			}
			r.Out.Header.Set("Authorization", "Bearer "+token)
		},
	}
	shim := httptest.NewServer(readFirst(proxy))
	t.Cleanup(shim.Close)
	own = strings.TrimPrefix(shim.URL, "http://")
	return shim.URL
}

// readFirst reads the whole request body before anything is forwarded: an
// answer that overtakes its request would otherwise be cut off.
func readFirst(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// recorder stands in front of an upstream, hides Host and Origin from it, so
// that it can refuse nothing on their account, and remembers them.
type recorder struct {
	mu    sync.Mutex
	hosts []string // "host origin" of each request
}

func startRecorder(t *testing.T, upstream string) (*recorder, string) {
	t.Helper()
	to, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			rec.mu.Lock()
			rec.hosts = append(rec.hosts, r.In.Host+" "+r.In.Header.Get("Origin"))
			rec.mu.Unlock()
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, to.Host
			r.Out.Header.Del("Origin")
		},
	}
	server := httptest.NewServer(readFirst(proxy))
	t.Cleanup(server.Close)
	return rec, server.URL + "/"
}

func (r *recorder) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.hosts...)
}

func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts = nil
}
