package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
)

const balance = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}`

// raw writes bytes to the gateway, closes its sending side if told to, and
// returns the statuses of all answers until the gateway closes.
func (g *gateway) raw(t *testing.T, request string, half bool) (statuses []int) {
	t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, strings.ReplaceAll(request, "{{ADDR}}", g.addr)); err != nil {
		t.Fatal(err)
	}
	if half {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	r := bufio.NewReader(c)
	for {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode != http.StatusContinue {
			statuses = append(statuses, res.StatusCode)
		}
	}
}

const usual = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nAuthorization: Bearer alice\r\n"

// post builds a raw POST of body with a Content-Length.
func rawPost(target, header, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: {{ADDR}}\r\n%s%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", target, usual, header, len(body), body)
}

func chunked(proto, header, body string) string {
	return "POST /mcp/s HTTP/" + proto + "\r\nHost: {{ADDR}}\r\n" + usual + header + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + body
}

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(s), s) }

func TestI5_EveryRawRequestIsOnRecordOnce(t *testing.T) {
	for _, c := range []struct {
		name, request string
		status        int
		question      string // the one decision that was asked for
		half          bool
	}{
		{name: "control", request: rawPost("/mcp/s", "", balance), status: 200, question: "tools/call echo"},
		{name: "control with slash", request: rawPost("/mcp/s/", "", balance), status: 200, question: "tools/call echo"},
		{name: "chunked", request: chunked("1.1", "", chunk(balance)), status: 200, question: "tools/call echo"},
		{name: "chunked with trailer", request: chunked("1.1", "Trailer: Mcp-Name\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\nMcp-Name: secret\r\n\r\n", len(balance), balance)), status: 200, question: "tools/call echo"},
		{name: "expect", request: rawPost("/mcp/s", "Expect: 100-continue\r\n", balance), status: 200, question: "tools/call echo"},

		{name: "TE and CL", request: chunked("1.1", "Content-Length: 5\r\n", chunk(balance)), status: 400, question: "!transfer-encoding"},
		{name: "TE and CL, other case", request: chunked("1.1", "cONTENT-lENGTH: 5\r\n", chunk(balance)), status: 400, question: "!transfer-encoding"},
		{name: "TE in HTTP/1.0", request: chunked("1.0", "", chunk(balance)), status: 400, question: "!transfer-encoding"},
		{name: "TE in HTTP/1.0 and CL", request: chunked("1.0", fmt.Sprintf("Content-Length: %d\r\n", len(balance)), balance), status: 400, question: "!transfer-encoding"},
		{name: "unknown TE", request: strings.Replace(chunked("1.1", "", chunk(balance)), ": chunked", ": xchunked", 1), status: 501, question: "!http"},
		{name: "two TE", request: strings.Replace(chunked("1.1", "", chunk(balance)), ": chunked", ": identity, chunked", 1), status: 501, question: "!http"},
		{name: "bare LF in chunks", request: chunked("1.1", "", strings.ReplaceAll(chunk(balance), "\r\n", "\n")), status: 400, question: "!body-incomplete"},
		{name: "chunk extension with LF", request: chunked("1.1", "", "5;a=b\n\r\nhello\r\n"+chunk(balance)), status: 400, question: "!body-incomplete"},
		{name: "chunk size overflow", request: chunked("1.1", "", "ffffffffffffffff1\r\n"+balance+"\r\n0\r\n\r\n"), status: 400, question: "!body-incomplete"},
		{name: "CL with sign", request: strings.Replace(rawPost("/mcp/s", "", balance), "Length: ", "Length: +", 1), status: 400, question: "!http"},
		{name: "CL in hex", request: strings.Replace(rawPost("/mcp/s", "", balance), "Length: ", "Length: 0x", 1), status: 400, question: "!http"},
		{name: "two CL", request: rawPost("/mcp/s", "Content-Length: 3\r\n", balance), status: 400, question: "!http"},
		{name: "space before colon", request: rawPost("/mcp/s", "Transfer-Encoding : chunked\r\n", balance), status: 400, question: "!http"},
		{name: "folded header", request: rawPost("/mcp/s", "Mcp-Name: echo\r\n secret\r\n", balance), status: 400, question: "tools/call echo !header-mismatch"},
		{name: "other expectation", request: rawPost("/mcp/s", "Expect: money\r\n", balance), status: 417, question: "!http"},
		{name: "odd verb", request: strings.Replace(rawPost("/mcp/s", "", balance), "POST", "PO ST", 1), status: 400, question: "!http"},
		{name: "no host", request: strings.Replace(rawPost("/mcp/s", "", balance), "Host: {{ADDR}}\r\n", "", 1), status: 400, question: "!http"},
		{name: "two hosts", request: rawPost("/mcp/s", "Host: evil.example\r\n", balance), status: 400, question: "!http"},
		{name: "10000 headers", request: rawPost("/mcp/s", strings.Repeat("X-A: 0123456789\r\n", 10000), balance), status: 431, question: "!http"},
		{name: "never finished", request: "POST /mcp/s HTTP/1.1\r\nHost: {{ADDR}}\r\nContent-Ty", half: true, status: 400, question: "!http"},
		{name: "body too short", request: strings.TrimSuffix(rawPost("/mcp/s", "", balance), "}"), half: true, status: 400, question: "!body-incomplete"},

		{name: "empty host", request: strings.Replace(rawPost("/mcp/s", "", balance), "{{ADDR}}", "", 1), status: 403, question: "!host"},
		{name: "foreign host", request: strings.Replace(rawPost("/mcp/s", "", balance), "{{ADDR}}", "evil.example", 1), status: 403, question: "!host"},
		{name: "user in host", request: strings.Replace(rawPost("/mcp/s", "", balance), "{{ADDR}}", "localhost@evil", 1), status: 400, question: "!http"},
		{name: "absolute form", request: rawPost("http://evil.example/mcp/s", "", balance), status: 404, question: "!path"},
		{name: "own origin", request: rawPost("/mcp/s", "Origin: http://{{ADDR}}\r\n", balance), status: 200, question: "tools/call echo"},
		{name: "foreign origin", request: rawPost("/mcp/s", "Origin: http://evil.example\r\n", balance), status: 403, question: "!origin"},
		{name: "null origin", request: rawPost("/mcp/s", "Origin: null\r\n", balance), status: 403, question: "!origin"},
		{name: "loopback prefix", request: rawPost("/mcp/s", "Origin: http://127.0.0.1.evil.example\r\n", balance), status: 403, question: "!origin"},
		{name: "user in origin", request: rawPost("/mcp/s", "Origin: http://localhost:1@evil.example\r\n", balance), status: 403, question: "!origin"},
		{name: "file origin", request: rawPost("/mcp/s", "Origin: file://\r\n", balance), status: 403, question: "!origin"},
		{name: "two origins", request: rawPost("/mcp/s", "Origin: http://{{ADDR}}\r\nOrigin: http://evil.example\r\n", balance), status: 403, question: "!origin"},

		{name: "upgrade", request: "GET /mcp/s HTTP/1.1\r\nHost: {{ADDR}}\r\n" + usual + "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", status: 400, question: "stream/open !upgrade", half: true},
		{name: "GET with a body", request: strings.Replace(rawPost("/mcp/s", "", balance), "POST", "GET", 1), status: 400, question: "stream/open !body-without-post"},
		{name: "PATCH", request: strings.Replace(rawPost("/mcp/s", "", balance), "POST", "PATCH", 1), status: 405, question: "!http-method"},
		{name: "OPTIONS", request: strings.Replace(rawPost("/mcp/s", "", balance), "POST", "OPTIONS", 1), status: 405, question: "!http-method"},
		{name: "lower case verb", request: strings.Replace(rawPost("/mcp/s", "", balance), "POST", "post", 1), status: 405, question: "!http-method"},
		{name: "token in query", request: rawPost("/mcp/s?access_token=alice", "", balance), status: 400, question: "!query"},
		{name: "two tokens", request: rawPost("/mcp/s", "Authorization: Bearer bob\r\n", balance), status: 400, question: "!repeated-header"},
		{name: "two session ids", request: rawPost("/mcp/s", "Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n", balance), status: 400, question: "!repeated-header"},
		{name: "unknown session", request: rawPost("/mcp/s", "Mcp-Session-Id: a\r\n", balance), status: 404, question: "tools/call echo !unknown-session"},
		{name: "gzip", request: rawPost("/mcp/s", "Content-Encoding: gzip\r\n", balance), status: 415, question: "!content-encoding"},
		{name: "text", request: strings.Replace(rawPost("/mcp/s", "", balance), "application/json\r\n", "text/plain\r\n", 1), status: 415, question: "!content-type"},
		{name: "empty", request: rawPost("/mcp/s", "", ""), status: 400, question: "!empty"},
		{name: "duplicate name", request: rawPost("/mcp/s", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"secret"}}`), status: 400, question: "!duplicate-name"},
		{name: "response to nothing", request: rawPost("/mcp/s", "", `{"jsonrpc":"2.0","id":1,"result":{}}`), status: 400, question: "!unexpected-response"},
		{name: "too long", request: rawPost("/mcp/s", "", call("1", "echo", `{"x":"`+strings.Repeat("A", 1<<20)+`"}`)), status: 413, question: "!too-large"},
		{name: "lying Mcp-Name", request: rawPost("/mcp/s", "Mcp-Name: secret\r\n", balance), status: 400, question: "tools/call echo !header-mismatch"},

		{name: "other server", request: rawPost("/mcp/admin", "", balance), status: 404, question: "!path"},
		{name: "dots", request: rawPost("/mcp/s/../admin", "", balance), status: 404, question: "!path"},
		{name: "encoded dots", request: rawPost("/mcp/s/%2e%2e/admin", "", balance), status: 404, question: "!path"},
		{name: "encoded slash", request: rawPost("/mcp/s%2f", "", balance), status: 404, question: "!path"},
		{name: "two slashes", request: rawPost("/mcp//s", "", balance), status: 404, question: "!path"},
		{name: "two slashes at the end", request: rawPost("/mcp/s//", "", balance), status: 404, question: "!path"},
		{name: "case", request: rawPost("/mcp/S", "", balance), status: 404, question: "!path"},
		{name: "encoded name", request: rawPost("/mcp/%73", "", balance), status: 404, question: "!path"},
		{name: "fragment", request: rawPost("/mcp/s#", "", balance), status: 404, question: "!path"},
		{name: "matrix", request: rawPost("/mcp/s;x=1", "", balance), status: 404, question: "!path"},
		{name: "asterisk", request: rawPost("*", "", balance), status: 404, question: "!path"},
		{name: "root", request: rawPost("/", "", balance), status: 404, question: "!path"},
		{name: "query traversal", request: rawPost("/mcp/s/?x=%2f..%2f..%2fadmin", "", balance), status: 400, question: "!query"},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := newServer(t, tools)
			pdp := &fakePDP{}
			g := newGateway(t, up.URL, pdp)
			statuses := g.raw(t, c.request, c.half)
			if diff := cmp.Diff([]int{c.status}, statuses); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
			eventually(t, "the record", func() bool { return len(pdp.questions()) > 0 })
			if diff := cmp.Diff([]string{c.question}, pdp.questions()); diff != "" {
				t.Errorf("decisions (-want +got):\n%s", diff)
			}
			want := []string(nil)
			if c.status == 200 {
				want = []string{balance}
			}
			if diff := cmp.Diff(want, up.calls()); diff != "" {
				t.Errorf("at the server (-want +got):\n%s", diff)
			}
			if f := pdp.last().GetFault(); (f != nil) != (c.status != 200) || f != nil && int(f.GetHttpStatus()) != c.status {
				t.Errorf("fault on record: %v, answered with %d", f, c.status)
			}
		})
	}
}

