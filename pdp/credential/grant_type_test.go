package credential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
)

func gateway() TokenGrant {
	return TokenGrant{TokenURL: theIssuer + "/token", ClientID: "gateway", ClientSecret: "s3cret-of-gateway", Scopes: []string{"a", "b"}}
}

func of(c Brokered) Upstream {
	return Upstream{URL: theServer + "?key=1#part", Credentials: map[string]Brokered{"own": c}}
}

// The gateway's own tokens are got once for all replicas, subjects and holders.
func TestClientCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gateway()
		g.Audience = "api"
		r := newReplicas(t, 3, newAuthServer(t), of(Brokered{ClientCredentials: &g}))
		slow(r.auth, 100*time.Millisecond)
		tokens, failed := r.together(60, adasCall(t.Context()))
		if len(tokens) != 1 || len(failed) > 0 || len(r.auth.asked) != 1 {
			t.Errorf("%d tokens, %v; asked %d times", len(tokens), failed, len(r.auth.asked))
		}
		want := url.Values{
			"grant_type": {"client_credentials"}, "scope": {"a b"}, "resource": {theServer}, "audience": {"api"},
			"basic": {"gateway:s3cret-of-gateway"}, "client_id": {"gateway"}, "client_secret": {"s3cret-of-gateway"},
		}
		if diff := cmp.Diff(want, r.auth.last()); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
		m, err := r.brokers[1].For(t.Context(), Request{Server: "mcp", Name: "own", Holder: "bob"})
		carries(t, m, err)
		if m.Holder != "" || m.Name != "own" || m.Generation == 0 {
			t.Errorf("material of %q, %q, generation %d", m.Name, m.Holder, m.Generation)
		}
		n, err := r.brokers[2].Renew(t.Context(), Request{Server: "mcp", Name: "own"}, m.Generation)
		if carries(t, n, err); n.Generation <= m.Generation || len(r.auth.asked) != 2 {
			t.Errorf("generation %d became %d", m.Generation, n.Generation)
		}
		if list, err := r.brokers[0].Accounts(t.Context(), ""); err != nil || len(list) != 0 {
			t.Errorf("the gateway's own tokens are listed as accounts: %v, %v", list, err)
		}
	})
}

func TestClientSecretInTheBody(t *testing.T) {
	g := gateway()
	g.InBody, g.Resource = true, "urn:other"
	r := newReplicas(t, 1, newAuthServer(t), of(Brokered{ClientCredentials: &g}))
	m, err := r.get(0)
	carries(t, m, err)
	if got := r.auth.last(); got.Has("basic") || got.Get("client_secret") != "s3cret-of-gateway" || got.Get("resource") != "urn:other" {
		t.Error("the client's secret is not in the form alone, or the resource is another")
	}
}

// What another configuration has asked for is not used under this one.
func TestTokensOfAnotherConfiguration(t *testing.T) {
	g := gateway()
	r := newReplicas(t, 1, newAuthServer(t), of(Brokered{ClientCredentials: &g}))
	m, err := r.get(0)
	before := carries(t, m, err)
	narrower := gateway()
	narrower.Scopes = []string{"a"}
	other := newReplicas(t, 1, r.auth, of(Brokered{ClientCredentials: &narrower}))
	other.vaults[0].shelf = r.shelf
	m, err = other.get(0)
	if carries(t, m, err) == before {
		t.Error("a token with more scopes is used")
	}
}

func TestTokenExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gateway()
		r := newReplicas(t, 2, newAuthServer(t), of(Brokered{TokenExchange: &g}))
		ask := func(token string) (Material, error) {
			return r.brokers[0].For(t.Context(), Request{Server: "mcp", Holder: "ada", SubjectToken: token})
		}
		if _, err := ask(""); err == nil || !strings.Contains(err.Error(), "access token of the subject") {
			t.Errorf("without a subject's token: %v", err)
		}
		m, err := ask("wide")
		wide := carries(t, m, err)
		got := r.auth.last()
		if got.Get("grant_type") != grantExchange || got.Get("subject_token") != "wide" || got.Get("subject_token_type") != typeAccessToken || got.Get("resource") != theServer {
			t.Errorf("asked for %q", got.Get("grant_type"))
		}
		// A token of the same subject with less behind it is not given the same.
		narrow, err := ask("narrow")
		if carries(t, narrow, err) == wide {
			t.Error("one subject token is given what came for another")
		}
		again, err := ask("wide")
		if carries(t, again, err) != wide || r.auth.requests(grantExchange) != 2 {
			t.Errorf("exchanged %d times", r.auth.requests(grantExchange))
		}
		slow(r.auth, 100*time.Millisecond)
		renew := func(*Broker) (Material, error) {
			return r.brokers[0].Renew(t.Context(), Request{Server: "mcp", Name: "own", Holder: "ada", SubjectToken: "wide"}, m.Generation)
		}
		for range 2 {
			tokens, failed := r.together(20, renew)
			if len(failed) > 0 || len(tokens) != 1 || tokens["Bearer "+wide] > 0 {
				t.Errorf("%v; %d different tokens", failed, len(tokens))
			}
		}
		if n := r.auth.requests(grantExchange); n != 3 {
			t.Errorf("exchanged %d times, want 3", n)
		}
		if got := r.auth.last().Get("subject_token"); got != "wide" {
			t.Errorf("exchanged %q again", got)
		}
		// It is in no vault, and out of memory when it has run out.
		if len(r.shelf.entries) != 0 {
			t.Errorf("%d entries in the vault", len(r.shelf.entries))
		}
		time.Sleep(2 * time.Hour)
		r.brokers[0].exchanges(func(x *exchange) {
			x.mu.Lock()
			defer x.mu.Unlock()
			if len(x.kept) != 0 {
				t.Errorf("%d tokens are kept", len(x.kept))
			}
		})
	})
}

