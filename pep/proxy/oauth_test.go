package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// withOAuth has access tokens shown below /oauth of https://gate.example.
func withOAuth(o *Options) {
	u, err := url.Parse("https://gate.example/oauth")
	if err != nil {
		panic(err)
	}
	o.OAuth = &OAuth{URL: u, Issuers: []string{"https://issuer.example"}, Scopes: []string{"mcp:read", "offline_access"}}
}

// oauthPost posts a frame where access tokens are shown.
func (g *gateway) oauthPost(t *testing.T, body string, header ...string) answer {
	t.Helper()
	r := g.request(http.MethodPost, body, header...)
	r.URL.Path = "/oauth/mcp/s/"
	return g.do(t, r)
}

func (g *gateway) fetch(t *testing.T, method, path string, header ...string) answer {
	t.Helper()
	r := g.request(method, "", append(header, "Authorization", "-")...)
	r.URL.Path = path
	return g.do(t, r)
}

const (
	theMetadata = `{"resource":"https://gate.example/oauth/mcp/s","authorization_servers":["https://issuer.example"],"scopes_supported":["mcp:read"],"bearer_methods_supported":["header"],"resource_name":"s"}`
	metadataURL = `https://gate.example/.well-known/oauth-protected-resource/oauth/mcp/s/`
)

func TestMetadataNamesTheResourceAsItWasAskedFor(t *testing.T) {
	pdp := &fakePDP{}
	g := newGateway(t, newServer(t, tools).URL, pdp, withOAuth)
	const at = "/.well-known/oauth-protected-resource/oauth/mcp/s"
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", at, 200, theMetadata},
		{"GET", at + "/", 200, strings.Replace(theMetadata, "/s\"", "/s/\"", 1)},
		{"HEAD", at, 200, ""},
		{"POST", at, 405, "use GET\n"},
		{"DELETE", at, 405, "use GET\n"},
		{"OPTIONS", at, 405, "use GET\n"},
	} {
		// A page of any origin may read it.
		got := g.fetch(t, c.method, c.path, "Origin", "https://evil.example")
		if got.Status != c.status || got.Body != c.body {
			t.Errorf("%s %s: %d %q", c.method, c.path, got.Status, got.Body)
		}
		if cors := got.Header.Get("Access-Control-Allow-Origin"); cors != "*" {
			t.Errorf("%s %s: CORS %q", c.method, c.path, cors)
		}
		if cache := got.Header.Get("Cache-Control"); (c.status == 200) != (cache == "public, max-age=60") {
			t.Errorf("%s %s: Cache-Control %q", c.method, c.path, cache)
		}
	}
	for _, path := range []string{
		"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/", "/.well-known/oauth-protected-resource/oauth",
		at + "//", at + "x", "/.well-known/oauth-protected-resource/oauth/mcp/other", "/.well-known/oauth-protected-resource/mcp/s", "/.well-known/oauth-protected-resource/mcp/s/",
		"/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/oauth/mcp/s", "/.well-known/openid-configuration", "/oauth/.well-known/oauth-protected-resource",
	} {
		if got := g.fetch(t, "GET", path); got.Status != http.StatusNotFound || got.Header.Get("WWW-Authenticate") != "" || strings.Contains(got.Body, "issuer") {
			t.Errorf("%s: %d %q", path, got.Status, got.Body)
		}
	}
	r := g.request(http.MethodGet, "")
	r.URL.Path, r.Host = at, "evil.example"
	if got := g.do(t, r); got.Status != http.StatusForbidden {
		t.Errorf("under another name: %d", got.Status)
	}
	if q := pdp.questions(); !cmp.Equal(q, []string{"stream/open !path"}) { // /oauth/.well-known is none
		t.Errorf("decisions: %q", q)
	}
}

