package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Whoever fills an issuer's key set with other than public signature keys gets
// them ignored; the others stay good.
func TestI10_KeysThatAreIgnored(t *testing.T) {
	good := jwk("r1", "", rsaKey())
	with := func(members string) string { return good[:len(good)-1] + "," + members + "}" }
	ofModulus := func(bits uint) string {
		n := new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1)
		return fmt.Sprintf(`{"kty":"RSA","kid":"x","e":"AQAB","n":%q}`, b64(n.Bytes()))
	}
	ec := jwk("e1", "ES256", ecKey())
	for name, key := range map[string]string{
		"symmetric":              `{"kty":"oct","kid":"x","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}`,
		"symmetric for HS256":    `{"kty":"oct","kid":"x","alg":"HS256","k":"c2VjcmV0"}`,
		"private RSA":            string(made(jose.JSONWebKey{Key: rsaKey(), KeyID: "x"}.MarshalJSON())),
		"private EC":             string(made(jose.JSONWebKey{Key: ecKey(), KeyID: "x"}.MarshalJSON())),
		"private Ed25519":        string(made(jose.JSONWebKey{Key: edKey(), KeyID: "x"}.MarshalJSON())),
		"public with a k":        with(`"k":"c2VjcmV0"`),
		"RSA of 1024 bits":       ofModulus(1024),
		"RSA of 2047 bits":       ofModulus(2047),
		"RSA of 8193 bits":       ofModulus(8193),
		"RSA of 100000 bits":     ofModulus(100000),
		"for encryption":         strings.Replace(good, `"use":"sig"`, `"use":"enc"`, 1),
		"operations without":     with(`"key_ops":["encrypt"]`),
		"operations as a text":   with(`"key_ops":"verify"`),
		"no kind":                strings.Replace(good, `"kty":"RSA",`, ``, 1),
		"unknown kind":           strings.Replace(good, `"RSA"`, `"XYZ"`, 1),
		"unknown curve":          strings.Replace(ec, `"P-256"`, `"secp256k1"`, 1),
		"curve of another":       strings.Replace(ec, `"P-256"`, `"P-384"`, 1),
		"a point not on it":      strings.Replace(ec, `"x":"`, `"x":"AA`, 1),
		"X25519":                 `{"kty":"OKP","crv":"X25519","kid":"x","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`,
		"Ed25519 of small order": `{"kty":"OKP","crv":"Ed25519","kid":"x","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`,
		"a number":               `1`,
		"null":                   `null`,
		"text":                   `"key"`,
		"an empty object":        `{}`,
	} {
		set, err := readKeySet([]byte(jwks(good, key)))
		if err != nil || len(set.keys) != 1 || set.ignored != 1 || set.keys[0].KeyID != "r1" {
			t.Errorf("%s: %d keys, %v", name, len(set.keys), err)
		}
	}
	for name, key := range map[string]string{
		"key_ops":              with(`"key_ops":["verify"]`),
		"certificates":         with(`"x5c":["garbage"],"x5u":"https://evil.example/","x5t":"!"`),
		"unknown members":      with(`"issuer":"https://a.example","nbf":1.5e999`),
		"no use":               strings.Replace(good, `"use":"sig",`, ``, 1),
		"RSA of 2048 bits":     ofModulus(2048),
		"RSA of 4096 bits":     ofModulus(4096),
		"EC on another curve":  jwk("e3", "", made(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))),
		"an Ed25519 key":       jwk("d1", "", edKey()),
		"a kid of an odd kind": jwk("../../etc/passwd", "", rsaKey()),
	} {
		if set, err := readKeySet([]byte(jwks(key))); err != nil || len(set.keys) != 1 {
			t.Errorf("%s: %+v, %v", name, set, err)
		}
	}
}

func TestWhatIsNoKeySet(t *testing.T) {
	good := jwk("r1", "", rsaKey())
	for _, s := range []string{
		``, `{}`, `[]`, `null`, `{"keys":null}`, `{"keys":{}}`, `{"keys":[` + good + `]`, `{"keys":[` + good + `],"keys":[]}`, jwks(good) + "x", `<html>`,
		jwks(good[:len(good)-1] + `,"kid":"r2"}`), `{"Keys":[` + good + `]}`, jwks(slices.Repeat([]string{good}, maxKeys+1)...), "\x1f\x8b", good,
	} {
		if set, err := readKeySet([]byte(s)); err == nil {
			t.Errorf("%.40s: read as %d keys", s, len(set.keys))
		} else if strings.Contains(err.Error(), "html") {
			t.Errorf("the error quotes the document: %v", err)
		}
	}
	if set, err := readKeySet([]byte(`{"keys":[]}`)); err != nil || len(set.keys) != 0 {
		t.Errorf("an issuer without keys: %v", err)
	}
}

// No key is used with an algorithm of another kind, whatever the token says.
func TestI10_KeysFitTheirAlgorithms(t *testing.T) {
	p384 := made(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	p521 := made(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	rs := "RS256 RS384 RS512 PS256 PS384 PS512"
	for _, c := range []struct {
		key  jose.JSONWebKey
		want string
	}{
		{jose.JSONWebKey{Key: rsaKey().Public()}, rs},
		{jose.JSONWebKey{Key: rsaKey().Public(), Algorithm: "PS384"}, "PS384"},
		{jose.JSONWebKey{Key: rsaKey().Public(), Algorithm: "ES256"}, ""},
		{jose.JSONWebKey{Key: rsaKey().Public(), Algorithm: "HS256"}, ""},
		{jose.JSONWebKey{Key: rsaKey().Public(), Algorithm: "RSA-OAEP"}, ""},
		{jose.JSONWebKey{Key: ecKey().Public()}, "ES256"},
		{jose.JSONWebKey{Key: ecKey().Public(), Algorithm: "ES384"}, ""},
		{jose.JSONWebKey{Key: p384.Public()}, "ES384"},
		{jose.JSONWebKey{Key: p521.Public()}, "ES512"},
		{jose.JSONWebKey{Key: edKey().Public()}, "EdDSA"},
		{jose.JSONWebKey{Key: []byte("secret")}, ""},
		{jose.JSONWebKey{}, ""},
	} {
		var got []string
		for _, a := range append([]jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512, "none", ""}, signatureAlgorithms...) {
			if fits(&c.key, a) {
				got = append(got, string(a))
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%T %s: fits %q, want %q", c.key.Key, c.key.Algorithm, s, c.want)
		}
	}
}

// A key set full of keys does not make one token expensive.
func TestTriesAreBounded(t *testing.T) {
	a := newAuthority(t)
	var keys []jose.JSONWebKey
	for range maxTries {
		keys = append(keys, jose.JSONWebKey{Key: rsaOther().Public(), KeyID: "r1"})
	}
	token, err := readToken(a.token(nil))
	if err != nil {
		t.Fatal(err)
	}
	mine := jose.JSONWebKey{Key: &rsa.PublicKey{N: rsaKey().N, E: rsaKey().E}, KeyID: "r1"}
	if (&keySet{keys: append(keys[:maxTries:maxTries], mine)}).verifies(token) {
		t.Error("more keys were tried")
	}
	if !(&keySet{keys: append(keys[:maxTries-1:maxTries-1], mine)}).verifies(token) {
		t.Error("fewer keys were tried")
	}
}
