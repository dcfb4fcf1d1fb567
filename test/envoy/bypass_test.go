package envoy

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/attacks/frames"
)

// attempt is a request that some part on the way could take for another one.
type attempt struct {
	name string
	// target and head of a POST; {{HOST}} stands for where Envoy listens. The
	// client's token and content type are added where head has none of them.
	target, head string
	// body is the frame as it is sent, with a framing of its own in head; "" is
	// the frame with its length.
	body string
	// status is of the answer to a call that is allowed: a regular expression,
	// "" where it passes as if nothing were special about it.
	status string
}

// words of an attempt that are filled in with the frame.
const theFrame, theChunk = "{{FRAME}}", "{{CHUNK}}"

var attempts = map[string][]attempt{
	"absolute form": {
		{name: "own host", target: "http://{{HOST}}/mcp/up/"},
		{name: "another host", target: "http://evil.example/mcp/up/", status: "403|400|421"},
		{name: "another path", target: "http://{{HOST}}/mcp/up/../admin/", status: "404"},
		{name: "two hosts", target: "http://evil.example/mcp/up/", head: "Host: {{HOST}}\r\n", status: "403|400|421"},
		{name: "another scheme", target: "https://{{HOST}}/mcp/up/", status: "403"},
		{name: "user", target: "http://ada@{{HOST}}/mcp/up/", status: "200|400|403|404|421"},
	},
	"path": {
		{name: "plain", target: "/mcp/up/"},
		{name: "no slash", target: "/mcp/up"},
		{name: "dots", target: "/mcp/other/../up/"},
		{name: "escaped dots", target: "/mcp/other/%2e%2e/up/"},
		{name: "dot", target: "/./mcp/./up/"},
		{name: "slashes", target: "//mcp///up//"},
		{name: "above the root", target: "/../mcp/up/", status: "200|400|404"},
		{name: "escaped slash", target: "/mcp%2Fup/", status: "400"},
		{name: "escaped slash, lower case", target: "/mcp/other/..%2fup/", status: "400"},
		{name: "escaped backslash", target: "/mcp%5Cup/", status: "400"},
		{name: "backslash", target: `/mcp\up/`, status: "200|400|404"},
		{name: "case", target: "/MCP/up/", status: "404"},
		{name: "case of the name", target: "/mcp/UP/", status: "404"},
		{name: "escaped letter", target: "/mcp/%75p/", status: "200|404"},
		{name: "twice escaped", target: "/mcp%252Fup/", status: "404"},
		{name: "parameter", target: "/mcp/up;a=b/", status: "404"},
		{name: "longer", target: "/mcp/up/more", status: "404"},
		{name: "NUL", target: "/mcp/up/%00", status: "400|404"},
		{name: "query", target: "/mcp/up/?tenant=8", status: "400"},
		{name: "fragment", target: "/mcp/up/#x", status: "400|404"},
	},
	"upgrade": {
		{name: "websocket", head: "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", status: "400|403"},
		{name: "h2c", head: "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n", status: "200|400|403"},
		{name: "unknown", head: "Connection: Upgrade\r\nUpgrade: mcp\r\n", status: "400|403"},
	},
	"trailers": {
		{name: "harmless", head: "Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X-Extra\r\n", body: theChunk + "0\r\nX-Extra: 1\r\n\r\n", status: "200|400"},
		{name: "authorization", head: "Transfer-Encoding: chunked\r\n", body: theChunk + "0\r\nAuthorization: Bearer mcpg_x\r\nContent-Length: 1\r\n\r\n", status: "200|400|401"},
		{name: "method", head: "Transfer-Encoding: chunked\r\n", body: theChunk + "0\r\nMcp-Name: never\r\nX-HTTP-Method-Override: DELETE\r\n\r\n", status: "200|400"},
	},
	"duplicated headers": {
		{name: "authorization", head: "Authorization: Bearer {{TOKEN}}\r\nAuthorization: Bearer {{TOKEN}}\r\nContent-Type: application/json\r\n", status: "400|401"},
		{name: "content type", head: "Content-Type: application/json\r\nContent-Type: application/json\r\n", status: "400|415"},
		{name: "joined content type", head: "Content-Type: application/json, application/json\r\n", status: "400|415"},
		{name: "version", head: "Mcp-Protocol-Version: 2025-11-25\r\nMcp-Protocol-Version: 2025-11-25\r\n", status: "400"},
		{name: "name", head: "Mcp-Name: echo\r\nMcp-Name: never\r\n", status: "400"},
		{name: "host", head: "Host: {{HOST}}\r\nHost: {{HOST}}\r\n", status: "400|403"},
		{name: "length", head: "Content-Length: {{LENGTH}}\r\nContent-Length: {{LENGTH}}\r\n", body: theFrame, status: "400"},
		{name: "lengths", head: "Content-Length: {{LENGTH}}\r\nContent-Length: 3\r\n", body: theFrame, status: "400"},
		{name: "underscore", head: "Mcp_Name: never\r\n", status: "400"},
		{name: "folded", head: "Accept: application/json,\r\n text/event-stream\r\n", status: "200|400"},
		{name: "space before colon", head: "Mcp-Name : echo\r\n", status: "400"},
	},
	"x-envoy": {
		{name: "path", head: "X-Envoy-Original-Path: /mcp/other/\r\nX-Envoy-Original-Host: evil.example\r\nX-Rewrite-Url: /evil\r\n"},
		{name: "retries", head: "X-Envoy-Retry-On: 5xx,reset\r\nX-Envoy-Max-Retries: 3\r\nX-Envoy-Upstream-Rq-Timeout-Ms: 1\r\nX-Envoy-Hedge-On-Per-Try-Timeout: true\r\n"},
		{name: "inside", head: "X-Envoy-Internal: true\r\nX-Envoy-External-Address: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Client-Cert: URI=spiffe://forged\r\n"},
		{name: "whole body", head: "X-Envoy-Auth-Partial-Body: false\r\n"},
		{name: "partial body", head: "X-Envoy-Auth-Partial-Body: true\r\n", status: "200|503"},
		{name: "failure mode", head: "X-Envoy-Auth-Failure-Mode-Allowed: true\r\n"},
		{name: "decision", head: "X-Decision-Id: forged\r\nX-Key: forged\r\nCookie: a=b\r\n"},
	},
	"chunks": {
		{name: "plain", head: "Transfer-Encoding: chunked\r\n", body: theChunk + "0\r\n\r\n"},
		{name: "in capitals", head: "Transfer-Encoding: CHUNKED\r\n", body: theChunk + "0\r\n\r\n"},
		{name: "extension", head: "Transfer-Encoding: chunked\r\n", body: "{{HEX}};a=\"b\"\r\n" + theFrame + "\r\n0\r\n\r\n", status: "200|400"},
		{name: "and a length", head: "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", body: theChunk + "0\r\n\r\n", status: "400"},
		{name: "twice", head: "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", body: theChunk + "0\r\n\r\n", status: "400|501"},
		{name: "identity", head: "Transfer-Encoding: chunked, identity\r\n", body: theChunk + "0\r\n\r\n", status: "400|501"},
		{name: "unknown", head: "Transfer-Encoding: xchunked\r\n", body: theChunk + "0\r\n\r\n", status: "400|501"},
		{name: "tabbed", head: "Transfer-Encoding:\tchunked\r\n", body: theChunk + "0\r\n\r\n", status: "200|400|501"},
		{name: "vertical tab", head: "Transfer-Encoding: \vchunked\r\n", body: theChunk + "0\r\n\r\n", status: "400|501"},
		{name: "signed size", head: "Transfer-Encoding: chunked\r\n", body: "+{{HEX}}\r\n" + theFrame + "\r\n0\r\n\r\n", status: "400"},
		{name: "hexadecimal size", head: "Transfer-Encoding: chunked\r\n", body: "0x{{HEX}}\r\n" + theFrame + "\r\n0\r\n\r\n", status: "400"},
		{name: "huge size", head: "Transfer-Encoding: chunked\r\n", body: "1000000000000000{{HEX}}\r\n" + theFrame + "\r\n0\r\n\r\n", status: "400|413"},
		{name: "line feeds", head: "Transfer-Encoding: chunked\r\n", body: "{{HEX}}\n" + theFrame + "\n0\n\n", status: "400"},
		{name: "longer than said", head: "Transfer-Encoding: chunked\r\n", body: "3\r\n" + theFrame + "\r\n0\r\n\r\n", status: "400"},
	},
	"expect": {
		{name: "continue", head: "Expect: 100-continue\r\n"},
		{name: "something else", head: "Expect: 200-ok\r\n", status: "200|400|417"},
	},
	"grpc": {
		{name: "plain", head: "Content-Type: application/grpc\r\nTE: trailers\r\n", status: "200|400|415"},
		{name: "json", head: "Content-Type: application/grpc+json\r\nTE: trailers\r\n", status: "200|400|415"},
		{name: "web", head: "Content-Type: application/grpc-web-text\r\n", status: "200|400|415"},
		{name: "connect", head: "Content-Type: application/connect+json\r\n", status: "400|415"},
		{name: "time-out", head: "Content-Type: application/json\r\nGrpc-Timeout: 1n\r\nGrpc-Encoding: gzip\r\n"},
	},
}

