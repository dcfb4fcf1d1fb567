package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzAccessToken holds that no bytes make the reader panic, and that nobody is
// proven but by a header and claims that the issuer has signed, as they were.
func FuzzAccessToken(f *testing.F) {
	const url = "https://issuer.example"
	fixed := made(ecdsa.ParseRawPrivateKey(elliptic.P256(), append(make([]byte, 31), 7))) // the same in each process of the fuzzer
	file := filepath.Join(f.TempDir(), "jwks.json")
	if err := os.WriteFile(file, []byte(jwks(jwk("e1", "", fixed), jwk("d1", "EdDSA", edKey()))), 0o600); err != nil {
		f.Fatal(err)
	}
	p := provers(f, Issuer{URL: url, JWKS: file, Audiences: []string{"fuzz"}, Claims: []string{"a", "a.b"}})
	const head, claims = `{"alg":"EdDSA","kid":"d1"}`, `{"iss":"` + url + `","aud":"fuzz","exp":9999999999,"sub":"ada"`
	signed := map[string]bool{}
	good := func(token string) string {
		signed[token[:strings.LastIndexByte(token, '.')]] = true
		f.Add(token)
		return token
	}
	one := good(sign("EdDSA", edKey(), head, claims+`}`))
	good(sign("EdDSA", edKey(), `{"typ":"at+jwt","alg":"EdDSA"}`, claims+`,"groups":["g"],"act":{"sub":"x"},"scope":"a b","a":{"b":1e999}}`))
	good(sign("ES256", fixed, `{"alg":"ES256","kid":"e1"}`, claims+`}`))
	for _, bad := range []string{
		sign("HS256", []byte("x"), `{"alg":"HS256"}`, claims+`}`), sign("EdDSA", edKey(), `{"alg":"none"}`, claims+`}`),
		sign("EdDSA", edKey(), `{"alg":"EdDSA","jwk":{"kty":"oct","k":"eA"}}`, claims+`}`), sign("EdDSA", edKey(), head, claims+`,"sub":"root"}`),
		sign("EdDSA", edKey(), head, `{"iss":"`+url+`","exp":1e400,"aud":["fuzz"]}`), one + ".", one[:len(one)-1], "..", ".", "", "{}", "a.b.c.d.e",
		b64([]byte(`{"alg":"EdDSA","crit":[]}`)) + ".e30.", strings.Repeat("e30.", 3),
	} {
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, token string) {
		proof, err := p.Prove(t.Context(), Evidence{BearerToken: token, Resource: resource})
		var refusal *Refusal
		switch {
		case err == nil && (len(token) == 0 || !signed[token[:max(0, strings.LastIndexByte(token, '.'))]]):
			t.Fatalf("%q proves %+v, and nobody has signed it", token, proof)
		case err == nil && (proof.Subject.ID != "ada" || proof.Subject.Issuer != url):
			t.Fatalf("proven %+v", proof)
		case err != nil && !errors.As(err, &refusal):
			t.Fatalf("%q: %v", token, err)
		case err != nil && (len(refusal.Reason) > 200 || strings.ContainsAny(refusal.Reason, "\n\r")):
			t.Fatalf("reason %q", refusal.Reason)
		}
	})
}

// What the fuzzer's good tokens rest on.
func TestTheFuzzersTokensAreGood(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, []byte(jwks(jwk("d1", "EdDSA", edKey()))), 0o600); err != nil {
		t.Fatal(err)
	}
	p := provers(t, Issuer{URL: "https://issuer.example", JWKS: file, Audiences: []string{"fuzz"}})
	proven(t, p, sign("EdDSA", edKey(), `{"typ":"at+jwt","alg":"EdDSA"}`, `{"iss":"https://issuer.example","aud":"fuzz","exp":9999999999,"sub":"ada","groups":["g"],"act":{"sub":"x"},"scope":"a b","a":{"b":1e999}}`))
}
