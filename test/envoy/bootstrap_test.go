package envoy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
	"github.com/mcpermit/mcpermit/test/gateway"
)

func body(r *authv3.CheckRequest) string {
	return string(r.GetAttributes().GetRequest().GetHttp().GetRawBody())
}

func TestServerAndPointSeeTheSameRequest_I2(t *testing.T) {
	p := &point{check: func(*authv3.CheckRequest) *authv3.CheckResponse { return allow("decision_id", "d-1") }}
	type arrived struct {
		target, host, body string
		header             http.Header
	}
	got := make(chan arrived, 1)
	b := set(t, p, func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		if string(text) != "ready?" {
			got <- arrived{r.RequestURI, r.Host, string(text), r.Header}
		}
	})
	frame := "{\"\xff\":\"not UTF-8, and unchanged\"}"
	// Who sends no X-Forwarded-For is as near to Envoy as can be, and is not
	// believed more for that.
	for _, via := range [][]string{nil, {"10.0.0.1"}} {
		r, err := http.NewRequest(http.MethodPost, strings.TrimSuffix(b.url, "/"), strings.NewReader(frame))
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range map[string][]string{
			"X-Envoy-Original-Path": {"/evil"}, "X-Envoy-Upstream-Rq-Timeout-Ms": {"1"}, "X-Forwarded-For": via,
			"X-Forwarded-Client-Cert": {"URI=spiffe://forged"}, "X-Request-Id": {"forged"}, "Twice": {"one", "two"},
		} {
			r.Header[name] = values
		}
		if res := do(t, r); res.status != http.StatusOK {
			t.Fatal(res)
		}
		server := <-got
		if server.target != "/v1/mcp?tenant=7" || "http://"+server.host != b.upstream.URL || server.body != frame {
			t.Errorf("the server saw %s at %s: %q", server.target, server.host, server.body)
		}
		for name, values := range server.header {
			lower := strings.ToLower(name)
			if strings.HasPrefix(lower, "x-envoy-") || strings.HasPrefix(lower, "x-forwarded-") || values[0] == "forged" {
				t.Errorf("the server got %s: %q", name, values)
			}
		}
	}

	asked := p.last()
	request := asked.GetAttributes().GetRequest().GetHttp()
	if body(asked) != frame || request.GetPath() != "/mcp/pay" || asked.GetAttributes().GetContextExtensions()[bootstrap.ServerKey] != "pay" {
		t.Errorf("the enforcement point was asked %v", asked)
	}
	twice := 0
	for _, h := range request.GetHeaderMap().GetHeaders() {
		switch name, value := h.GetKey(), string(h.GetRawValue()); {
		case name == "twice":
			twice++
		case name == "x-envoy-original-path", name == "x-envoy-upstream-rq-timeout-ms", name == "x-forwarded-client-cert", value == "forged":
			t.Errorf("the enforcement point got the client's %s: %s", name, value)
		}
	}
	if twice != 2 {
		t.Errorf("a header that was sent twice arrived %d times", twice)
	}
	within(t, "the enforcement point is told what became of the call", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, m := range p.told {
			for _, e := range m.GetHttpLogs().GetLogEntry() {
				says := e.GetCommonProperties().GetMetadata().GetFilterMetadata()[bootstrap.MetadataNamespace]
				if says.GetFields()["decision_id"].GetStringValue() == "d-1" && e.GetResponse().GetResponseCode().GetValue() == http.StatusOK {
					return true
				}
			}
		}
		return false
	})
}

func TestRefusalsOfThePointPassUntouched(t *testing.T) {
	refusal := `{"jsonrpc":"2.0","id":7,"error":{"code":1001,"message":"100% refused"}}`
	status := http.StatusOK
	p := &point{check: func(*authv3.CheckRequest) *authv3.CheckResponse { return deny(status, refusal) }}
	b := set(t, p, func(http.ResponseWriter, *http.Request) { t.Error("the server was called") })
	for _, code := range []int{200, 400, 401, 403, 405, 408, 413, 426, 429, 431, 500, 501, 502, 503, 504} {
		p.change(func() { status = code })
		got := post(t, b.url, "{}")
		if got.status != code || got.body != refusal || got.header.Get("Content-Type") != "application/json" || got.header.Get("Retry-After") != "" {
			t.Errorf("a refusal with %d became %v", code, got)
		}
	}
}