func TestTheRootFormNeedsOneServerAndAListenerOfItsOwn(t *testing.T) {
	one := []Server{{Name: "s"}}
	for _, c := range []struct {
		url     string
		apart   bool
		servers []Server
		known   []string
	}{
		{"https://gate.example", true, one, []string{"", "/mcp/s", "/mcp/s/"}},
		{"https://gate.example/x", true, one, []string{"", "/x/mcp/s", "/x/mcp/s/"}},
		{"https://gate.example/x", false, one, []string{"/x/mcp/s", "/x/mcp/s/"}},
		{"https://gate.example", true, append(one, Server{Name: "b"}), []string{"/mcp/b", "/mcp/b/", "/mcp/s", "/mcp/s/"}},
	} {
		u, _ := url.Parse(c.url)
		o, err := newOAuth(OAuth{URL: u, Apart: c.apart, Issuers: []string{"https://i.example"}}, c.servers)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"", "/", "/mcp/s", "/mcp/s/", "/x/mcp/s", "/x/mcp/s/", "/mcp/b", "/mcp/b/", "/x"} {
			want := false
			for _, k := range c.known {
				want = want || k == path
			}
			if got := o.metadata[metadataPath+path] != nil; got != want {
				t.Errorf("%s, %v, %d servers: %q is there: %v", c.url, c.apart, len(c.servers), path, got)
			}
		}
	}
}