// bytes is the attempt at a frame.
func (a *attempt) bytes(m *mesh, frame string) []byte {
	head, body, target := a.head, a.body, a.target
	if target == "" {
		target = "/mcp/up/"
	}
	has := func(name string) bool { return strings.Contains("\r\n"+head, "\r\n"+name+":") }
	for name, value := range map[string]string{"Host": "{{HOST}}", "Authorization": "Bearer {{TOKEN}}", "Content-Type": "application/json"} {
		if !has(name) {
			head = name + ": " + value + "\r\n" + head
		}
	}
	if body == "" {
		body = theFrame
		head += "Content-Length: {{LENGTH}}\r\n"
	}
	if !has("Connection") {
		head += "Connection: close\r\n"
	}
	return []byte(strings.NewReplacer(
		"{{HOST}}", strings.TrimPrefix(m.URL, "http://"), "{{TOKEN}}", m.token,
		theFrame, frame, theChunk, fmt.Sprintf("%x\r\n%s\r\n", len(frame), frame),
		"{{HEX}}", fmt.Sprintf("%x", len(frame)), "{{LENGTH}}", fmt.Sprint(len(frame)),
	).Replace("POST " + target + " HTTP/1.1\r\n" + head + "\r\n" + body))
}

// TestI1_I2_Bypasses tries each with a call that is denied, which must never
// arrive, and with one that is allowed, which must arrive as itself or not at
// all.
func TestI1_I2_Bypasses(t *testing.T) {
	m := newMesh(t, nil)
	within(t, "calls pass", func() bool { return m.passes(t) })
	for group, of := range attempts {
		for _, a := range of {
			t.Run(group+"/"+a.name, func(t *testing.T) { m.try(t, &a) })
		}
	}
	if n := m.up.called("never") + m.up.called("secret"); n > 0 {
		t.Errorf("%d calls arrived that are not allowed", n)
	}
}

