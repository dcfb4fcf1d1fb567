package secrets

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// authority is an authorization server and OpenID Connect provider of the test. It
// is a witness of all that it is sent, and repeats secrets in its errors.
type authority struct {
	*testing.T
	*httptest.Server
	l         *ledger
	key       *ecdsa.PrivateKey
	assertion *ecdsa.PublicKey // that signs assertions
	subject   string           // whom access tokens are about

	mu        sync.Mutex
	begun     map[string]url.Values // authorization requests by code
	consoles  int                   // sign-ins to the console
	refreshes int
	machine   int // tokens of client credentials
}

func newAuthority(t *testing.T, l *ledger) *authority {
	t.Helper()
	a := &authority{T: t, l: l, begun: map[string]url.Values{}, subject: "ada"}
	a.key = newKey(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", a.metadata)
	mux.HandleFunc("GET /.well-known/openid-configuration", a.metadata)
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		l.saw(byAuthority, r.Header.Get("Authorization"))
		answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: a.key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /register", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusCreated, map[string]any{
			"client_id": "registered", "client_secret": l.plant("client secret of a registration"), "token_endpoint_auth_method": "client_secret_basic",
		})
	})
	mux.HandleFunc("GET /authorize", a.authorize)
	mux.HandleFunc("POST /token", a.token)
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pemOf is a private key as people keep it.
func pemOf(t testing.TB, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails when nobody reads it
}

func (a *authority) metadata(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer": a.URL, "authorization_endpoint": a.URL + "/authorize", "token_endpoint": a.URL + "/token",
		"registration_endpoint": a.URL + "/register", "jwks_uri": a.URL + "/keys",
		"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic"}, "id_token_signing_alg_values_supported": []string{"ES256"},
		"subject_types_supported": []string{"public"},
	})
}

// sign makes a token of the authority, or of whoever has the key.
func (a *authority) sign(key *ecdsa.PrivateKey, claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		a.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		a.Fatal(err)
	}
	return token
}

// accessToken is one for an audience, good for so long from now on.
func (a *authority) accessToken(key *ecdsa.PrivateKey, audience string, life time.Duration) string {
	return a.sign(key, map[string]any{
		"iss": a.URL, "sub": a.subject, "aud": audience, "jti": rand.Text(), "scope": "mcp",
		"iat": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(life).Unix(),
	})
}

// authorize sends people back at once.
func (a *authority) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	a.mu.Lock()
	name := "authorization code"
	if q.Get("client_id") == "console" {
		if name = "code of a console sign-in that fails"; a.consoles > 0 {
			name = "code of a console sign-in"
		}
		a.consoles++
	} else {
		a.l.keep("state of an authorization", q.Get("state"))
		a.l.saw(byAuthority, q.Get("state"))
	}
	code := a.l.plain(name)
	a.begun[code] = q
	a.mu.Unlock()
	back := url.Values{"code": {code}, "state": {q.Get("state")}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// token answers the token endpoint, by grant type.
func (a *authority) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		a.Errorf("the token endpoint is sent no form: %v", err)
	}
	client, secret, basic := r.BasicAuth()
	if basic { // RFC 6749, section 2.3.1
		client, _ = url.QueryUnescape(client)
		secret, _ = url.QueryUnescape(secret)
	}
	a.l.saw(byAuthority, secret)
	for _, values := range r.PostForm {
		a.l.saw(byAuthority, values...)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f := r.PostForm
	switch grant := f.Get("grant_type"); grant {
	case "client_credentials":
		a.clientCredentials(w, f, client, secret)
	case "authorization_code":
		a.code(w, f, secret)
	case "refresh_token":
		a.refresh(w, f, secret)
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		a.l.keep("assertion", f.Get("assertion"))
		a.l.saw(byAuthority, f.Get("assertion"))
		if signed, err := jwt.ParseSigned(f.Get("assertion"), []jose.SignatureAlgorithm{jose.ES256}); err == nil && signed.Claims(a.assertion, &jwt.Claims{}) == nil {
			a.l.use(byAuthority, "key of assertions")
		}
		a.give(w, a.l.plain("token for an assertion"), nil)
	case "urn:ietf:params:oauth:grant-type:token-exchange":
		a.give(w, a.l.plain("token in exchange"), nil)
	default:
		a.Errorf("the token endpoint is asked for %q", grant)
	}
}

func (a *authority) give(w http.ResponseWriter, token string, more map[string]any) {
	all := map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600}
	for name, value := range more {
		all[name] = value
	}
	answer(w, http.StatusOK, all)
}

func (a *authority) clientCredentials(w http.ResponseWriter, f url.Values, client, secret string) {
	switch client + f.Get("client_id") {
	case "machine":
		name := "token of client credentials"
		if a.machine++; a.machine > 1 {
			name += ", renewed"
		}
		a.give(w, a.l.plain(name), nil)
	case "repeated":
		said := f.Get("client_secret")
		answer(w, http.StatusUnauthorized, map[string]any{
			"error": "invalid_client", "error_description": "the secret " + said + " is wrong", "error_uri": a.URL + "/?" + url.QueryEscape(said),
		})
	case "coded":
		answer(w, http.StatusBadRequest, map[string]any{"error": secret})
	default:
		a.Errorf("an unknown client %q asks for tokens", client)
	}
}

// code redeems one: of an account, or of the console. The first of the console is
// refused with all that came.
func (a *authority) code(w http.ResponseWriter, f url.Values, secret string) {
	q := a.begun[f.Get("code")]
	sum := sha256.Sum256([]byte(f.Get("code_verifier")))
	if q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
		a.Errorf("the verifier is not that of the challenge")
	}
	if q.Get("client_id") != "console" {
		a.l.keep("verifier of PKCE", f.Get("code_verifier"))
		a.l.saw(byAuthority, f.Get("code_verifier"))
		a.give(w, a.l.plain("access token of an account"), map[string]any{"refresh_token": a.l.plant("refresh token of an account")})
		return
	}
	if a.consoles == 1 {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte("I do not know " + secret + " with " + f.Encode()))
		return
	}
	id := a.l.keep("ID token of a console sign-in", a.sign(a.key, map[string]any{
		"iss": a.URL, "sub": "nina", "aud": "console", "nonce": q.Get("nonce"), "groups": []string{"security"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}))
	a.give(w, rand.Text(), map[string]any{"id_token": id})
}

// refresh renews an account once, and then refuses with what came.
func (a *authority) refresh(w http.ResponseWriter, f url.Values, secret string) {
	if a.refreshes++; a.refreshes == 1 {
		a.give(w, a.l.plain("access token of an account, renewed"), map[string]any{"refresh_token": a.l.plain("refresh token of an account, that is repeated")})
		return
	}
	said := strings.Join([]string{f.Get("refresh_token"), secret}, " ")
	answer(w, http.StatusBadRequest, map[string]any{"error": "temporarily_unavailable", "error_description": said})
}