func TestJWTBearer(t *testing.T) {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	for algorithm, key := range map[jose.SignatureAlgorithm]crypto.Signer{jose.RS256: rsaKey, jose.ES256: ecKey, jose.EdDSA: edKey} {
		t.Run(string(algorithm), func(t *testing.T) {
			j := &JWTBearer{TokenURL: theIssuer + "/token", Issuer: "gateway@example", Key: key, KeyID: "k1", Scopes: []string{"a"}}
			r := newReplicas(t, 1, newAuthServer(t), of(Brokered{JWTBearer: j}))
			m, err := r.get(0)
			carries(t, m, err)
			got := r.auth.last()
			token, err := jwt.ParseSigned(got.Get("assertion"), []jose.SignatureAlgorithm{algorithm})
			if err != nil {
				t.Fatal(err)
			}
			var claims jwt.Claims
			if err := token.Claims(key.Public(), &claims); err != nil {
				t.Fatal(err)
			}
			if err := claims.Validate(jwt.Expected{Issuer: "gateway@example", Subject: "ada", AnyAudience: jwt.Audience{theIssuer + "/token"}, Time: time.Now()}); err != nil {
				t.Error(err)
			}
			if token.Headers[0].KeyID != "k1" || claims.ID == "" || time.Until(claims.Expiry.Time()) > time.Minute || got.Get("grant_type") != grantJWTBearer || got.Get("resource") != theServer {
				t.Errorf("kid %q, jti %q, expires %s", token.Headers[0].KeyID, claims.ID, claims.Expiry.Time())
			}
			// Each holder has their own, and nobody has nobody's.
			bobs, err := r.brokers[0].For(t.Context(), Request{Server: "mcp", Holder: "bob"})
			if carries(t, bobs, err) == carries(t, m, nil) || bobs.Holder != "bob" {
				t.Error("two holders have one token")
			}
			if _, err := r.brokers[0].For(t.Context(), Request{Server: "mcp"}); err == nil {
				t.Error("an assertion in nobody's name")
			}
			if list, err := r.brokers[0].Accounts(t.Context(), ""); err != nil || len(list) != 0 {
				t.Errorf("what nobody has connected is listed: %v, %v", list, err)
			}
		})
	}
}

