package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"

	"github.com/mcpermit/mcpermit/pdp/console"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/test/shelf"
)

// upstream is a server that has people connect accounts, and its authorization server,
// which agrees to everything.
type upstream struct {
	*httptest.Server
	scope   string
	shelf   *shelf.Shelf
	mu      sync.Mutex
	secrets []string
	asked   int
}

// newUpstream starts one as the server "mcp", with the credential "own".
func newUpstream(k interface{ Cleanup(func()) }) *upstream {
	u := &upstream{scope: "tools:call", shelf: shelf.New()}
	mux := http.NewServeMux()
	u.Server = httptest.NewServer(mux)
	k.Cleanup(u.Close)
	says := func(v func() map[string]any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v()) }
	}
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer scope=%q", u.scope))
		w.WriteHeader(http.StatusUnauthorized)
	})
	mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", says(func() map[string]any {
		return map[string]any{"resource": u.URL + "/mcp", "authorization_servers": []string{u.URL}}
	}))
	mux.HandleFunc("/.well-known/oauth-authorization-server", says(func() map[string]any {
		return map[string]any{
			"issuer": u.URL, "authorization_endpoint": u.URL + "/authorize", "token_endpoint": u.URL + "/token",
			"registration_endpoint": u.URL + "/register", "code_challenge_methods_supported": []string{"S256"},
		}
	}))
	mux.HandleFunc("/register", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"client_id": "gateway", "client_secret": u.secret("client-secret")})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		u.mu.Lock()
		u.asked++
		u.secrets = append(u.secrets, r.PostForm.Get("code_verifier"))
		u.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": u.secret("access"), "refresh_token": u.secret("refresh"), "token_type": "bearer", "expires_in": 3600,
		})
	})
	return u
}

func (u *upstream) secret(kind string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := fmt.Sprintf("%s-c4n4ry-%d", kind, len(u.secrets))
	u.secrets = append(u.secrets, s)
	return s
}

// accounts has the console connect accounts of the upstream.
func (u *upstream) accounts(k *kit) func(*console.Options) {
	return func(o *console.Options) {
		b, err := credential.NewBroker(credential.BrokerOptions{
			Servers:    map[string]credential.Upstream{"mcp": {URL: u.URL + "/mcp", Credentials: map[string]credential.Brokered{"own": {Account: &credential.Account{}}}}},
			ConsoleURL: o.URL, Vault: u.shelf.Vault("one"), List: u.shelf.List, HTTP: u.Client(), Discovered: u.Client(), Now: o.Now, Log: o.Log,
		})
		if err != nil {
			k.Fatal(err)
		}
		k.Cleanup(b.Close)
		o.Accounts = b
	}
}

// newConnectKit is a kit with an upstream.
func newConnectKit(k *kit) *upstream {
	u := newUpstream(k)
	k.restart(u.accounts(k))
	return u
}

// agree reads the page and presses its button: the address that the person is sent to.
func (b *browser) agree(path string) *url.URL {
	b.k.Helper()
	p := b.get(path)
	form := url.Values{"form": {p.formToken()}}
	for _, name := range []string{"holder", "terms"} {
		form.Set(name, field(p.body, name))
	}
	sent := b.send(http.MethodPost, strings.SplitN(path, "?", 2)[0], form).is(http.StatusOK, "Going on to")
	address, ok := strings.CutPrefix(sent.header.Get("Refresh"), "0; url=")
	u, err := url.Parse(address)
	if !ok || err != nil || sent.header.Get("Location") != "" {
		b.k.Fatalf("sent to %q: %v", address, err)
	}
	return u
}

// field is the value of a hidden field.
func field(body, name string) string {
	_, after, _ := strings.Cut(body, `type="hidden" name="`+name+`" value="`)
	value, _, _ := strings.Cut(after, `"`)
	return value
}

// callback is where the authorization server sends the person back.
func (u *upstream) callback(sent *url.URL) string {
	return "/oauth/callback?" + url.Values{"state": sent.Query()["state"], "code": {u.secret("code")}}.Encode()
}
