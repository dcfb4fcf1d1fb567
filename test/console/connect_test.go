package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/pdp/console"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/test/shelf"
)

// connectable has people connect accounts of a server whose authorization server asks
// them on a page of another host.
func connectable(t *testing.T) func(*console.Options) {
	t.Helper()
	return func(o *console.Options) {
		t.Helper()
		vault := shelf.New()
		b, err := credential.NewBroker(credential.BrokerOptions{
			Servers:    map[string]credential.Upstream{"tracker": {URL: startTracker(t) + "/mcp", Credentials: map[string]credential.Brokered{"own": {Account: &credential.Account{}}}}},
			ConsoleURL: o.URL, Vault: vault.Vault("one"), List: vault.List, HTTP: &http.Client{}, Discovered: &http.Client{},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		o.Accounts = b
	}
}

// startTracker starts the server and the two hosts of its authorization server.
func startTracker(t *testing.T) string {
	t.Helper()
	pages := http.NewServeMux()
	asks := httptest.NewServer(pages)
	t.Cleanup(asks.Close)
	pages.HandleFunc("/ask", func(w http.ResponseWriter, r *http.Request) {
		back := r.URL.Query().Get("redirect_uri") + "?" + url.Values{"code": {"c"}, "state": r.URL.Query()["state"]}.Encode()
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><title>Tracker</title><link rel="icon" href="data:,"><a id="agree" href="%s">Let MCPermit in</a>`, strings.ReplaceAll(back, "&", "&amp;"))
	})
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	says := func(path string, status int, v map[string]any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, asks.URL+"/ask?"+r.URL.RawQuery, http.StatusFound)
	})
	says("/.well-known/oauth-protected-resource/mcp", http.StatusOK, map[string]any{
		"resource": s.URL + "/mcp", "authorization_servers": []string{s.URL}, "scopes_supported": []string{"issues:read", "issues:write", "<b>\u202eadmin"},
	})
	says("/.well-known/oauth-authorization-server", http.StatusOK, map[string]any{
		"issuer": s.URL, "authorization_endpoint": s.URL + "/authorize", "token_endpoint": s.URL + "/token",
		"registration_endpoint": s.URL + "/register", "code_challenge_methods_supported": []string{"S256"},
	})
	says("/register", http.StatusCreated, map[string]any{"client_id": "mcpermit"})
	says("/token", http.StatusOK, map[string]any{"access_token": "at", "refresh_token": "rt", "token_type": "bearer", "expires_in": 3600})
	return s.URL
}

// TestConnectInTheBrowser: a person looks, agrees, is sent over two hosts and comes
// back, within the content policy; the pages are judged in every look.
func TestConnectInTheBrowser(t *testing.T) {
	s := newSite(t, connectable(t))
	b := s.as("vera")
	b.open(s.url + "/accounts")
	b.shows("No account is connected.", "You can connect")
	b.judged("accounts-empty")
	b.press("main a[href='/connect/tracker/own']")
	b.shows("Connect an account of tracker?", "issues:read, issues:write")
	b.judged("connect")
	b.tabTo("#connect")
	b.press("#connect")
	b.shows("Let MCPermit in")
	b.press("#agree")
	b.shows("Connected. Calls carry the account from now on.", "1 account is connected")
	b.judged("accounts")

	ada := s.as("ada")
	ada.open(s.url + "/connect/tracker/own?holder=agent:refunds")
	ada.shows("You connect this as an admin, in the place of agent:refunds")
	ada.judged("connect-for-another")
	ada.open(s.url + "/accounts")
	ada.shows("vera", "As an admin you see everybody's.")
	ada.press("main button.danger")
	ada.shows("Disconnected:", "No account is connected.")

	b.open(s.url + "/connect/tracker/own?holder=olga")
	b.shows("This account is for olga to connect, or for an admin in their place. You are signed in as vera.")
	b.judged("connect-for-somebody-else")
	b.open(s.url + "/oauth/callback?state=x&code=y")
	b.shows("This answer belongs to nothing that was begun here")
	b.judged("connect-problem")
}