func TestOptionsForAccessTokensAreChecked(t *testing.T) {
	for raw, want := range map[string]string{
		"https://gate.example":         "path of its own",
		"https://gate.example/mcp":     "path of its own",
		"https://gate.example/mcp/x":   "path of its own",
		"https://gate.example/grants":  "path of its own",
		"https://gate.example/oauth/":  "slash",
		"ftp://gate.example/oauth":     "http(s)",
		"https://a@gate.example/oauth": "http(s)",
		"https://gate.example/oauth?a": "http(s)",
		"https://gate.example/ok":      "",
	} {
		u, _ := url.Parse(raw)
		_, err := newOAuth(OAuth{URL: u, Issuers: []string{"https://i.example"}}, nil)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	u, _ := url.Parse("https://gate.example/oauth")
	if _, err := newOAuth(OAuth{URL: u}, nil); err == nil {
		t.Error("no issuer")
	}
	if _, err := newOAuth(OAuth{URL: u, Issuers: []string{"i"}, Scopes: []string{`a"b`}}, nil); err == nil {
		t.Error("no scope")
	}
}

func TestI10_TheResourceSaysWhichTokensAreGood(t *testing.T) {
	pdp := &fakePDP{}
	up := newServer(t, tools)
	g := newGateway(t, up.URL, pdp, withOAuth)
	resources := func() (all []string) {
		pdp.mu.Lock()
		defer pdp.mu.Unlock()
		for _, q := range pdp.asked {
			all = append(all, q.GetEvidence().GetResource())
		}
		for _, q := range pdp.lists {
			all = append(all, q.GetEvidence().GetResource())
		}
		pdp.asked, pdp.lists = nil, nil
		return all
	}
	list := `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	g.oauthPost(t, list)
	g.oauthPost(t, call("2", "echo", "{}"))
	g.oauthPost(t, "no frame")
	all := resources()
	for _, got := range all {
		if got != "https://gate.example/oauth/mcp/s" {
			t.Errorf("resource %q", got)
		}
	}
	if len(all) < 4 {
		t.Errorf("only %d questions", len(all))
	}
	g.post(t, list)
	g.post(t, call("2", "echo", "{}"))
	for _, got := range resources() {
		if got != "" {
			t.Errorf("where grant tokens are shown: resource %q", got)
		}
	}
}

func TestChallengesLeadToTheIssuers(t *testing.T) {
	pdp := &fakePDP{}
	up := newServer(t, tools)
	g := newGateway(t, up.URL, pdp, withOAuth)
	request := call("1", "echo", "{}")
	for _, c := range []struct{ name, token, want string }{
		{"no token", "-", `Bearer resource_metadata="` + metadataURL + `", scope="mcp:read"`},
		{"another scheme", "Basic YTpi", `Bearer resource_metadata="` + metadataURL + `", scope="mcp:read"`},
		{"a bad token", "Bearer mallory", `Bearer resource_metadata="` + metadataURL + `", scope="mcp:read", error="invalid_token", error_description="The token is not valid."`},
	} {
		got := g.oauthPost(t, request, "Authorization", c.token)
		if got.Status != http.StatusUnauthorized || got.Header.Get("WWW-Authenticate") != c.want || !strings.Contains(got.Body, `"id":1,"error"`) {
			t.Errorf("%s: %d %s %s", c.name, got.Status, got.Header.Get("WWW-Authenticate"), got.Body)
		}
	}
	// A stream has the same, and the form of the URL is the client's.
	r := g.request(http.MethodGet, "", "Authorization", "-")
	r.URL.Path = "/oauth/mcp/s"
	if got, want := g.do(t, r).Header.Get("WWW-Authenticate"), `resource_metadata="`+strings.TrimSuffix(metadataURL, "/")+`"`; !strings.Contains(got, want) {
		t.Errorf("a stream without a token: %s", got)
	}
	if got := g.post(t, request, "Authorization", "-").Header.Get("WWW-Authenticate"); got != "Bearer" {
		t.Errorf("where grant tokens are shown: %s", got)
	}
	if len(up.calls()) != 0 {
		t.Error("something was forwarded")
	}
}

func TestChallengesAreQuoted(t *testing.T) {
	got := bearerChallenge([]parameter{{"a", `say "x" \ y`}, {"b", ""}, {"c", "é\r\nX: y"}})
	if want := `Bearer a="say 'x' ' y", c="?  X: y"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestStepUpIsForAccessTokensOnly(t *testing.T) {
	const reason = "Refunds need more."
	for _, c := range []struct {
		name   string
		effect v1.Effect
		scopes []string
		oauth  bool
		status int
		header string
		body   string
	}{
		{
			"access token", v1.Effect_EFFECT_DENY,
			[]string{"mcp:read", "refunds", "offline_access"},
			true, 403,
			`Bearer error="insufficient_scope", scope="mcp:read refunds", resource_metadata="` + metadataURL + `", error_description="Refunds need more."`,
			`"error":{"code":1003,"message":"Refunds need more."}`,
		},
		{"grant token", v1.Effect_EFFECT_DENY, []string{"mcp:read", "refunds"}, false, 200, "", `[POLICY DENIED] Refunds need more. Needed are the scopes mcp:read, refunds."}],"isError":true`},
		{"nothing to ask for", v1.Effect_EFFECT_DENY, nil, true, 200, "", `[POLICY DENIED] Refunds need more.`},
		{"what is hidden", v1.Effect_EFFECT_HIDE, []string{"refunds"}, true, 200, "", `Unknown tool: echo`},
	} {
		t.Run(c.name, func(t *testing.T) {
			pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse {
				return &v1.DecideResponse{Effect: c.effect, ReasonCode: v1.ReasonCode_REASON_CODE_INSUFFICIENT_SCOPE, Reason: reason, Scopes: c.scopes}
			}}
			g := newGateway(t, newServer(t, tools).URL, pdp, withOAuth)
			post := g.post
			if c.oauth {
				post = g.oauthPost
			}
			got := post(t, call("1", "echo", "{}"))
			if got.Status != c.status || got.Header.Get("WWW-Authenticate") != c.header || !strings.Contains(got.Body, c.body) {
				t.Errorf("%d %q %s", got.Status, got.Header.Get("WWW-Authenticate"), got.Body)
			}
		})
	}
}

func TestASessionIsOfOneKindOfEvidence(t *testing.T) {
	pdp := &fakePDP{}
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if member([]byte(body), "method") == "initialize" {
			w.Header().Set("Mcp-Session-Id", "sess")
		}
		tools(w, r, body)
	})
	g := newGateway(t, up.URL, pdp, withOAuth)
	open := `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`
	if got := g.oauthPost(t, open); got.Header.Get("Mcp-Session-Id") != "sess" {
		t.Fatalf("%d %s", got.Status, got.Body)
	}
	if got := g.oauthPost(t, call("1", "echo", "{}"), "Mcp-Session-Id", "sess"); got.Status != 200 {
		t.Errorf("its own: %d %s", got.Status, got.Body)
	}
	before := len(up.calls())
	// The same token, and even the same subject and grant: the fake PDP takes both.
	for _, known := range []bool{false, true} {
		if got := g.post(t, call("2", "echo", "{}"), "Mcp-Session-Id", "sess"); got.Status != http.StatusNotFound {
			t.Errorf("with a grant token, known %v: %d %s", known, got.Status, got.Body)
		}
		if known {
			break
		}
		g.post(t, call("3", "echo", "{}")) // now it is known
		before = len(up.calls())
	}
	if len(up.calls()) != before {
		t.Error("a call of another kind of evidence was forwarded in the session")
	}
	last := pdp.last()
	if last.GetFault().GetRule() != ruleOtherSession {
		t.Errorf("on record: %v", last.GetFault())
	}
}

