package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/console"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

func TestLinkSignsInOnce(t *testing.T) {
	k := newKit(t)
	link := k.link("abel")
	b := k.browser()
	b.follow(link).leads("/")
	b.get("/approvals").is(http.StatusOK, "Abel Approver", "approver")
	k.browser().follow(link).is(http.StatusForbidden, "does not sign in any more")
}

// TestOpeningALinkUsesNothing, since mail programs and chats open links too.
func TestOpeningALinkUsesNothing(t *testing.T) {
	k := newKit(t)
	link := k.link("abel")
	for range 3 {
		k.browser().get(link).is(http.StatusOK, "Sign in to the console")
		k.browser().send(http.MethodHead, link, nil).is(http.StatusOK)
	}
	b := k.browser()
	b.follow(link).leads("/")
	b.get("/approvals").is(http.StatusOK)
}

func TestLinkExpires(t *testing.T) {
	k := newKit(t)
	early, late := k.link("abel"), k.link("abel")
	k.pass(10*time.Minute - time.Second)
	k.browser().follow(early).leads("/")
	k.pass(time.Second)
	k.browser().follow(late).is(http.StatusForbidden, "does not sign in any more")
}

func TestLinkIsForConfiguredPeople(t *testing.T) {
	k := newKit(t)
	for _, id := range []string{"mallory", "", "operator", "ABEL"} {
		if _, _, err := k.console.NewLink(t.Context(), id); err == nil {
			t.Errorf("there is a link for %q", id)
		}
	}
	alone := newKit(t, func(o *console.Options) { o.People = nil })
	alone.as("").get("/approvals").is(http.StatusOK, "operator", "admin")
}

// TestSecretsAreKeptAsDigests looks for them in everything that is stored.
func TestSecretsAreKeptAsDigests(t *testing.T) {
	k := newKit(t)
	link := k.link("abel")
	b := k.as("ada")
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{u.Query().Get("link"), b.cookies["mcpermit-session"].Value} {
		if len(secret) < 32 {
			t.Errorf("the secret %q is short", secret)
		}
		if k.stored(secret) {
			t.Errorf("the secret %q is stored", secret)
		}
	}
}

func TestSessionCookie(t *testing.T) {
	for address, want := range map[string]struct {
		name   string
		secure bool
	}{
		"http://127.0.0.1:8701":       {"mcpermit-session", false},
		"https://console.example.com": {"__Host-mcpermit-session", true},
	} {
		k := newKit(t, func(o *console.Options) { o.URL = address })
		b := k.as("abel")
		c := b.cookies[want.name]
		if c == nil {
			t.Fatalf("%s: no cookie %s in %v", address, want.name, b.cookies)
		}
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.Secure != want.secure || c.MaxAge != 12*60*60 {
			t.Errorf("%s: %v", address, c)
		}
	}
}

func TestSessionEnds(t *testing.T) {
	k := newKit(t, func(o *console.Options) { o.Session = time.Hour })
	b := k.as("abel")
	k.pass(time.Hour - time.Second)
	b.get("/approvals").is(http.StatusOK) // looking does not make it longer
	k.pass(time.Second)
	b.get("/approvals").leads("/sign-in?next=%2Fapprovals")
}

func TestSignOutEndsTheSessionEverywhere(t *testing.T) {
	k := newKit(t)
	b := k.as("abel")
	stolen := *b.cookies["mcpermit-session"]
	b.post("/sign-out").leads("/sign-in?done=signed-out")
	if b.cookies["mcpermit-session"] != nil {
		t.Error("the browser still has the cookie")
	}
	b.get("/sign-in?done=signed-out").is(http.StatusOK, "You are signed out.")
	thief := k.browser()
	thief.cookies[stolen.Name] = &stolen
	thief.get("/approvals").leads("/sign-in?next=%2Fapprovals")
}

