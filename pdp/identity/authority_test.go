package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mcpermit/mcpermit/pdp/egress"
)

// resource is the server that the tests' tokens are for.
const resource = "https://mcp.example/oauth/mcp/stripe"

// Keys of the tests; making RSA keys takes a while.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return made(rsa.GenerateKey(rand.Reader, 2048)) })
	rsaOther = sync.OnceValue(func() *rsa.PrivateKey { return made(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return made(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	edKey    = sync.OnceValue(func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, 32)) })
)

func made[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type object = map[string]any

// jwk is the public key as an issuer shows it.
func jwk(kid, alg string, private crypto.Signer) string {
	return string(made(jose.JSONWebKey{Key: private.Public(), KeyID: kid, Algorithm: alg, Use: "sig"}.MarshalJSON()))
}

func jwks(keys ...string) string {
	out := `{"keys":[`
	for i, k := range keys {
		if i > 0 {
			out += ","
		}
		out += k
	}
	return out + "]}"
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign makes a JWS of the header and the payload as they are, without a library
// that would keep it from being a bad one. What signs is by alg; the header may say
// anything.
func sign(alg string, key any, header, payload string) string {
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	sum := sha256.Sum256([]byte(input))
	var signature []byte
	switch alg {
	case "RS256":
		signature = made(rsa.SignPKCS1v15(nil, key.(*rsa.PrivateKey), crypto.SHA256, sum[:]))
	case "PS256":
		signature = made(rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
	case "ES256":
		r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), sum[:])
		if err != nil {
			panic(err)
		}
		signature = make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
	case "EdDSA":
		signature = ed25519.Sign(key.(ed25519.PrivateKey), []byte(input))
	case "HS256":
		mac := hmac.New(sha256.New, key.([]byte))
		mac.Write([]byte(input))
		signature = mac.Sum(nil)
	}
	return input + "." + b64(signature)
}

func text64(v any) string { return string(made(json.Marshal(v))) }

// authority is an issuer that listens on this machine.
type authority struct {
	*httptest.Server
	fetches atomic.Int32 // of the keys

	mu     sync.Mutex
	keys   string
	answer map[string]http.HandlerFunc // by path, in place of its own
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{keys: jwks(jwk("r1", "", rsaKey()), jwk("e1", "ES256", ecKey()), jwk("d1", "EdDSA", edKey())), answer: map[string]http.HandlerFunc{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	keys, answer := a.keys, a.answer[r.URL.Path]
	a.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
	case r.URL.Path == "/.well-known/openid-configuration":
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"x":1.5e999}`, a.URL, a.URL+"/keys")
	case r.URL.Path == "/keys":
		a.fetches.Add(1)
		fmt.Fprint(w, keys)
	default:
		http.NotFound(w, r)
	}
}

func (a *authority) on(path string, h http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer[path] = h
}

func (a *authority) show(keys ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = jwks(keys...)
}

// claims are those of a good token, with some changed; nil takes one out.
func (a *authority) claims(change object) string {
	now := time.Now().Unix()
	c := object{"iss": a.URL, "sub": "ada", "aud": resource, "exp": now + 600, "iat": now, "nbf": now}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return text64(c)
}

// token is a good one, with some claims changed.
func (a *authority) token(change object) string {
	return sign("RS256", rsaKey(), `{"alg":"RS256","kid":"r1","typ":"at+jwt"}`, a.claims(change))
}

func (a *authority) issuer() Issuer {
	return Issuer{URL: a.URL, Client: egress.New(egress.Options{Trusted: []string{a.URL}, Timeout: time.Minute})}
}

func provers(t testing.TB, issuers ...Issuer) *AccessTokens {
	t.Helper()
	a, err := NewAccessTokens(issuers, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func proven(t *testing.T, p Prover, token string) Subject {
	t.Helper()
	proof, err := p.Prove(t.Context(), Evidence{BearerToken: token, Resource: resource})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return proof.Subject
}

// unproven expects a refusal of the code.
func unproven(t *testing.T, p Prover, e Evidence, code Code) {
	t.Helper()
	_ = refusalOf(t, p, e, code)
}

func refusalOf(t *testing.T, p Prover, e Evidence, code Code) *Refusal {
	t.Helper()
	proof, err := p.Prove(t.Context(), e)
	var r *Refusal
	if !errors.As(err, &r) || proof.Subject.ID != "" || r.Code != code {
		t.Fatalf("proven %+v, error %v; want a refusal of code %d", proof, err, code)
	}
	return r
}