// TestI5_BytesThatAreNoTextCanBeAskedAbout: the question goes to the PDP as
// protobuf, whose strings are UTF-8. What can't be asked is on record nowhere.
func TestI5_BytesThatAreNoTextCanBeAskedAbout(t *testing.T) {
	for name, request := range map[string]string{
		"token":        strings.Replace(rawPost("/mcp/s", "", balance), "Bearer alice", "Bearer alice\xff", 1),
		"scheme":       strings.Replace(rawPost("/mcp/s", "", balance), "Bearer alice", "Bearer\xff alice", 1),
		"session":      rawPost("/mcp/s", "Mcp-Session-Id: \xff\r\n", balance),
		"version":      rawPost("/mcp/s", "Mcp-Protocol-Version: \xff\r\n", balance),
		"method":       rawPost("/mcp/s", "Mcp-Method: \xff\r\n", balance),
		"name":         rawPost("/mcp/s", "Mcp-Name: \xff\r\n", balance),
		"parameter":    rawPost("/mcp/s", "Mcp-Param-X: \xff\r\n", balance),
		"event":        rawPost("/mcp/s", "Last-Event-Id: \xff\r\n", balance),
		"origin":       rawPost("/mcp/s", "Origin: http://\xff\r\n", balance),
		"content type": strings.Replace(rawPost("/mcp/s", "", balance), "application/json\r\n", "application/json;\xff\r\n", 1),
		"encoding":     rawPost("/mcp/s", "Content-Encoding: \xff\r\n", balance),
		"upgrade":      rawPost("/mcp/s", "Upgrade: \xff\r\n", balance),
		"path":         rawPost("/mcp/\xff", "", balance),
		"query":        rawPost("/mcp/s?\xff", "", balance),
		"verb":         strings.Replace(rawPost("/mcp/s", "", balance), "POST", "P\xff", 1),
		"body":         rawPost("/mcp/s", "", strings.Replace(balance, "echo", "\xff", 1)),
		"body's names": rawPost("/mcp/s", "", strings.Replace(balance, "arguments", "\xff", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			pdp := &fakePDP{}
			g := newGateway(t, newServer(t, tools).URL, pdp)
			if statuses := g.raw(t, request, false); len(statuses) != 1 {
				t.Errorf("statuses %v", statuses)
			}
			eventually(t, "the record", func() bool { return len(pdp.questions()) > 0 })
			if _, err := proto.Marshal(pdp.last()); err != nil {
				t.Errorf("%v: %v", pdp.questions(), err)
			}
		})
	}
}

