package accounts

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/mcpermit/mcpermit/test/gateway"
	"github.com/mcpermit/mcpermit/test/provider"
)

// theSecret is that of every client that is registered at a provider.
const theSecret = "a secret of the test"

// machine is a client that acts for itself.
func machine(id string) map[string]any {
	return map[string]any{
		"client_id": id, "client_secret": theSecret, "token_endpoint_auth_method": "client_secret_basic",
		"grant_types": []string{"client_credentials"}, "redirect_uris": []string{}, "response_types": []string{},
	}
}

// TestClientCredentials: calls of everybody carry the gateway's own token.
func TestClientCredentials(t *testing.T) {
	server := startProtected(t)
	given := startProvider(t, server, func(o *provider.Options) { o.Clients = []map[string]any{machine("gateway")} })
	f := newFront(t, "protected", map[string]any{"url": server.url, "credentials": map[string]any{"own": map[string]any{
		"client_credentials": map[string]any{"token_url": given.Issuer + "/token", "client_id": "gateway", "client_secret": theSecret, "scopes": []string{theScope}},
	}}}, 1, nil)
	f.classify()
	one, other := f.agentOf("vera"), f.grant("--subject", "ada", "--type", "person")
	for _, token := range []string{one, other} {
		f.call(0, token, "whoami").is(t, "gateway")
	}
	given.Grants(t, "client_credentials", 1)
	server.refuseLast(false)
	f.call(0, one, "whoami").is(t, "gateway")
	given.Grants(t, "client_credentials", 2)
	f.keepsApart(one, server.arrivals(""))
	f.keepsApart(other, server.arrivals(""))
	f.keepsApart(theSecret, server.arrivals(""))
}

// TestTokenExchange: calls carry what came for the subject's own access token. The
// provider of the tests exchanges none, so that the one that does is of this file; the
// subjects' tokens are the real one's.
func TestTokenExchange(t *testing.T) {
	server := startProtected(t)
	clients := provider.Start(t, provider.Options{Clients: []map[string]any{machine("robot"), machine("crawler")}, Scopes: []string{theScope}})
	exchange := startExchange(t, server, clients.Issuer)
	var listener string
	f := newFront(t, "protected", map[string]any{"url": server.url, "credentials": map[string]any{"own": map[string]any{
		"token_exchange": map[string]any{"token_url": exchange.URL, "client_id": "gateway", "client_secret": theSecret, "scopes": []string{theScope}},
	}}}, 1, func(g *gateway.Gateway, keys map[string]any) {
		listener = g.URL + "/oauth/mcp/protected"
		keys["oauth"] = map[string]any{"url": g.URL + "/oauth", "issuers": []any{map[string]any{"url": clients.Issuer, "type": "agent"}}}
	})
	exchange.audience = listener
	f.classify()
	for i, id := range []string{"robot", "crawler"} {
		token := tokenOf(t, clients.Issuer, id, listener)
		for range 3 {
			f.callAt(listener, token, "whoami").is(t, id)
		}
		if n := exchange.done.Load(); n != int64(i+1) {
			t.Errorf("%s: %d exchanges, want %d", id, n, i+1)
		}
		f.keepsApart(token, server.arrivals(""))
	}
	robot := tokenOf(t, clients.Issuer, "robot", listener)
	f.callAt(listener, robot, "whoami").is(t, "robot")
	server.refuseLast(false)
	f.callAt(listener, robot, "whoami").is(t, "robot")
	if n := exchange.done.Load(); n != 4 {
		t.Errorf("%d exchanges, want 4: another token of the robot's, and a token that was refused", n)
	}

	// A grant's token means nothing to anybody else: it is not exchanged.
	grant := f.agentOf("vera")
	if text, ok := f.call(0, grant, "whoami").text(); ok || !strings.Contains(text, "credential for this server could not be had") {
		t.Errorf("with a grant's token: %s", text)
	}
	if n := exchange.done.Load(); n != 4 {
		t.Error("a grant's token was exchanged")
	}
	f.keepsApart(grant, server.arrivals(""))
}

// tokenOf is an access token of a client for a resource.
func tokenOf(t *testing.T, issuer, id, resource string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {theScope}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(theSecret))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.Token == "" {
		t.Fatalf("no token for %s: %s, %v", id, res.Status, err)
	}
	return got.Token
}

// exchange is a token endpoint that trades access tokens (RFC 8693).
type exchange struct {
	*httptest.Server
	audience string // of the tokens that it takes
	done     atomic.Int64
}

// startExchange starts one that trades tokens of an issuer for such as the server
// takes.
func startExchange(t *testing.T, server *protected, issuer string) *exchange {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	known, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	x := &exchange{}
	x.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		secret, _ = url.QueryUnescape(secret) // RFC 6749, section 2.3.1
		proven, err := known.Verifier(&oidc.Config{ClientID: x.audience}).Verify(r.Context(), r.PostFormValue("subject_token"))
		if err != nil || id != "gateway" || secret != theSecret || r.PostFormValue("resource") != server.url ||
			r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" {
			t.Errorf("the token endpoint is asked by %q for %q: %v", id, r.PostFormValue("resource"), err)
			http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
			return
		}
		n := x.done.Add(1)
		token, err := jwt.Signed(signer).Claims(map[string]any{
			"iss": x.URL, "sub": proven.Subject, "aud": server.url, "scope": theScope, "exp": time.Now().Add(time.Hour).Unix(), "jti": n,
		}).Serialize()
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": token, "token_type": "Bearer", "expires_in": 3600, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
		})
	}))
	t.Cleanup(x.Close)
	server.takes(t, x.URL, &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{key.Public()}})
	return x
}

// TestPolicyChoosesTheCredential: agents look with the key that can only read, and
// people have the other.
func TestPolicyChoosesTheCredential(t *testing.T) {
	server := startKeyed(t)
	f := newFront(t, "keyed", map[string]any{
		"url": server.URL, "credential": "full", "credentials": map[string]any{
			"read": map[string]any{"headers": map[string]any{"X-Key": "key-${secret:read-key}"}},
			"full": map[string]any{"headers": map[string]any{"X-Key": "key-${secret:full-key}"}},
		},
	}, 1, nil)
	agent, ada := f.agentOf("vera"), f.grant("--subject", "ada", "--type", "person")
	if text, ok := f.call(0, agent, "key").text(); ok || !strings.Contains(text, "credential for this server could not be had") {
		t.Errorf("before the secret is set: %s", text)
	}
	f.set("full-key", "may-do-everything")
	f.set("read-key", "may-look")
	time.Sleep(time.Second) // for which it is known that there is none
	f.call(0, agent, "key").is(t, "key-may-look")
	f.call(0, ada, "key").is(t, "key-may-do-everything")
	f.call(0, agent, "key").is(t, "key-may-look")
	f.keepsApart(agent, server.arrivals(""))
	f.keepsApart(ada, server.arrivals(""))
}

// set sets a secret of the vault.
func (f *front) set(name, value string) {
	f.Helper()
	file := filepath.Join(f.TempDir(), name)
	if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
		f.Fatal(err)
	}
	f.gateways[0].CLI(f, "credentials", "set", name, "--from-file", file)
}