func TestAnswersAreReadWhereThePointAsksForIt(t *testing.T) {
	const servers, points, withheld = `{"tools":["all"]}`, `{"tools":[]}`, `{"withheld":true}`
	var word any
	var withholding atomic.Bool
	p := &point{
		check: func(*authv3.CheckRequest) *authv3.CheckResponse {
			if word == nil {
				return allow()
			}
			return allow(bootstrap.ReadAnswerKey, word)
		},
		answer: func(s procv3.ExternalProcessor_ProcessServer) error {
			if withholding.Load() {
				return withhold(s, http.StatusServiceUnavailable, withheld)
			}
			return rewrite(s, points)
		},
	}
	b := set(t, p, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, servers) })
	for _, c := range []struct {
		word any
		want string
	}{{nil, servers}, {false, servers}, {"true", servers}, {1, servers}, {true, points}} {
		p.change(func() { word = c.word })
		if got := post(t, b.url, "{}"); got.status != http.StatusOK || got.body != c.want {
			t.Errorf("read_answer %v: got %v, want %s", c.word, got, c.want)
		}
	}
	withholding.Store(true)
	if got := post(t, b.url, "{}"); got.status != http.StatusServiceUnavailable || got.body != withheld {
		t.Errorf("the enforcement point's own answer became %v", got)
	}
}

// TestOnlyOrdinaryAnswersPassUnread has answers of which nobody had asked for
// any to be read.
func TestOnlyOrdinaryAnswersPassUnread(t *testing.T) {
	const servers, points = "the server's", "the point's"
	var status int
	var kinds []string
	p := &point{
		check:  func(*authv3.CheckRequest) *authv3.CheckResponse { return allow() },
		answer: func(s procv3.ExternalProcessor_ProcessServer) error { return rewrite(s, points) },
	}
	b := set(t, p, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = kinds
		w.WriteHeader(max(status, http.StatusOK))
		_, _ = io.WriteString(w, servers)
	})
	for _, c := range []struct {
		status int
		kinds  []string
		want   string
	}{
		{200, []string{"application/json"}, servers},
		{200, []string{"Application/JSON; charset=utf-8"}, servers},
		{202, nil, servers},
		{202, []string{"text/plain"}, servers},
		{200, []string{"text/event-stream"}, points},
		{200, []string{"Text/Event-Stream; charset=utf-8"}, points},
		{200, []string{"application/json, text/event-stream"}, points},
		{200, []string{"application/json", "text/event-stream"}, points},
		{200, []string{"application/jsonl"}, points},
		{200, []string{"text/html"}, points},
		{200, []string{""}, points},
		{400, []string{"application/json"}, points},
		{401, []string{"application/json"}, points},
		{307, []string{"application/json"}, points},
		{500, []string{"application/json"}, points},
	} {
		p.change(func() { status, kinds = c.status, c.kinds })
		if got := post(t, b.url, "{}"); got.status != c.status || got.body != c.want {
			t.Errorf("%d %q: got %v, want %s", c.status, c.kinds, got, c.want)
		}
	}
}

func TestAnswerThatCannotBeReadIsWithheld_I1(t *testing.T) {
	p := &point{
		check:  func(*authv3.CheckRequest) *authv3.CheckResponse { return allow(bootstrap.ReadAnswerKey, true) },
		answer: func(procv3.ExternalProcessor_ProcessServer) error { return errors.New("broken") },
	}
	b := set(t, p, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") })
	got := post(t, b.url, "{}")
	want := `{"jsonrpc":"2.0","id":null,"error":{"code":1003,"message":"The server's answer could not be read, so it is withheld.","data":{"rule":"answer-unread"}}}`
	if got.status != http.StatusServiceUnavailable || got.body != want {
		t.Errorf("got %v", got)
	}
}

func TestWithoutThePointNothingPasses_I1(t *testing.T) {
	var calls atomic.Int32
	p := &point{check: func(*authv3.CheckRequest) *authv3.CheckResponse { return allow() }}
	address, pep := gateway.FreeAddress(t), gateway.FreeAddress(t)
	upstream := &http.Server{Handler: ordinary(func(http.ResponseWriter, *http.Request) { calls.Add(1) }), ReadHeaderTimeout: time.Minute}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = upstream.Serve(l) }()
	t.Cleanup(func() { upstream.Close() })
	startEnvoy(t, bootstrap.Options{Listen: address, PEP: pep, Servers: []bootstrap.Server{{Name: "pay", URL: "http://" + l.Addr().String()}}})
	url := "http://" + address + "/mcp/pay/"

	got := post(t, url, "{}")
	want := `{"jsonrpc":"2.0","id":null,"error":{"code":1003,"message":"No decision could be had in time; try again.","data":{"rule":"pdp_unavailable"}}}`
	if got.status != http.StatusServiceUnavailable || got.body != want || got.header.Get("Retry-After") != "1" {
		t.Errorf("got %v", got)
	}
	if calls.Load() != 0 {
		t.Error("the server was called")
	}

	p.serve(t, "tcp", pep)
	within(t, "calls pass once the enforcement point is there", func() bool { return post(t, url, "{}").status == http.StatusOK })

	// A server that is gone is said to be, and the enforcement point still is
	// asked first.
	upstream.Close()
	within(t, "the server is away", func() bool {
		return strings.Contains(post(t, url, "{}").body, `"rule":"unreachable"`)
	})
}