func TestI5_PipelinedRequestsAreDecidedOneByOne(t *testing.T) {
	up := newServer(t, tools)
	pdp := &fakePDP{hidden: map[string]bool{"secret": true}}
	g := newGateway(t, up.URL, pdp)
	first := strings.Replace(rawPost("/mcp/s", "", balance), "Connection: close\r\n", "", 1)
	second := rawPost("/mcp/s", "", call("2", "secret", "{}"))
	if diff := cmp.Diff([]int{200, 200}, g.raw(t, first+second, false)); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"tools/call echo", "tools/call secret"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{balance}, up.calls()); diff != "" {
		t.Errorf("at the server (-want +got):\n%s", diff)
	}
}

func TestI5_ASlowBodyIsRefusedInTime(t *testing.T) {
	up := newServer(t, tools)
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp, func(o *Options) { o.BodyTimeout = 20 * time.Millisecond })
	if diff := cmp.Diff([]int{408}, g.raw(t, strings.TrimSuffix(rawPost("/mcp/s", "", balance), "}"), false)); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"!body-timeout"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
}

func TestAKeptConnectionMayMixFramings(t *testing.T) {
	up := newServer(t, tools)
	g := newGateway(t, up.URL, &fakePDP{})
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for i, request := range []string{
		rawPost("/mcp/s", "", balance), chunked("1.1", "", chunk(balance)), rawPost("/mcp/s", "", balance), chunked("1.1", "", chunk(balance)),
	} {
		request = strings.Replace(strings.ReplaceAll(request, "{{ADDR}}", g.addr), "Connection: close\r\n", "", 1)
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode != http.StatusOK {
			t.Errorf("request %d: status %d", i, res.StatusCode)
		}
	}
}

func TestWellKnownPathsArePlain404(t *testing.T) {
	up := newServer(t, tools)
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	for _, path := range []string{"/.well-known/oauth-protected-resource/mcp/s", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		res, err := g.client.Get("http://" + g.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNotFound || res.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d %v", path, res.StatusCode, res.Header)
		}
	}
	if q := pdp.questions(); len(q) != 0 {
		t.Errorf("probes were put to the PDP: %q", q)
	}
}

func TestI5_WithoutAGuardChunkedIsRefused(t *testing.T) {
	pdp := &fakePDP{}
	up := newServer(t, tools)
	g := newGateway(t, up.URL, pdp)
	bare := &http.Server{Handler: g.Proxy, ReadHeaderTimeout: time.Second}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = bare.Serve(l) }()
	defer bare.Close()
	guarded := g.addr
	g.addr = l.Addr().String()
	defer func() { g.addr = guarded }()
	if diff := cmp.Diff([]int{400}, g.raw(t, chunked("1.1", "", chunk(balance)), false)); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"!transfer-encoding"}, pdp.questions()); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
}
