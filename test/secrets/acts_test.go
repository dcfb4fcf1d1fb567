package secrets

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
)

// grants has every kind of grant token used, good or not.
func (s *site) grants() {
	s.Helper()
	l := s.l
	s.grant("grant token", "--delegations", "3")
	s.judged("grant token", true)

	gone := s.grant("grant token, revoked")
	s.must("plain", "look", gone.Token, nil)
	s.run("grants", "revoke", gone.ID)
	s.judged("grant token, revoked", false)

	old := s.grant("grant token, rotated away")
	s.must("plain", "look", old.Token, nil)
	s.token("grant token, rotated to", command{args: []string{"grants", "rotate", old.ID, "-o", "json"}})
	s.judged("grant token, rotated away", false)
	s.judged("grant token, rotated to", true)

	s.token("grant token, delegated by the command line", command{
		args: []string{"grants", "delegate", "--subject", "agent:1", "-o", "json"}, env: []string{"MCPERMIT_TOKEN=" + l.of("grant token")},
	})
	s.judged("grant token, delegated by the command line", true)
	const name = "grant token, delegated over HTTP"
	a := s.send(request{path: "/grants", token: l.of("grant token"), body: `{"subject":{"id":"agent:2","type":"agent"}}`, handed: []string{name}})
	var m made
	if err := json.Unmarshal([]byte(a.body), &m); err != nil || a.status != http.StatusCreated {
		s.Fatalf("%v: %+v", err, a)
	}
	l.keep(name, m.Token)
	s.judged(name, true)

	l.keep("grant token, never issued", neverIssued())
	s.judged("grant token, never issued", false)
	s.grant("grant token, at the listener for access tokens")
	s.refused(request{path: "/oauth/mcp/plain", token: l.of("grant token, at the listener for access tokens"), body: call("look", nil)}, "grant token, at the listener for access tokens")
}

// refused holds that the gateway takes a request not, and is witness for the
// canaries in it.
func (s *site) refused(r request, canaries ...string) {
	s.Helper()
	a := s.send(r)
	if strings.Contains(a.body, `"text":"done"`) || strings.Contains(a.body, `"result":{`) && !strings.Contains(a.body, `"isError":true`) {
		s.Errorf("%q was not refused: %+v", canaries, a)
		return
	}
	for _, name := range canaries {
		s.l.use(byGateway, name)
	}
}