func TestI9_StreamsAreCheckedWithTheirResource(t *testing.T) {
	pdp := &fakePDP{}
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if r.Method == http.MethodGet {
			say(w, ": open\n\n")
			<-r.Context().Done()
			return
		}
		tools(w, r, body)
	})
	g := newGateway(t, up.URL, pdp, withOAuth)
	r := g.request(http.MethodGet, "")
	r.URL.Path = "/oauth/mcp/s/"
	res, err := g.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	eventually(t, "a check", func() bool {
		pdp.mu.Lock()
		defer pdp.mu.Unlock()
		return len(pdp.lists) > 0
	})
	pdp.mu.Lock()
	defer pdp.mu.Unlock()
	if got := pdp.lists[0].GetEvidence().GetResource(); got != "https://gate.example/oauth/mcp/s" {
		t.Errorf("resource %q", got)
	}
}

func TestRefusalsOfIdentityAndCredentials(t *testing.T) {
	account := deny(v1.ReasonCode_REASON_CODE_ACCOUNT_NEEDED, "Ada has not connected GitHub.")
	account.Account = &v1.AccountNeeded{Holder: "ada", Url: "https://console.example/accounts/github"}
	asked := &v1.DecideResponse{
		Effect: v1.Effect_EFFECT_APPROVE, ReasonCode: v1.ReasonCode_REASON_CODE_ACCOUNT_NEEDED, Reason: account.GetReason(), Account: account.GetAccount(),
		Approval: &v1.PendingApproval{Url: account.GetAccount().GetUrl(), RequestState: []byte("sealed"), Round: 1},
	}
	const words = `"[ACCOUNT NEEDED] Ada has not connected GitHub.\nada has to open https://console.example/accounts/github and connect an account of the server, then repeat the same call."}],"isError":true`
	const meta = `"reasonCode":"account_needed","url":"https://console.example/accounts/github"`
	for _, c := range []struct {
		name     string
		decision *v1.DecideResponse
		status   int
		body     []string
	}{
		{"not granted", deny(v1.ReasonCode_REASON_CODE_NOT_GRANTED, "Ada holds no grant."), 403, []string{`"error":{"code":1003,"message":"Ada holds no grant."}`}},
		{"used up", deny(v1.ReasonCode_REASON_CODE_GRANT_USED_UP, "Used up."), 200, []string{`[POLICY DENIED] Used up.`, `"reasonCode":"grant_used_up"`}},
		{"no credential", deny(v1.ReasonCode_REASON_CODE_CREDENTIAL_UNAVAILABLE, "The token endpoint is away."), 200, []string{`[POLICY DENIED] The token endpoint is away.`}},
		{"account", account, 200, []string{words, meta}},
		{"account, of a client that cannot be asked", asked, 200, []string{words, meta}},
	} {
		pdp := &fakePDP{rule: func(*v1.DecideRequest) *v1.DecideResponse { return c.decision }}
		g := newGateway(t, newServer(t, tools).URL, pdp)
		got := g.post(t, call("1", "echo", "{}"))
		for _, part := range c.body {
			if got.Status != c.status || !strings.Contains(got.Body, part) {
				t.Errorf("%s: %d %s, want %s", c.name, got.Status, got.Body, part)
			}
		}
	}
	// One that opens links is asked by the rounds that there are.
	pdp := &fakePDP{rule: func(r *v1.DecideRequest) *v1.DecideResponse {
		if r.GetMethod() == "tools/call" {
			return asked
		}
		return allow()
	}}
	g := newGateway(t, newServer(t, tools).URL, pdp)
	body, header := modern("1", "tools/call", `"name":"echo","arguments":{}`)
	body = strings.Replace(body, `"io.modelcontextprotocol/clientCapabilities":{}`, `"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}`, 1)
	got := g.post(t, body, header...)
	for _, part := range []string{`"resultType":"input_required"`, `"url":"https://console.example/accounts/github"`, "ada has to connect an account of the server. Open the link to do so"} {
		if !strings.Contains(got.Body, part) {
			t.Errorf("no %s in %s", part, got.Body)
		}
	}
}

// What is kept by evidence, dialogs and the watch over streams, is kept apart.
func TestI10_OneTokenShownInTwoPlacesIsTwoPiecesOfEvidence(t *testing.T) {
	grant := keyOf(&v1.Evidence{BearerToken: "t"})
	for _, e := range []*v1.Evidence{
		{BearerToken: "t", Resource: "https://gate.example/mcp/s"}, {BearerToken: "t", Resource: "x"}, {Resource: "t"}, {BearerToken: "t", PeerCertificates: [][]byte{{1}}},
	} {
		if keyOf(e) == grant {
			t.Errorf("%v is taken for the same", e)
		}
	}
}
