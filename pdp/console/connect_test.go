package console_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/pdp/console"
	"github.com/mcpermit/mcpermit/pdp/credential"
)

// who has the account, as the drawer has it.
func (u *upstream) holders() (list []string) {
	for _, e := range u.shelf.Entries() {
		if e.Kind == credential.KindAccount {
			list = append(list, e.Holder)
		}
	}
	return list
}

func TestConnectAnAccount(t *testing.T) {
	k := newKit(t)
	u := newConnectKit(k)
	host := strings.TrimPrefix(u.URL, "http://")
	b := k.as("vera")
	b.get("/connect/mcp/own").is(http.StatusOK, "Connect an account of mcp?", "<b>"+host+"</b>", "<code>tools:call</code>", "Continue at "+host).
		without("For somebody else", "It is connected already")
	sent := b.agree("/connect/mcp/own")
	if q := sent.Query(); sent.Host != host || q.Get("redirect_uri") != "http://127.0.0.1:8701/oauth/callback" || q.Get("resource") != u.URL+"/mcp" {
		t.Errorf("sent to %s", sent)
	}
	if got := u.holders(); len(got) != 0 {
		t.Errorf("connected before anybody agreed: %q", got)
	}
	b.get(u.callback(sent)).leads("/accounts?done=connected")
	b.get("/accounts?done=connected").is(http.StatusOK, "Connected. Calls carry", "1 account is connected", "vera", "Disconnect mcp of vera")
	b.get("/connect/mcp/own").is(http.StatusOK, "It is connected already")
	if got := u.holders(); !slices.Equal(got, []string{"vera"}) {
		t.Errorf("connected for %q", got)
	}
	b.post("/accounts/disconnect", "server", "mcp", "name", "own", "holder", "vera").leads("/accounts?done=disconnected")
	b.post("/accounts/disconnect", "server", "mcp", "name", "own", "holder", "vera").is(http.StatusNotFound, "There is no such account")
	b.get("/accounts").is(http.StatusOK, "No account is connected", `href="/connect/mcp/own"`)
	want := []string{
		"vera connect-account mcp/own of vera: taken", "vera disconnect-account mcp/own of vera: taken",
		"vera disconnect-account mcp/own of vera: taken", "vera disconnect-account mcp/own of vera: failed",
	}
	if got := k.acts(); !slices.Equal(got, want) {
		t.Errorf("on record: %q", got)
	}
}

// Everybody connects their own; an admin also for another, and is told so.
func TestConnectForAnother(t *testing.T) {
	k := newKit(t)
	u := newConnectKit(k)
	vera, ada := k.as("vera"), k.as("ada")
	vera.get("/connect/mcp/own?holder=agent:refunds").is(http.StatusForbidden, "This account is for agent:refunds to connect, or for an admin in their place. You are signed in as vera.")
	vera.get("/connect/mcp/own?holder=vera").is(http.StatusOK)
	vera.post("/connect/mcp/own", "holder", "agent:refunds").is(http.StatusForbidden)
	ada.get("/connect/mcp/own").is(http.StatusOK, "For somebody else")
	const page = "/connect/mcp/own?holder=agent%3Arefunds"
	ada.get(page).is(http.StatusOK, "You connect this as an admin, in the place of <b>agent:refunds</b>")
	ada.get(u.callback(ada.agree(page))).leads("/accounts?done=connected")
	vera.get(u.callback(vera.agree("/connect/mcp/own"))).leads("/accounts?done=connected")
	if got := u.holders(); !slices.Equal(got, []string{"agent:refunds", "vera"}) {
		t.Errorf("connected for %q", got)
	}
	vera.get("/accounts").is(http.StatusOK, "vera").without("agent:refunds")
	ada.get("/accounts").is(http.StatusOK, "vera", "agent:refunds", "2 accounts are connected", "you see everybody")
	vera.post("/accounts/disconnect", "server", "mcp", "name", "own", "holder", "agent:refunds").is(http.StatusForbidden)
	ada.post("/accounts/disconnect", "server", "mcp", "name", "own", "holder", "vera").leads("/accounts?done=disconnected")
	if got := u.holders(); !slices.Equal(got, []string{"agent:refunds"}) {
		t.Errorf("connected for %q", got)
	}
}

