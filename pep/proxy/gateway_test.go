package proxy

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pep"
)

type gateway struct {
	*Proxy
	pdp      *fakePDP
	enforcer *pep.Enforcer
	URL      string // of the server "s"
	addr     string
	client   *http.Client
	logs     *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newGateway(t *testing.T, upstreamURL string, pdp *fakePDP, change ...func(*Options)) *gateway {
	t.Helper()
	u, err := url.Parse(upstreamURL + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{pdp: pdp, logs: new(syncBuffer)}
	log := slog.New(slog.NewTextHandler(g.logs, nil))
	g.enforcer = pep.NewEnforcer(pdp, pep.EnforcerOptions{Deadline: 5 * time.Second, Logger: log})
	o := Options{Servers: []Server{{Name: "s", URL: u}}, Enforcer: g.enforcer, PEP: "test", Logger: log}
	for _, c := range change {
		c(&o)
	}
	if g.Proxy, err = New(o); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewHTTPServer("", g.Proxy)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(g.Guard(l))
	}()
	g.addr = l.Addr().String()
	g.URL = "http://" + g.addr + "/mcp/s/"
	transport := &http.Transport{DisableCompression: true}
	g.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := g.Shutdown(ctx); err != nil {
			t.Errorf("the proxy did not drain: %v", err)
		}
		_ = server.Close()
		<-done
		if err := g.enforcer.Close(ctx); err != nil {
			t.Errorf("completions were left: %v", err)
		}
		if t.Failed() {
			t.Logf("gateway's log:\n%s", g.logs)
		}
	})
	return g
}

type answer struct {
	Status int
	Header http.Header
	Body   string
}

func (g *gateway) request(method, body string, header ...string) *http.Request {
	r, err := http.NewRequest(method, g.URL, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if body == "" {
		r.Body, r.ContentLength = nil, 0
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Authorization", "Bearer alice")
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "-" {
			r.Header.Del(header[i])
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	return r
}

func (g *gateway) do(t *testing.T, r *http.Request) answer {
	t.Helper()
	res, err := g.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

func (g *gateway) post(t *testing.T, body string, header ...string) answer {
	t.Helper()
	return g.do(t, g.request(http.MethodPost, body, header...))
}

func call(id, name, arguments string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + name + `","arguments":` + arguments + `}}`
}

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`

func modern(id, method, params string) (body string, header []string) {
	if params != "" {
		params += ","
	}
	body = `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":{` + params + modernMeta + `}}`
	header = []string{"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", method}
	if name := member([]byte("{"+strings.TrimSuffix(params, ",")+"}"), "name"); name != "" {
		header = append(header, "Mcp-Name", name)
	}
	return body, header
}