// malformed has credentials where they do not belong.
func (s *site) malformed() {
	s.Helper()
	l, good, frame := s.l, s.l.of("grant token"), call("look", nil)
	path := "/mcp/plain/"
	s.refused(request{path: path + "?access_token=" + l.plain("token in the query"), body: frame}, "token in the query")
	first, second := "first of two Authorization headers", "second of two Authorization headers"
	s.refused(request{path: path, body: frame, header: http.Header{"Authorization": {"Bearer " + l.plain(first), "Bearer " + l.plain(second)}}}, first, second)
	s.refused(request{path: path, body: frame, header: basic(l.plain("password of Basic"))}, "password of Basic")
	s.refused(request{path: path, body: frame, header: http.Header{"Cookie": {"session=" + l.plain("cookie of a client")}}}, "cookie of a client")
	s.refused(request{path: path, token: good, body: `{"jsonrpc":"2.0","id":1,"token":"` + l.plain("token in a frame that is no JSON") + `"`}, "token in a frame that is no JSON")
	name := l.plain("token in a name that is there twice")
	s.refused(request{path: path, token: good, body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":{"` + name + `":1,"` + name + `":2}}}`}, "token in a name that is there twice")
	s.refused(request{path: path, body: frame, header: http.Header{"Authorization": {"Bearer " + l.plain("token in a header that is too long") + strings.Repeat("x", 40<<10)}}}, "token in a header that is too long")
	s.refused(request{path: path, token: good, body: frame, header: http.Header{"Mcp-Session-Id": {l.plain("token as session id")}}}, "token as session id")
	s.refused(request{path: "/mcp/" + l.plain("token as the name of a server") + "/", token: good, body: frame}, "token as the name of a server")
}

// accessTokens has access tokens shown, good or not.
func (s *site) accessTokens() {
	s.Helper()
	a, l := s.authority, s.l
	audience := s.URL + "/oauth/mcp/plain"
	const hour = 3600e9
	l.keep("access token", a.accessToken(a.key, audience, hour))
	l.keep("access token, expired", a.accessToken(a.key, audience, -hour/2))
	l.keep("access token, for another audience", a.accessToken(a.key, "https://elsewhere.example", hour))
	l.keep("access token, of another key", a.accessToken(newKey(s), audience, hour))
	l.keep("access token, at the listener for grants", a.accessToken(a.key, audience, hour))
	l.keep("subject token", a.accessToken(a.key, s.URL+"/oauth/mcp/traded", hour))

	frame := call("look", nil)
	if r := s.send(request{path: "/oauth/mcp/plain", token: l.of("access token"), body: frame}); !strings.Contains(r.body, `"text":"done"`) {
		s.Errorf("an access token is not taken: %+v", r)
	}
	l.use(byGateway, "access token")
	for _, name := range []string{"access token, expired", "access token, for another audience", "access token, of another key"} {
		s.refused(request{path: "/oauth/mcp/plain", token: l.of(name), body: frame}, name)
	}
	s.refused(request{path: "/mcp/plain/", token: l.of("access token, at the listener for grants"), body: frame}, "access token, at the listener for grants")
	if r := s.send(request{path: "/oauth/mcp/traded", token: l.of("subject token"), body: frame}); !strings.Contains(r.body, `"text":"done"`) {
		s.Errorf("no token in exchange: %+v", r)
	}
}

// secrets has secrets of the vault carried.
func (s *site) secrets() {
	s.Helper()
	l, token := s.l, s.l.of("grant token")
	set := func(stdin string, more command, args ...string) {
		s.Helper()
		more.args, more.stdin = append([]string{"credentials", "set"}, args...), stdin
		s.cli(more)
	}
	set("", command{env: []string{"VALUE=" + l.plant("secret in the query")}}, "account", "--from-env", "VALUE")
	set(l.plain("secret that was replaced")+"\n", command{}, "shared")
	s.must("shared", "look", token, nil)
	set(l.plain("secret that all share")+"\n", command{}, "shared")
	s.within(func() bool {
		return s.calls("shared", "look", token, nil) && l.seen("secret that all share")
	})
	set("", command{}, "personal", "--holder", "ada", "--from-file", s.file("personal", l.plant("secret of a holder")))
	s.must("own", "look", token, nil)
	set(l.plant("secret in the environment of a command"), command{}, "child")
	opened := s.send(request{path: "/mcp/child/", token: token, body: initialize})
	if a := s.send(request{path: "/mcp/child/", token: token, body: call("look", nil), header: http.Header{"Mcp-Session-Id": {opened.session}}}); !strings.Contains(a.body, `"text":"done"`) {
		s.Errorf("a command: %+v, after %+v", a, opened)
	}
	l.saw(byChild, s.read(filepath.Join(s.dir, "child")))
}

// masked has secrets in the arguments of calls.
func (s *site) masked() {
	s.Helper()
	l, token := s.l, s.l.of("grant token")
	github := l.keep("GitHub token", "ghp_"+letters(36))
	stripe := l.keep("Stripe key", "sk_live_"+letters(40))
	aws := l.keep("AWS key", "AKIA"+strings.ToUpper(letters(16)))
	jwt := l.keep("JSON Web Token", s.authority.accessToken(newKey(s), "https://elsewhere.example", 0))
	pem := l.keep("private key", pemOf(s, newKey(s)))
	grant := l.keep("grant token in an argument", neverIssued())
	s.must("plain", "look", token, map[string]any{
		"note": l.plant("argument that the policy masks"), "password": l.plant("argument with a secret's name"),
		"options": map[string]any{"headers": map[string]any{"X-Api-Key": l.plant("argument deep inside")}},
		"text":    "use " + github + " or " + stripe + ", and " + aws + "; " + jwt + " with " + grant,
		"key":     "the key:\n" + pem, "url": "postgres://u:" + l.plain("password in a URL") + "@db.internal/x",
	})
	s.refused(request{path: "/mcp/plain/", token: token, body: call("wipe", map[string]any{"password": l.plant("argument of a denied call")})}, "argument of a denied call")
}

// echoes has the server repeat its credential in every place. Only in a message of
// the protocol it goes on, and nowhere but to the client.
func (s *site) echoes() {
	s.Helper()
	const canary = "header that the server repeats"
	for _, where := range []string{"challenge", "forbidden", "redirect", "text", "headers", "malformed", "type"} {
		s.send(request{path: "/mcp/echo/", token: s.l.of("grant token"), body: call(where, nil)})
	}
	a := s.send(request{path: "/mcp/echo/", token: s.l.of("grant token"), body: call("body", nil), handed: []string{canary}})
	if !strings.Contains(a.body, s.l.of(canary)) {
		s.Errorf("a message of the server was changed: %+v", a)
	}
}

// tokens has tokens of the authorization server carried and renewed.
func (s *site) tokens(b *browser) {
	s.Helper()
	token := s.l.of("grant token")
	s.calls("machine", "look", token, nil) // which refuses the first token; a call is not made twice
	s.must("machine", "look", token, nil)
	s.must("signed", "look", token, nil)
	for _, server := range []string{"repeated", "coded", "people"} {
		if s.calls(server, "look", token, nil) {
			s.Errorf("%s has no tokens, and was called", server)
		}
	}
	b.open(b.AdminURL + "/connect/people/main")
	b.submit("/connect/people/main", "state of an authorization") // the page leads to the authorization server
	b.shows("1 account is connected")
	s.must("people", "look", token, nil)
	s.calls("people", "again", token, nil)
	s.must("people", "again", token, nil)
	s.cli(command{args: []string{"credentials", "rotate", "people/main", "--holder", "ada"}, fails: true})
	b.open(b.AdminURL + "/oauth/callback?state=" + s.l.of("state of an authorization") + "&code=" + s.l.of("authorization code"))
	b.shows("belongs to nothing that was begun here")
}

// approval has a call wait for a person, and pass.
func (s *site) approval() {
	s.Helper()
	l := s.l
	const state = "state of an approval"
	frame := func(more string) string {
		arguments, _ := json.Marshal(map[string]any{"amount": 1, "password": l.of("argument of a call that waits")})
		return `{"jsonrpc":"2.0","id":"pay","method":"tools/call","params":{"name":"pay","arguments":` + string(arguments) + more +
			`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}}}}`
	}
	l.plant("argument of a call that waits")
	header := http.Header{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"pay"}}
	r := request{path: "/mcp/plain/", token: l.of("grant token"), body: frame(""), header: header, handed: []string{state}}
	var asked struct {
		Result struct {
			InputRequests map[string]any
			RequestState  string
		}
	}
	if a := s.send(r); json.Unmarshal([]byte(a.body), &asked) != nil || len(asked.Result.InputRequests) != 1 {
		s.Fatalf("no question: %+v", a)
	}
	l.keep(state, asked.Result.RequestState)
	var waits struct{ ID string }
	if err := json.Unmarshal([]byte(s.run("approvals", "list", "-o", "json")), &waits); err != nil {
		s.Fatal(err)
	}
	s.run("approvals", "approve", waits.ID, "--as", "pam", "--reason", "fine")
	for key := range asked.Result.InputRequests {
		responses, _ := json.Marshal(map[string]any{key: map[string]any{"action": "accept"}})
		r.body, r.handed = frame(`,"inputResponses":`+string(responses)+`,"requestState":"`+asked.Result.RequestState+`"`), nil
	}
	if a := s.send(r); !strings.Contains(a.body, `"text":"done"`) {
		s.Errorf("an approved call: %+v", a)
		return
	}
	l.use(byGateway, state)
}

// consoleByProvider signs somebody in at the authorization server; the first time
// that fails.
func (s *site) consoleByProvider() {
	s.Helper()
	b := s.browser()
	b.open(s.AdminURL + "/sign-in/oidc")
	b.shows("could not be verified")
	b.open(s.AdminURL + "/sign-in/oidc")
	b.shows("nina")
	s.l.use(byConsole, "ID token of a console sign-in")
}

// slips are mistakes on the command line, which must not repeat what was meant to be
// secret.
func (s *site) slips() {
	s.Helper()
	l := s.l
	slip := func(canary string, c command) {
		s.Helper()
		c.fails = true
		s.cli(c)
		l.use(byCLI, canary)
	}
	slip("value given as an argument", command{args: []string{"credentials", "set", "shared", l.plain("value given as an argument")}})
	slip("value given as the name", command{args: []string{"credentials", "set", l.plant("value given as the name")}, stdin: "x"})
	slip("value that is too long", command{args: []string{"credentials", "set", "shared"}, stdin: strings.Repeat(l.plant("value that is too long"), 1500)})
	slip("value that no header can carry", command{args: []string{"credentials", "set", "shared"}, stdin: "a\n" + l.plant("value that no header can carry")})
	slip("token given in place of an id", command{args: []string{"grants", "show", l.keep("token given in place of an id", neverIssued())}})
	slip("token that may not delegate", command{
		args: []string{"grants", "delegate", "--subject", "agent:3"}, env: []string{"MCPERMIT_TOKEN=" + l.keep("token that may not delegate", neverIssued())},
	})
}

// newMasterKey starts the gateway again, with another master key.
func (s *site) newMasterKey() {
	s.Helper()
	key := s.l.keep("master key in a file", masterKey())
	s.Configure(s, map[string]any{"vault": map[string]any{
		"master_key": "file:" + s.file("new.key", key+"\n"), "old": []string{"file:" + filepath.Join(s.StateDir, "master.key")},
	}})
	s.Up(s)
	token := s.l.of("grant token")
	s.must("shared", "look", token, nil)
	s.l.use(byVault, "master key that was made")
	s.run("credentials", "rekey")
	s.must("own", "look", token, nil)
	s.stop("mcpermit up, again", s.Process)

	s.Configure(s, map[string]any{"vault": map[string]any{"master_key": "file:" + filepath.Join(s.dir, "new.key")}})
	s.Up(s)
	s.must("shared", "look", token, nil) // without the old key
	s.l.use(byVault, "master key in a file")
	s.stop("mcpermit up, at last", s.Process)
}