// An answer of an authorization server is good for who has begun, once.
func TestAnswersOfAuthorizationServers(t *testing.T) {
	k := newKit(t)
	u := newConnectKit(k)
	vera, abel := k.as("vera"), k.as("abel")
	answer := u.callback(vera.agree("/connect/mcp/own"))
	abel.get(answer).is(http.StatusBadGateway, "belongs to somebody else")
	vera.get(answer).is(http.StatusBadGateway, "nothing that was begun here")
	answer = u.callback(vera.agree("/connect/mcp/own"))
	vera.get(answer).leads("/accounts?done=connected")
	vera.get(answer).is(http.StatusBadGateway, "nothing that was begun here")
	k.browser().get("/oauth/callback?state=x&code=c0de").leads("/sign-in?next=%2Foauth%2Fcallback").without("c0de")
	sent := vera.agree("/connect/mcp/own")
	vera.get("/oauth/callback?"+url.Values{"state": sent.Query()["state"], "error": {"access_denied"}, "error_description": {"<script>no\u202e</script>"}}.Encode()).
		is(http.StatusBadGateway, "says: access_denied &lt;script&gt;no\\u202e&lt;/script&gt;.").without("<script>no")
	if u.asked != 1 {
		t.Errorf("asked for tokens %d times", u.asked)
	}
}

// What a person has agreed to is what they are sent to, from a form of ours.
func TestNobodyIsSentWithoutAgreeing(t *testing.T) {
	k := newKit(t)
	u := newConnectKit(k)
	b := k.as("vera")
	b.post("/connect/mcp/own", "holder", "vera", "terms", "x").is(http.StatusConflict, "What is asked for has changed", "Continue at")
	b.send(http.MethodPost, "/connect/mcp/own", url.Values{"holder": {"vera"}}).is(http.StatusForbidden, "not from a page that you have open")
	if n := len(u.shelf.Entries()); n != 0 {
		t.Errorf("%d entries of what nobody has begun", n)
	}
	b.get("/connect/mcp/other").is(http.StatusNotFound, "no account of that name")
	b.get("/connect/other/own").is(http.StatusNotFound, "no account of that name")
	u.Close()
	k.restart(u.accounts(k))
	b.get("/connect/mcp/own").is(http.StatusBadGateway, "reached")
}

// What cannot be recorded is not done.
func TestConnectWithoutARecord(t *testing.T) {
	k := newKit(t)
	u := newConnectKit(k)
	b := k.as("vera")
	answer := u.callback(b.agree("/connect/mcp/own"))
	k.record.fails.Store(true)
	b.get(answer).is(http.StatusServiceUnavailable, "could not be recorded, so it was not done")
	if got := u.holders(); len(got) != 0 || u.asked != 0 {
		t.Errorf("connected for %q; asked for tokens %d times", got, u.asked)
	}
}

func TestClientDocumentIsPublic(t *testing.T) {
	k := newKit(t)
	newConnectKit(k)
	k.browser().get("/oauth/client.json").is(http.StatusNotFound)
	u := newUpstream(k)
	k.restart(func(o *console.Options) { o.URL = "https://console.example" }, u.accounts(k))
	p := k.browser().get("/oauth/client.json").is(http.StatusOK)
	var d map[string]any
	if err := json.Unmarshal([]byte(p.body), &d); err != nil || d["client_id"] != "https://console.example/oauth/client.json" {
		t.Errorf("%v: %s", err, p.body)
	}
	if p.header.Get("Content-Type") != "application/json" || p.header.Get("Cache-Control") != "public, max-age=3600" {
		t.Errorf("headers %v", p.header)
	}
}

// Without a broker there are no accounts, and nothing leads to them.
func TestConsoleWithoutAccounts(t *testing.T) {
	b := newKit(t).as("ada")
	for _, path := range []string{"/accounts", "/connect/mcp/own", "/oauth/callback?state=x&code=y", "/oauth/client.json"} {
		b.get(path).is(http.StatusNotFound, "There is no such page.")
	}
	b.get("/approvals").without(`href="/accounts"`)
}

// TestI6_NoSecretOnConnectPages looks at all that a browser is shown.
func TestI6_NoSecretOnConnectPages(t *testing.T) {
	k := newKit(t)
	u := newConnectKit(k)
	b := k.as("vera")
	var shown strings.Builder
	look := func(p *page) {
		shown.WriteString(p.body)
		for name, values := range p.header {
			shown.WriteString(name + strings.Join(values, "\n"))
		}
	}
	look(b.get("/connect/mcp/own"))
	sent := b.agree("/connect/mcp/own")
	shown.WriteString(sent.String())
	answer := u.callback(sent)
	look(k.browser().get(answer))
	look(k.as("abel").get(answer))
	answer = u.callback(b.agree("/connect/mcp/own"))
	look(b.get(answer))
	look(b.get(answer))
	look(b.get("/accounts"))
	look(k.as("ada").get("/accounts"))
	look(b.get("/connect/mcp/own"))
	if len(u.secrets) < 5 {
		t.Fatalf("only %d secrets", len(u.secrets))
	}
	for _, secret := range u.secrets {
		if secret != "" && strings.Contains(shown.String(), secret) {
			t.Errorf("a page shows %q", secret)
		}
	}
}
