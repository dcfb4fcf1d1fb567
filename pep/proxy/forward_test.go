package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func TestI2_ForwardsTheBytesThatWereDecided(t *testing.T) {
	up := newServer(t, tools)
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	body := " {\"jsonrpc\" : \"2.0\",\r\n \"id\":\"a\\u0062\", \"method\":\"tools/call\",\"params\":{\"arguments\":{\"x\":1.50,\"y\":\"\\u00e9\"},\"name\":\"echo\"}}\n"
	got := g.post(t, body)
	if got.Status != 200 || got.Body != result(`"a\u0062"`, `{"content":[{"type":"text","text":"done"}]}`) {
		t.Errorf("answer: %d %s", got.Status, got.Body)
	}
	if diff := cmp.Diff([]string{body}, up.calls()); diff != "" {
		t.Errorf("forwarded (-want +got):\n%s", diff)
	}
	q := pdp.last()
	if want := `{"x":1.50,"y":"\u00e9"}`; string(q.GetArguments()) != want {
		t.Errorf("the PDP saw arguments %s, want %s", q.GetArguments(), want)
	}
	if q.GetFrameBytes() != int64(len(body)) || len(q.GetFrameDigest()) != 32 {
		t.Errorf("the PDP was told of %d bytes, digest %x", q.GetFrameBytes(), q.GetFrameDigest())
	}
	if o := pdp.outcome(t, 1); !o.GetForwarded() || o.GetStatus() != 200 || o.GetBytes() != int64(len(got.Body)) || o.GetError() != "" {
		t.Errorf("outcome: %v", o)
	}
}

func TestT22_OnlyTheGatewaysHeadersReachTheServer(t *testing.T) {
	up := newServer(t, tools)
	g := newGateway(t, up.URL, &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse {
		return allow(setHeader("Authorization", "Bearer upstream-key"))
	}})
	r := g.request(http.MethodPost, call("1", "echo", "{}"),
		"Cookie", "a=b", "X-Forwarded-For", "6.6.6.6", "X-Forwarded-Host", "admin", "Forwarded", "for=6.6.6.6", "X-Real-IP", "6.6.6.6",
		"X-Envoy-Original-Path", "/admin", "X-Original-URL", "/admin", "X-Custom", "1", "Accept-Encoding", "gzip, br", "User-Agent", "evil",
		"Connection", "close, Authorization, Mcp-Protocol-Version", "Te", "trailers",
		"MCP-Protocol-Version", "2025-11-25", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if got := g.do(t, r); got.Status != 200 {
		t.Fatalf("answer: %d %s", got.Status, got.Body)
	}
	var header http.Header
	for _, s := range up.requests() {
		if strings.Contains(s.Body, "tools/call") {
			header = s.Header
			if s.Host != strings.TrimPrefix(up.URL, "http://") {
				t.Errorf("Host %q is not the upstream's", s.Host)
			}
		}
	}
	want := http.Header{
		"Accept": {"application/json, text/event-stream"}, "Accept-Encoding": {"identity"}, "Authorization": {"Bearer upstream-key"},
		"Content-Type": {"application/json"}, "Content-Length": {"86"}, "Mcp-Protocol-Version": {"2025-11-25"},
		"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "User-Agent": {"mcpermit"},
	}
	if diff := cmp.Diff(want, header); diff != "" {
		t.Errorf("headers at the server (-want +got):\n%s", diff)
	}
}