// TestNoFixation: a session that was there before the sign-in, the visitor's own
// or a planted one, is of no use after it.
func TestNoFixation(t *testing.T) {
	k := newKit(t)
	b := k.as("vera")
	before := *b.cookies["mcpermit-session"]
	b.follow(k.link("ada")).leads("/")
	if b.cookies["mcpermit-session"].Value == before.Value {
		t.Error("the session kept its secret")
	}
	b.get("/approvals").is(http.StatusOK, "Ada Admin")
	other := k.browser()
	other.cookies[before.Name] = &before
	other.get("/approvals").leads("/sign-in?next=%2Fapprovals")

	planted := k.browser()
	planted.cookies[before.Name] = &http.Cookie{Name: before.Name, Value: "PLANTED"}
	planted.follow(k.link("ada")).leads("/")
	if planted.cookies[before.Name].Value == "PLANTED" {
		t.Error("a planted secret became a session")
	}
}

// TestConfigurationCounts: whoever is no longer configured, or has a lower role
// now, is not what the session says.
func TestConfigurationCounts(t *testing.T) {
	k := newKit(t)
	removed, lowered := k.as("abel"), k.as("ada")
	k.restart(func(o *console.Options) {
		o.People = []signin.Person{{ID: "ada", Role: signin.Viewer}, {ID: "vera", Role: signin.Viewer}}
	})
	removed.get("/approvals").leads("/sign-in?next=%2Fapprovals")
	lowered.get("/approvals").is(http.StatusOK, "viewer").without("Ada Admin")

	link := k.link("vera")
	k.restart(func(o *console.Options) { o.People = []signin.Person{{ID: "ada", Role: signin.Viewer}} })
	k.browser().follow(link).is(http.StatusForbidden, "does not sign in any more")
}

func TestSignInLeadsBack(t *testing.T) {
	k := newKit(t)
	b := k.browser()
	to := b.get("/approvals?all=1").header.Get("Location")
	if to != "/sign-in?next=%2Fapprovals%3Fall%3D1" {
		t.Fatal(to)
	}
	b.get(to).is(http.StatusOK, "mcpermit console login")
	b.follow(k.link("abel")).leads("/approvals?all=1")
}

func TestNoOpenRedirect(t *testing.T) {
	k := newKit(t)
	for _, next := range []string{
		"https://evil.example/", "//evil.example/", `/\evil.example`, `\\evil.example`, "/\t/evil.example", "javascript:alert(1)",
		"evil.example", "http:/evil.example", "/%0d%0aSet-Cookie:x=1\r\n", "https:evil", "///evil.example", "",
	} {
		if got := console.Local(next); strings.HasPrefix(got, "//") || !strings.HasPrefix(got, "/") || strings.Contains(got, "evil") {
			t.Errorf("%q leads to %q", next, got)
		}
		b := k.browser()
		b.get("/sign-in?" + url.Values{"next": {next}}.Encode())
		b.follow(k.link("abel")).leads("/")
		k.pass(time.Minute) // so that the attempts stay few
	}
	if got := console.Local("/approvals/x?a=1&b=%20"); got != "/approvals/x?a=1&b=%20" {
		t.Errorf("a page of ours: %q", got)
	}
}

func TestSignInAttemptsAreBounded(t *testing.T) {
	k := newKit(t)
	b := k.browser()
	b.get("/sign-in?link=wrong")
	tried := 0
	for p := b.follow("/sign-in?link=wrong"); p.status != http.StatusTooManyRequests; p = b.follow("/sign-in?link=wrong") {
		if p.is(http.StatusForbidden); tried > 100 {
			t.Fatal("there is no bound")
		}
		tried++
	}
	link := k.link("abel")
	b.follow(link).is(http.StatusTooManyRequests, "Too many attempts")
	neighbour := k.browser()
	neighbour.change = func(r *http.Request) { r.RemoteAddr = strings.Replace(b.addr, "::1]", "::2]", 1) }
	neighbour.follow(link).is(http.StatusTooManyRequests)
	elsewhere := k.browser()
	elsewhere.change = func(r *http.Request) { r.RemoteAddr = "198.51.100.7:1234" }
	elsewhere.follow(link).leads("/")
	k.pass(time.Minute)
	b.follow(k.link("abel")).leads("/")
}
