package console_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/mcpermit/mcpermit/pdp/console"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

// idp is a provider that signs anybody in as what the test says.
type idp struct {
	*httptest.Server
	t      *testing.T
	key    *ecdsa.PrivateKey
	signer *ecdsa.PrivateKey // key, but where a test has another one sign
	// claims are those of the next ID token, beside those that every one has.
	claims map[string]any
	// asked is what the console asked the browser to ask for.
	asked url.Values
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &idp{t: t, key: key, signer: key}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.write(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.write(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *idp) write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.t.Error(err)
	}
}

// token redeems the code "good", if client and PKCE verifier are the right ones.
func (p *idp) token(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	challenge := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if r.FormValue("code") != "good" || id != "console" || secret != "hush" || p.asked.Get("code_challenge_method") != "S256" ||
		base64.RawURLEncoding.EncodeToString(challenge[:]) != p.asked.Get("code_challenge") || r.FormValue("redirect_uri") != p.asked.Get("redirect_uri") {
		w.WriteHeader(http.StatusBadRequest)
		p.write(w, map[string]string{"error": "invalid_grant", "error_description": "not " + secret + " with " + r.Form.Encode()})
		return
	}
	claims := map[string]any{
		"iss": p.URL, "aud": "console", "sub": "s-1", "nonce": p.asked.Get("nonce"),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	maps.Copy(claims, p.claims)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.signer}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		p.t.Error(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		p.t.Error(err)
	}
	p.write(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": raw})
}

// options make the console trust the provider.
func (p *idp) options(o *console.Options) {
	o.OIDC = console.OIDC{
		Issuer: p.URL, ClientID: "console", ClientSecret: "hush", SubjectClaim: "preferred_username",
		Roles: map[signin.Role][]string{signin.Viewer: {"staff"}, signin.Approver: {"finance"}, signin.Admin: {"ops"}},
	}
}

// begin goes to the provider and returns the state to come back with.
func (p *idp) begin(b *browser) string {
	p.t.Helper()
	to, err := url.Parse(b.get("/sign-in/oidc").header.Get("Location"))
	if err != nil || !strings.HasPrefix(to.String(), p.URL+"/authorize?") {
		p.t.Fatalf("sent to %q, %v", to, err)
	}
	p.asked = to.Query()
	return p.asked.Get("state")
}

// back is what the provider sends the browser back with.
func back(values ...string) string {
	q := url.Values{}
	for i := 0; i < len(values); i += 2 {
		q.Set(values[i], values[i+1])
	}
	return "/sign-in/oidc/callback?" + q.Encode()
}

func TestOIDC(t *testing.T) {
	p := newIDP(t)
	k := newKit(t, p.options)
	for _, c := range []struct {
		claims map[string]any
		status int
		text   string
	}{
		{map[string]any{"preferred_username": "nina", "name": "Nina N.", "groups": []string{"finance", "x"}}, 0, "Nina N.</b> <span class=\"quiet\">approver"},
		{map[string]any{"preferred_username": "otto", "groups": []string{"staff", "ops", "finance"}}, 0, "otto</b> <span class=\"quiet\">admin"},
		{map[string]any{"preferred_username": "sam", "groups": "staff"}, 0, "sam</b> <span class=\"quiet\">viewer"},
		// The configuration comes first, also where it gives less.
		{map[string]any{"preferred_username": "vera", "name": "Root", "groups": []string{"ops"}}, 0, "Vera Viewer</b> <span class=\"quiet\">viewer"},
		{map[string]any{"preferred_username": "eve", "groups": []string{"others"}}, http.StatusForbidden, "none of your groups"},
		{map[string]any{"preferred_username": "eve"}, http.StatusForbidden, "none of your groups"},
		{map[string]any{"groups": []string{"ops"}}, http.StatusForbidden, "does not say who you are"},
		{map[string]any{"preferred_username": "a\u202eb", "groups": []string{"ops"}}, http.StatusForbidden, "does not say who you are"},
		{map[string]any{"preferred_username": "nina", "groups": []string{"ops"}, "aud": "another"}, http.StatusForbidden, "could not be verified"},
		{map[string]any{"preferred_username": "nina", "groups": []string{"ops"}, "iss": "https://another.example"}, http.StatusForbidden, "could not be verified"},
		{map[string]any{"preferred_username": "nina", "groups": []string{"ops"}, "exp": time.Now().Add(-time.Hour).Unix()}, http.StatusForbidden, "could not be verified"},
		{map[string]any{"preferred_username": "nina", "groups": []string{"ops"}, "nonce": "another"}, http.StatusForbidden, "could not be verified"},
	} {
		b := k.browser()
		b.get("/approvals?all=1")
		b.get("/sign-in?next=%2Fapprovals%3Fall%3D1").is(http.StatusOK, `href="/sign-in/oidc"`)
		p.claims = c.claims
		answer := b.get(back("state", p.begin(b), "code", "good"))
		if c.status != 0 {
			answer.is(c.status, c.text)
			b.get("/approvals").leads("/sign-in?next=%2Fapprovals")
			continue
		}
		answer.leads("/approvals?all=1")
		b.get("/approvals").is(http.StatusOK, c.text)
	}
}

func TestOIDCAnswersThatAreNotOurs(t *testing.T) {
	p := newIDP(t)
	k := newKit(t, p.options)
	p.claims = map[string]any{"preferred_username": "otto", "groups": []string{"ops"}}
	for what, answer := range map[string]func(b *browser) *page{
		"another state": func(b *browser) *page { p.begin(b); return b.get(back("state", "another", "code", "good")) },
		"no state":      func(b *browser) *page { p.begin(b); return b.get(back("code", "good")) },
		"another browser": func(b *browser) *page {
			return b.get(back("state", p.begin(k.browser()), "code", "good"))
		},
		"not begun": func(b *browser) *page { return b.get(back("state", "", "code", "good")) },
		"an empty cookie": func(b *browser) *page {
			b.cookies["mcpermit-oidc"] = &http.Cookie{Name: "mcpermit-oidc", Value: ".."}
			return b.get(back("state", "", "code", "good"))
		},
		"another provider": func(b *browser) *page {
			return b.get(back("state", p.begin(b), "code", "good", "iss", "https://another.example"))
		},
		"a bad code": func(b *browser) *page { return b.get(back("state", p.begin(b), "code", "bad")) },
		"an error": func(b *browser) *page {
			return b.get(back("state", p.begin(b), "error", "access_denied", "error_description", "<b>no\u202e"))
		},
		"a second time": func(b *browser) *page {
			state := p.begin(b)
			b.get(back("state", state, "code", "bad"))
			return b.get(back("state", state, "code", "good"))
		},
		"another one's signature": func(b *browser) *page {
			other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			p.signer = other
			defer func() { p.signer = p.key }()
			return b.get(back("state", p.begin(b), "code", "good"))
		},
	} {
		b := k.browser()
		answer(b).is(http.StatusForbidden).without("<b>no", "\u202e")
		if b.cookies["mcpermit-session"] != nil {
			t.Errorf("%s: signed in", what)
		}
	}
}

// TestI6_WhatAProviderRepeatsIsNotLogged: the code and the client's secret.
func TestI6_WhatAProviderRepeatsIsNotLogged(t *testing.T) {
	p := newIDP(t)
	var log bytes.Buffer
	k := newKit(t, p.options, func(o *console.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	b := k.browser()
	b.get(back("state", p.begin(b), "code", "c4n4ry")).is(http.StatusForbidden).without("c4n4ry", "hush")
	if text := log.String(); !strings.Contains(text, "answers with status 400") || strings.Contains(text, "c4n4ry") || strings.Contains(text, "hush") {
		t.Errorf("logged: %s", text)
	}
}

// TestOIDCGivesNobodyTheOperator: where nobody is configured, the operator is an
// admin, and comes by link only.
func TestOIDCGivesNobodyTheOperator(t *testing.T) {
	p := newIDP(t)
	k := newKit(t, p.options, func(o *console.Options) { o.People = nil })
	p.claims = map[string]any{"preferred_username": "Operator", "groups": []string{"ops"}}
	b := k.browser()
	b.get(back("state", p.begin(b), "code", "good")).is(http.StatusForbidden, "by link only")
}

func TestOIDCWantsVerifiedAddresses(t *testing.T) {
	p := newIDP(t)
	k := newKit(t, p.options, func(o *console.Options) { o.OIDC.SubjectClaim = "email" })
	p.claims = map[string]any{"email": "ada@example.com", "email_verified": false, "groups": []string{"ops"}}
	b := k.browser()
	b.get(back("state", p.begin(b), "code", "good")).is(http.StatusForbidden, "not verified your e-mail")
	p.claims["email_verified"] = true
	b.get(back("state", p.begin(b), "code", "good")).leads("/")
}

// TestOIDCAway: the console goes on without its provider, and finds it when it is back.
func TestOIDCAway(t *testing.T) {
	k := newKit(t, func(o *console.Options) { o.OIDC = console.OIDC{Issuer: "http://127.0.0.1:1", ClientID: "console"} })
	b := k.browser()
	b.get("/sign-in/oidc").is(http.StatusBadGateway, "can&#39;t be reached")
	b.follow(k.link("abel")).leads("/")
	newKit(t).browser().get("/sign-in/oidc").is(http.StatusNotFound)
}