func TestModernHeadersReachTheServer(t *testing.T) {
	up := newServer(t, tools)
	g := newGateway(t, up.URL, &fakePDP{})
	body, header := modern("1", "tools/call", `"name":"echo","arguments":{"r":"eu"}`)
	if got := g.post(t, body, append(header, "Mcp-Param-Region", "eu", "Mcp-Session-Id", "ignored")...); got.Status != 200 {
		t.Fatalf("answer: %d %s", got.Status, got.Body)
	}
	all := up.requests()
	h := all[len(all)-1].Header
	for name, want := range map[string]string{"Mcp-Method": "tools/call", "Mcp-Name": "echo", "Mcp-Param-Region": "eu", "Mcp-Protocol-Version": "2026-07-28", "Mcp-Session-Id": ""} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	up := newServer(t, tools)
	var decision *v1.DecideResponse
	pdp := &fakePDP{rule: func(r *v1.DecideRequest) *v1.DecideResponse {
		if r.GetMethod() == "tools/list" {
			return allow()
		}
		return &v1.DecideResponse{Effect: decision.GetEffect(), ReasonCode: decision.GetReasonCode(), Reason: decision.GetReason(), Approval: decision.GetApproval()}
	}}
	g := newGateway(t, up.URL, pdp)
	request := call("7", "echo", "{}")
	for _, c := range []struct {
		name, token, body string
		decision          *v1.DecideResponse
		status            int
		want              string
	}{
		{
			"deny", "alice", request, deny(v1.ReasonCode_REASON_CODE_POLICY, "Refund exceeds the policy limit."), 200,
			`{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"[POLICY DENIED] Refund exceeds the policy limit."}],"isError":true,"_meta":{"io.github.mcpermit/decision":{"id":"d#","reasonCode":"policy"}}}}`,
		},
		{
			"approve", "alice", request,
			&v1.DecideResponse{Effect: v1.Effect_EFFECT_APPROVE, ReasonCode: v1.ReasonCode_REASON_CODE_APPROVAL_REQUIRED, Reason: "Ask.", Approval: &v1.PendingApproval{Id: "ap1"}},
			200,
			`{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"[APPROVAL NEEDED] Ask.\nApproval ap1 is needed, then repeat the same call."}],"isError":true,"_meta":{"io.github.mcpermit/decision":{"id":"d#","reasonCode":"approval_required","approvalId":"ap1"}}}}`,
		},
		{
			"deny, no tool", "alice", `{"jsonrpc":"2.0","id":7,"method":"logging/setLevel","params":{"level":"info"}}`,
			deny(v1.ReasonCode_REASON_CODE_NO_MATCH, "No rule allows this."), 200,
			`{"jsonrpc":"2.0","id":7,"error":{"code":1001,"message":"[POLICY DENIED] No rule allows this.","data":{"io.github.mcpermit/decision":{"id":"d#","reasonCode":"no_match"}}}}`,
		},
		{
			"server not granted", "alice", request, deny(v1.ReasonCode_REASON_CODE_SERVER_NOT_GRANTED, "Not this server."), 403,
			`{"jsonrpc":"2.0","id":7,"error":{"code":1003,"message":"Not this server."}}`,
		},
		{
			"overload", "alice", request, deny(v1.ReasonCode_REASON_CODE_OVERLOADED, "Busy."), 503,
			`{"jsonrpc":"2.0","id":7,"error":{"code":1003,"message":"Busy."}}`,
		},
		{
			"notification", "alice", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`,
			deny(v1.ReasonCode_REASON_CODE_POLICY, "Not that."), 403,
			`{"jsonrpc":"2.0","error":{"code":1003,"message":"Not that.","data":{"rule":"policy"}}}`,
		},
		{
			"no token", "-", request, nil, 401,
			`{"jsonrpc":"2.0","id":7,"error":{"code":1003,"message":"No token was sent."}}`,
		},
		{
			"bad token", "Bearer mallory", request, nil, 401,
			`{"jsonrpc":"2.0","id":7,"error":{"code":1003,"message":"The token is not valid."}}`,
		},
		{
			"other scheme", "Basic YTpi", request, nil, 401,
			`{"jsonrpc":"2.0","id":7,"error":{"code":1003,"message":"No token was sent."}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			decision = c.decision
			token := c.token
			if token == "alice" {
				token = "Bearer alice"
			}
			got := g.post(t, c.body, "Authorization", token)
			if got.Status != c.status {
				t.Errorf("status %d, want %d", got.Status, c.status)
			}
			if diff := cmp.Diff(c.want, mask(got.Body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if challenge := got.Header.Get("WWW-Authenticate"); (c.status == 401) != (challenge == "Bearer") {
				t.Errorf("WWW-Authenticate: %q with status %d", challenge, got.Status)
			}
		})
	}
	if calls := up.calls(); len(calls) != 0 {
		t.Errorf("refused frames reached the server: %q", calls)
	}
}

// mask hides the number of a decision.
func mask(s string) string {
	const start = `"id":"d`
	i := strings.Index(s, start)
	if i < 0 {
		return s
	}
	i += len(start)
	j := i
	for s[j] >= '0' && s[j] <= '9' {
		j++
	}
	return s[:i] + "#" + s[j:]
}

func TestI3_HiddenAndUnknownAreTheSame(t *testing.T) {
	up := newServer(t, tools)
	pdp := &fakePDP{hidden: map[string]bool{"secret": true, "brief": true}}
	g := newGateway(t, up.URL, pdp)
	if got := g.post(t, call("1", "echo", "{}")); got.Status != 200 {
		t.Fatalf("allowed call: %d %s", got.Status, got.Body)
	}
	g.post(t, `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"nothin"}}`)
	before := len(up.requests())
	for _, pair := range [][2]string{
		{call("2", "secret", `{"a":1}`), call("2", "sekret", `{"a":1}`)},
		{`{"jsonrpc":"2.0","id":2,"method":"prompts/get","params":{"name":"brief"}}`, `{"jsonrpc":"2.0","id":2,"method":"prompts/get","params":{"name":"brxef"}}`},
	} {
		hidden, unknown := g.post(t, pair[0]), g.post(t, pair[1])
		hidden.Body = strings.NewReplacer("secret", "NAME", "brief", "NAME").Replace(hidden.Body)
		unknown.Body = strings.NewReplacer("sekret", "NAME", "brxef", "NAME").Replace(unknown.Body)
		hidden.Header.Del("Date")
		unknown.Header.Del("Date")
		if diff := cmp.Diff(hidden, unknown); diff != "" {
			t.Errorf("hidden and unknown differ (-hidden +unknown):\n%s", diff)
		}
		if hidden.Status != 200 || !strings.Contains(hidden.Body, `"code":-32602`) {
			t.Errorf("answer: %d %s", hidden.Status, hidden.Body)
		}
	}
	if after := len(up.requests()); after != before {
		t.Errorf("the server was contacted %d times for hidden and unknown names", after-before)
	}
	if diff := cmp.Diff([]string{call("1", "echo", "{}")}, up.calls()); diff != "" {
		t.Errorf("what reached the server (-want +got):\n%s", diff)
	}
}

func TestI3_AnAllowedButAbsentNameIsNotForwarded(t *testing.T) {
	up := newServer(t, tools)
	pdp := &fakePDP{blind: true}
	g := newGateway(t, up.URL, pdp)
	got := g.post(t, call("1", "nosuch", "{}"))
	if o := pdp.outcome(t, 1); o.GetForwarded() || o.GetError() != "answer refused: unknown name" {
		t.Errorf("outcome: %v", o)
	}
	if want := `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: nosuch"}}`; got.Body != want {
		t.Errorf("answer %s, want %s", got.Body, want)
	}
	if calls := up.calls(); len(calls) != 0 {
		t.Errorf("reached the server: %q", calls)
	}
}

func TestI3_AMissingResourceLooksLikeAHiddenOne(t *testing.T) {
	code, status := "-32002", http.StatusOK
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if method := member([]byte(body), "method"); strings.HasSuffix(method, "/list") {
			tools(w, r, body)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":` + idOf(body) + `,"error":{"code":` + code + `,"message":"no file at /srv/x"}}`))
	})
	g := newGateway(t, up.URL, &fakePDP{hidden: map[string]bool{"file:///hid": true}})
	read := func(modernEra bool, uri string) answer {
		params := `"uri":"` + uri + `"`
		if !modernEra {
			return g.post(t, `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{`+params+`}}`)
		}
		body, header := modern("1", "resources/read", params)
		return g.post(t, body, append(header, "Mcp-Name", uri)...)
	}
	for _, c := range []struct {
		modern bool
		code   string
		status int
	}{{false, "-32002", 200}, {false, "-32002", 404}, {true, "-32602", 400}, {true, "-32002", 200}} {
		code, status = c.code, c.status
		hidden, missing := read(c.modern, "file:///hid"), read(c.modern, "file:///mis")
		missing.Body = strings.ReplaceAll(missing.Body, "mis", "hid")
		missing.Header.Del("Date")
		hidden.Header.Del("Date")
		if diff := cmp.Diff(hidden, missing); diff != "" || !strings.Contains(hidden.Body, `"uri":"file:///hid"`) {
			t.Errorf("%+v (-hidden +missing):\n%s", c, diff)
		}
	}
	code, status = "-32603", 200
	if got := read(false, "file:///mis"); !strings.Contains(got.Body, "-32603") {
		t.Errorf("another error: %s", got.Body)
	}
}

func TestADeclaredHeaderMustEqualItsArgument(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if member([]byte(body), "method") == "tools/list" {
			replyJSON(w, result(idOf(body), `{"tools":[{"name":"echo","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}`))
			return
		}
		tools(w, r, body)
	})
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	body, header := modern("1", "tools/call", `"name":"echo","arguments":{"region":"eu"}`)
	for value, status := range map[string]int{"us": 400, "-": 400, "eu": 200} {
		before := len(up.calls())
		got := g.post(t, body, append(header, "Mcp-Param-Region", value)...)
		if got.Status != status || (len(up.calls()) == before) != (status == 400) {
			t.Errorf("Mcp-Param-Region %s: %d %s", value, got.Status, got.Body)
		}
		if o := pdp.outcome(t, len(pdp.questions())); o.GetForwarded() != (status == 200) {
			t.Errorf("Mcp-Param-Region %s: outcome %v", value, o)
		}
	}
}

func TestBearer(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   string
	}{
		{nil, ""},
		{[]string{"Bearer a"}, "a"},
		{[]string{"bearer  a "}, "a"},
		{[]string{"Bearer a b"}, "a b"},
		{[]string{"Bearer"}, ""},
		{[]string{"Bearera"}, ""},
		{[]string{"Basic a"}, ""},
		{[]string{"Bearer a", "Bearer b"}, ""},
	} {
		if got := bearer(http.Header{"Authorization": c.values}); got != c.want {
			t.Errorf("%q: %q, want %q", c.values, got, c.want)
		}
	}
}