func TestParseSigner(t *testing.T) {
	ecKey, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(ecKey)
	sec1, _ := x509.MarshalECPrivateKey(ecKey)
	public, _ := x509.MarshalPKIXPublicKey(ecKey.Public())
	encode := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	for name, b := range map[string][]byte{"PKCS #8": encode("PRIVATE KEY", pkcs8), "SEC 1": encode("EC PRIVATE KEY", sec1)} {
		if key, err := ParseSigner(b); err != nil || !ecKey.Equal(key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"nothing": nil, "public": encode("PUBLIC KEY", public), "torn": encode("PRIVATE KEY", pkcs8[:20]), "no PEM": pkcs8} {
		if _, err := ParseSigner(b); err == nil {
			t.Errorf("%s is read as a private key", name)
		}
	}
}

// Values, and what the server's default is.
func TestCredentialsOfAServer(t *testing.T) {
	g := gateway()
	values := valuesOf{{Name: "X-Account", Value: "7"}, {Name: "authorization", Value: "fixed"}}
	u := Upstream{URL: theServer, Default: "fixed", Credentials: map[string]Brokered{
		"fixed": {}, "tokens": {ClientCredentials: &g}, "exchanged": {TokenExchange: &g},
	}}
	r := newReplicas(t, 1, newAuthServer(t), u, func(o *BrokerOptions) { o.Servers["bare"], o.Values = Upstream{}, values })
	names := func(m Material) (list []string) {
		for _, h := range m.Headers {
			list = append(list, h.Name)
		}
		return list
	}
	for _, c := range []struct {
		r    Request
		want []string
	}{
		{Request{Server: "mcp"}, []string{"X-Account", "authorization"}},
		{Request{Server: "mcp", Name: "fixed"}, []string{"X-Account", "authorization"}},
		{Request{Server: "mcp", Name: "tokens"}, []string{"X-Account", "Authorization"}},
		{Request{Server: "mcp", Name: "exchanged", SubjectToken: "x"}, []string{"X-Account", "Authorization"}},
		{Request{Server: "bare"}, []string{"X-Account", "authorization"}},
		{Request{Server: "unknown"}, []string{"X-Account", "authorization"}},
	} {
		m, err := r.brokers[0].For(t.Context(), c.r)
		if diff := cmp.Diff(c.want, names(m)); diff != "" || err != nil {
			t.Errorf("%s/%s: %v %s", c.r.Server, c.r.Name, err, diff)
		}
	}
	m, err := r.brokers[0].Renew(t.Context(), Request{Server: "mcp"}, 3)
	if err != nil || m.Generation != 0 || len(m.Headers) != 2 {
		t.Errorf("values are renewed to generation %d: %v", m.Generation, err)
	}
	for _, unknown := range []Request{{Server: "mcp", Name: "other"}, {Server: "bare", Name: "tokens"}, {Server: "unknown", Name: "tokens"}} {
		_, err := r.brokers[0].For(t.Context(), unknown)
		var e *UnknownError
		if !errors.As(err, &e) || e.Server != unknown.Server || e.Name != unknown.Name {
			t.Errorf("%v: %v", unknown, err)
		}
		if _, err := r.brokers[0].Renew(t.Context(), unknown, 1); !errors.As(err, &e) {
			t.Errorf("%v: %v", unknown, err)
		}
	}
}

func TestBrokersThatAreNone(t *testing.T) {
	g, other := gateway(), TokenGrant{TokenURL: "auth.example/token"}
	for name, u := range map[string]Upstream{
		"two grant types":  of(Brokered{ClientCredentials: &g, TokenExchange: &g}),
		"no token URL":     of(Brokered{ClientCredentials: &other}),
		"no key":           of(Brokered{JWTBearer: &JWTBearer{TokenURL: g.TokenURL}}),
		"no server":        {Credentials: map[string]Brokered{"own": {Account: &Account{}}}},
		"unknown default":  {URL: theServer, Default: "x", Credentials: map[string]Brokered{"own": {Account: &Account{}}}},
		"no default of 2":  {URL: theServer, Credentials: map[string]Brokered{"a": {Account: &Account{}}, "b": {Account: &Account{}}}},
		"issuer is no URL": accounts(Account{Issuer: "auth.example"}),
	} {
		o := BrokerOptions{Servers: map[string]Upstream{"mcp": u}, Vault: &shelfVault{shelf: newShelf()}, HTTP: http.DefaultClient, Discovered: http.DefaultClient}
		if _, err := NewBroker(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewBroker(BrokerOptions{}); err == nil {
		t.Error("a broker of nothing")
	}
}

// What a token endpoint answers that is none.
func TestAnswersThatAreNoTokens(t *testing.T) {
	for name, extra := range map[string]map[string]any{
		"DPoP":           {"token_type": "DPoP"},
		"no type":        {"token_type": ""},
		"N_A":            {"token_type": "N_A"},
		"no token":       {"access_token": ""},
		"a second line":  {"access_token": "a\r\nX-Other: b"},
		"a token with é": {"access_token": "é"},
		"an error":       {"error": "temporarily_unavailable"},
	} {
		g := gateway()
		r := newReplicas(t, 1, newAuthServer(t), of(Brokered{ClientCredentials: &g}))
		r.auth.extra = extra
		if m, err := r.get(0); err == nil {
			t.Errorf("%s: %v", name, m.Headers)
		}
	}
}

// What is posted to a token endpoint goes nowhere else.
func TestTokenEndpointThatRedirects(t *testing.T) {
	g := gateway()
	r := newReplicas(t, 1, newAuthServer(t), of(Brokered{ClientCredentials: &g}))
	r.auth.mux.HandleFunc("auth.example/elsewhere", r.auth.token)
	r.auth.answer = func(w http.ResponseWriter, _ url.Values) bool {
		w.Header().Set("Location", theIssuer+"/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
	if _, err := r.get(0); err == nil || r.auth.hits["auth.example/elsewhere"] > 0 {
		t.Errorf("followed a redirect: %v", err)
	}
}

// valuesOf is a source of fixed headers.
type valuesOf []Header