func (m *mesh) try(t *testing.T, a *attempt) {
	t.Helper()
	host := strings.TrimPrefix(m.URL, "http://")
	m.up.request()
	for _, frame := range []string{neverFrame, strings.ReplaceAll(neverFrame, "never", "secret")} {
		answer := frames.Exchange(t, host, a.bytes(m, frame), 2*time.Second, false)
		if m.up.request() != nil || bytes.Contains(answer, []byte(`"text":"done"`)) {
			t.Errorf("a call that is not allowed arrived; answer %.500q", answer)
		}
	}
	executed := m.up.called("echo")
	answer := frames.Exchange(t, host, a.bytes(m, echoFrame), 2*time.Second, false)
	status := statusOf(answer)
	want := a.status
	if want == "" {
		want = "200"
	}
	if !regexp.MustCompile("^(" + want + ")$").MatchString(status) {
		t.Errorf("an allowed call was answered %q, want %s", answer, want)
	}
	arrived, passed := m.up.called("echo")-executed, bytes.Contains(answer, []byte(echoed))
	if passed != (arrived == 1) || arrived > 1 || a.status == "" && !passed {
		t.Errorf("an allowed call arrived %d times; answer %.500q", arrived, answer)
	}
	if r := m.up.request(); r != nil {
		if r.RequestURI != "/mcp" || "http://"+r.Host != m.up.URL || len(r.Trailer) > 0 || r.Header.Get("X-Key") != "upstream-secret-7719" {
			t.Errorf("the server got %s at %s with %v and trailers %v", r.RequestURI, r.Host, r.Header, r.Trailer)
		}
		for name := range r.Header {
			if !regexp.MustCompile("^(Accept|Accept-Encoding|User-Agent|Content-Type|Content-Length|Mcp-.*|X-Key|X-Request-Id|Traceparent)$").MatchString(name) {
				t.Errorf("the server got the client's %s: %q", name, r.Header[name])
			}
		}
	}
	if !m.passes(t) {
		t.Error("a plain call afterwards does not pass")
	}
}

// statusOf is the status of the first response that is not interim, "closed"
// without any.
func statusOf(answer []byte) string {
	if m := regexp.MustCompile(`HTTP/1\.1 ([2-5]\d\d) `).FindSubmatch(answer); m != nil {
		return string(m[1])
	}
	return "closed"
}
