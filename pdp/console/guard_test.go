package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/pdp/console"
)

func TestHeaders(t *testing.T) {
	k := newKit(t)
	signedIn := k.as("ada")
	for what, p := range map[string]*page{
		"page":      signedIn.get("/approvals"),
		"redirect":  k.browser().get("/"),
		"sign-in":   k.browser().get("/sign-in"),
		"not found": signedIn.get("/nothing"),
		"refused":   k.browser().send(http.MethodPost, "/sign-in", url.Values{}),
		"asset":     k.browser().get("/assets/console.css"),
	} {
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
				"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
			"X-Frame-Options":              "DENY",
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := p.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", what, name, got)
			}
		}
		if got := p.header.Get("Cache-Control"); what != "asset" && got != "no-store" {
			t.Errorf("%s: Cache-Control is %q", what, got)
		}
		if strings.Contains(p.body, "<script>") || strings.Contains(p.body, " style=") || strings.Contains(p.body, "<style") {
			t.Errorf("%s has script or style of its own: %s", what, p.body)
		}
	}
}

func TestHosts(t *testing.T) {
	k := newKit(t, func(o *console.Options) { o.URL, o.Admin = "https://console.example.com", "10.1.2.3:8701" })
	for host, good := range map[string]bool{
		"console.example.com": true, "CONSOLE.example.com:443": true, "console.example.com.": true,
		"10.1.2.3:8701": true, "10.1.2.3": true, "localhost:9999": true, "127.0.0.1:8701": true, "[::1]:8701": true,
		"evil.example": false, "console.example.com.evil.example": false, "127.0.0.1.evil.example:8701": false,
		"10.1.2.4:8701": false, "": false, "localhost.evil.example": false, "0.0.0.0:8701": false,
	} {
		b := k.browser()
		b.change = func(r *http.Request) { r.Host = host }
		want := http.StatusOK
		if !good {
			want = http.StatusMisdirectedRequest
		}
		if p := b.get("/sign-in"); p.status != want {
			t.Errorf("%q: %d, want %d", host, p.status, want)
		}
		b.get("/assets/console.css").is(want)
	}
	wild := newKit(t, func(o *console.Options) { o.Admin = "0.0.0.0:8701" }).browser()
	wild.change = func(r *http.Request) { r.Host = "0.0.0.0:8701" }
	wild.get("/sign-in").is(http.StatusMisdirectedRequest)
}

// from makes a request one that a browser sends from elsewhere.
func from(site, origin string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del("Sec-Fetch-Site")
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		r.Header.Set("Origin", origin)
	}
}

// TestForms sends the sign-out form from everywhere but a page of ours.
func TestForms(t *testing.T) {
	k := newKit(t)
	for what, c := range map[string]struct {
		change func(*http.Request)
		form   func(token string) url.Values
		text   string
	}{
		"another site":           {change: from("cross-site", "http://evil.example"), text: "Another site"},
		"a neighbour":            {change: from("same-site", "http://127.0.0.1:1"), text: "Another site"},
		"an old browser's site":  {change: from("", "http://evil.example"), text: "Another site"},
		"another port":           {change: from("", "http://127.0.0.1:1"), text: "Another site"},
		"a sandbox":              {change: from("", "null"), text: "Another site"},
		"no token":               {form: func(string) url.Values { return url.Values{} }, text: "not from a page"},
		"another token":          {form: func(token string) url.Values { return url.Values{"form": {token + "A"}} }, text: "not from a page"},
		"an empty token":         {form: func(string) url.Values { return url.Values{"form": {""}} }, text: "not from a page"},
		"another session's page": {form: func(string) url.Values { return url.Values{"form": {k.as("ada").get("/approvals").formToken()}} }, text: "not from a page"},
		"a token in the address": {
			change: func(r *http.Request) { r.URL.RawQuery = r.Header.Get("X-Form") },
			form:   func(string) url.Values { return url.Values{} }, text: "not from a page",
		},
		"another kind of body": {change: func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, text: "not from a page"},
	} {
		b := k.as("abel")
		token := b.get("/approvals").formToken()
		form := url.Values{"form": {token}}
		if c.form != nil {
			form = c.form(token)
		}
		b.change = func(r *http.Request) {
			r.Header.Set("X-Form", "form="+token)
			if c.change != nil {
				c.change(r)
			}
		}
		b.send(http.MethodPost, "/sign-out", form).is(http.StatusForbidden, c.text)
		b.change = nil
		if b.get("/approvals").status != http.StatusOK {
			t.Errorf("%s: signed out all the same", what)
		}
	}
}

// TestSignInFormIsOurs: another site cannot sign a visitor in as somebody else.
func TestSignInFormIsOurs(t *testing.T) {
	k := newKit(t)
	link := k.link("ada")
	secret := strings.TrimPrefix(link, "/sign-in?link=")
	own := k.browser()
	token := own.get(link).formToken()
	victim := k.browser()
	victim.get("/sign-in")
	victim.send(http.MethodPost, "/sign-in", url.Values{"form": {token}, "link": {secret}}).is(http.StatusForbidden, "not from a page")
	k.browser().send(http.MethodPost, "/sign-in", url.Values{"link": {secret}, "form": {""}}).is(http.StatusForbidden, "not from a page")
	// Without the cookie anybody could work the token out.
	k.browser().send(http.MethodPost, "/sign-in", url.Values{"link": {secret}, "form": {console.FormToken("")}}).is(http.StatusForbidden, "not from a page")
	own.follow(link).leads("/")
}

func TestFormsAreBounded(t *testing.T) {
	k := newKit(t)
	b := k.as("abel")
	token := b.get("/approvals").formToken()
	b.send(http.MethodPost, "/sign-out", url.Values{"form": {token}, "x": {strings.Repeat("x", 1<<20)}}).is(http.StatusRequestEntityTooLarge)
	b.get("/approvals").is(http.StatusOK)
}