func TestLateWordOfThePointIsNone_I1(t *testing.T) {
	over := make(chan struct{})
	p := &point{check: func(r *authv3.CheckRequest) *authv3.CheckResponse {
		if body(r) != "ready?" {
			<-over
		}
		return allow()
	}}
	b := set(t, p, func(_ http.ResponseWriter, r *http.Request) {
		if text, _ := io.ReadAll(r.Body); string(text) != "ready?" {
			t.Error("the server was called")
		}
	})
	got := post(t, b.url, "{}")
	close(over)
	if got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, `"code":1003`) {
		t.Errorf("got %v", got)
	}
}

func TestPointAtAUnixSocket(t *testing.T) {
	p := &point{check: func(*authv3.CheckRequest) *authv3.CheckResponse { return deny(http.StatusOK, "{}") }}
	address, socket := gateway.FreeAddress(t), t.TempDir()+"/pep.sock"
	p.serve(t, "unix", socket)
	startEnvoy(t, bootstrap.Options{Listen: address, PEP: "unix://" + socket, Servers: []bootstrap.Server{{Name: "pay", URL: "http://127.0.0.1:9"}}})
	within(t, "the enforcement point is asked", func() bool { return post(t, "http://"+address+"/mcp/pay/", "{}").body == "{}" })
}

// raw sends bytes, and returns the answer to them.
func raw(t *testing.T, address, request string) (status, body string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.Status, string(text)
}

func TestEnvoysOwnRepliesAreJSONRPC(t *testing.T) {
	p := &point{check: func(r *authv3.CheckRequest) *authv3.CheckResponse {
		if body(r) != "ready?" {
			t.Errorf("the enforcement point was asked about %v", r)
		}
		return deny(http.StatusOK, "{}")
	}}
	b := set(t, p, func(http.ResponseWriter, *http.Request) { t.Error("the server was called") })
	const post = "POST /mcp/pay/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
	for _, c := range []struct{ name, request, status, rule string }{
		{"long frame", post + "Content-Length: 70000\r\n\r\n" + strings.Repeat("x", 70000), "413 Payload Too Large", "too-large"},
		{"two lengths", post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 Bad Request", "transfer-encoding"},
		{"underscore", post + "mcp_name: x\r\nContent-Length: 0\r\n\r\n", "400 Bad Request", "lookalike-header"},
		{"escaped slash", "POST /mcp%2Fpay/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "400 Bad Request", "http"},
		{"upgrade", "GET /mcp/pay/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "400 Bad Request", "upgrade"},
		{"long headers", post + "A: " + strings.Repeat("x", 40000) + "\r\nContent-Length: 0\r\n\r\n", "431 Request Header Fields Too Large", "http"},
		{"many headers", post + strings.Repeat("A: b\r\n", 101) + "Content-Length: 0\r\n\r\n", "431 Request Header Fields Too Large", "http"},
		{"slow headers", post, "408 Request Timeout", "http"},
		{"old HTTP", "POST /mcp/pay/ HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "426 Upgrade Required", "http"},
		{"garbage", "\x16\x03\x01\r\n\r\n", "400 Bad Request", "http"},
	} {
		status, got := raw(t, b.address, c.request)
		if status != c.status || !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,`) || !strings.HasSuffix(got, `"data":{"rule":"`+c.rule+`"}}}`) {
			t.Errorf("%s: %s %q, want %s with the rule %s", c.name, status, got, c.status, c.rule)
		}
	}
}

func TestOtherPathsLeadNowhere(t *testing.T) {
	p := &point{check: func(r *authv3.CheckRequest) *authv3.CheckResponse {
		if body(r) != "ready?" {
			t.Errorf("the enforcement point was asked about %s", r.GetAttributes().GetRequest().GetHttp().GetPath())
		}
		return deny(http.StatusOK, "{}")
	}}
	b := set(t, p, func(http.ResponseWriter, *http.Request) { t.Error("the server was called") })
	for _, path := range []string{
		"/", "/mcp", "/mcp/", "/mcp/pay/x", "/mcp/payx", "/mcp/Pay", "/MCP/pay", "/mcp/pay;a", "/mcp/pay/%20", "/x/mcp/pay",
		"/mcp/pay/../other", "/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server/mcp/pay/",
	} {
		got := post(t, "http://"+b.address+path, "{}")
		if got.status != http.StatusNotFound || got.body != "not found; servers are under /mcp/NAME/\n" || got.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %v", path, got)
		}
	}
}
