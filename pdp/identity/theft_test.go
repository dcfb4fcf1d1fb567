package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// I10: a token proves nothing but to the server that it is for.
func TestI10_TokensOfOtherAudiences(t *testing.T) {
	a := newAuthority(t)
	o := a.issuer()
	o.Audiences = []string{"mcpermit"}
	p := provers(t, o)
	for name, aud := range map[string]any{
		"other server":              "https://mcp.example/oauth/mcp/files",
		"prefix":                    "https://mcp.example/oauth/mcp/strip",
		"the listener":              "https://mcp.example/oauth",
		"longer":                    resource + "2",
		"below it":                  resource + "/tools",
		"two slashes":               resource + "//",
		"other case of the host":    "https://MCP.example/oauth/mcp/stripe",
		"other case of the path":    "https://mcp.example/oauth/mcp/Stripe",
		"other scheme":              "http://mcp.example/oauth/mcp/stripe",
		"default port":              "https://mcp.example:443/oauth/mcp/stripe",
		"query":                     resource + "?",
		"fragment":                  resource + "#",
		"percent-encoded":           "https://mcp.example/oauth/mcp/%73tripe",
		"dots":                      "https://mcp.example/oauth/mcp/files/../stripe",
		"space":                     resource + " ",
		"both in one text":          resource + " https://mcp.example/oauth/mcp/files",
		"configured, other case":    "MCPermit",
		"configured, with a slash":  "mcpermit/",
		"array of others":           []string{"https://mcp.example/oauth/mcp/files", "mcp"},
		"empty array":               []string{},
		"empty text":                "",
		"slash":                     "/",
		"right one beside a number": []any{resource, 1},
		"right one beside null":     []any{resource, nil},
		"nested array":              []any{[]string{resource}},
		"object":                    object{"0": resource},
		"number":                    1,
		"true":                      true,
		"none":                      nil,
	} {
		t.Run(name, func(t *testing.T) {
			unproven(t, p, Evidence{Resource: resource, BearerToken: a.token(object{"aud": aud})}, Invalid)
		})
	}
	for _, aud := range []any{resource, resource + "/", []string{"x", resource}, "mcpermit"} {
		proven(t, p, a.token(object{"aud": aud}))
	}
	// Where there is no resource, nothing is for it.
	unproven(t, p, Evidence{BearerToken: a.token(object{"aud": ""})}, Invalid)
	unproven(t, p, Evidence{BearerToken: a.token(object{"aud": "/"})}, Invalid)
}

func TestI10_TokensOfOtherIssuers(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	b.show(jwk("r1", "", rsaOther()))
	p := provers(t, a.issuer(), b.issuer())
	for name, iss := range map[string]any{
		"unknown": "https://evil.example", "slash": a.URL + "/", "upper case": strings.ToUpper(a.URL), "none": nil, "empty": "",
		"array": []string{a.URL}, "longer": a.URL + "0", "other issuer's name": b.URL, "number": 1,
	} {
		t.Run(name, func(t *testing.T) {
			unproven(t, p, Evidence{Resource: resource, BearerToken: a.token(object{"iss": iss})}, Invalid)
		})
	}
	// Each issuer signs in its own name, and not in another's.
	ofB := func(iss string) string {
		return sign("RS256", rsaOther(), `{"alg":"RS256","kid":"r1"}`, b.claims(object{"iss": iss}))
	}
	proven(t, p, ofB(b.URL))
	unproven(t, p, Evidence{Resource: resource, BearerToken: ofB(a.URL)}, Invalid)
}

// The time is checked, whatever form it has.
func TestI10_TimesOfTokens(t *testing.T) {
	a := newAuthority(t)
	p := provers(t, a.issuer())
	now := time.Now().Unix()
	for name, c := range map[string]struct {
		change object
		code   Code
	}{
		"expired":            {object{"exp": now - 60}, Expired},
		"long expired":       {object{"exp": 1}, Expired},
		"not yet valid":      {object{"nbf": now + 60}, Invalid},
		"issued in future":   {object{"iat": now + 60}, Invalid},
		"no expiry":          {object{"exp": nil}, Invalid},
		"text as expiry":     {object{"exp": fmt.Sprint(now + 600)}, Invalid},
		"zero as expiry":     {object{"exp": 0}, Invalid},
		"negative expiry":    {object{"exp": -5}, Invalid},
		"true as expiry":     {object{"exp": true}, Invalid},
		"array as expiry":    {object{"exp": []int64{now + 600}}, Invalid},
		"1e400 as expiry":    {object{"exp": json.RawMessage("1e400")}, Invalid},
		"1e300 as expiry":    {object{"exp": json.RawMessage("1e300")}, Invalid},
		"year 10000":         {object{"exp": json.RawMessage("253402300800")}, Invalid},
		"milliseconds":       {object{"exp": (now + 600) * 1000}, Invalid},
		"null as expiry":     {object{"exp": json.RawMessage("null")}, Invalid},
		"text as not before": {object{"nbf": "soon"}, Invalid},
		"null as not before": {object{"nbf": json.RawMessage("null")}, Invalid},
		"text as issued":     {object{"iat": "now"}, Invalid},
		"1e400 as issued":    {object{"iat": json.RawMessage("1e400")}, Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			unproven(t, p, Evidence{Resource: resource, BearerToken: a.token(c.change)}, c.code)
		})
	}
	for _, change := range []object{
		{"exp": now - 25},
		{"nbf": now + 25},
		{"iat": now + 25},
		{"nbf": nil, "iat": nil},
		{"exp": json.RawMessage(fmt.Sprintf("%d.25", now+600))},
		{"exp": json.RawMessage("4.1e9")},
	} {
		proven(t, p, a.token(change))
	}
}

// Signatures that are none, or are another key's or algorithm's.
func TestI10_SignaturesOfOthers(t *testing.T) {
	a := newAuthority(t)
	a.show(jwk("r1", "", rsaKey()), jwk("ps", "PS256", rsaOther()), jwk("rs", "RS256", rsaOther()), jwk("e1", "ES256", ecKey()), jwk("d1", "", edKey()))
	p := provers(t, a.issuer())
	der := made(x509.MarshalPKIXPublicKey(rsaKey().Public()))
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	claims := a.claims(nil)
	good := a.token(nil)
	parts := strings.Split(good, ".")
	proven(t, p, good)

	tokens := map[string]string{
		"another RSA key":                  sign("RS256", rsaOther(), `{"alg":"RS256","kid":"r1"}`, claims),
		"another RSA key, no kid":          sign("RS256", made(rsa.GenerateKey(rand.Reader, 2048)), `{"alg":"RS256"}`, claims),
		"another EC key":                   sign("ES256", made(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), `{"alg":"ES256","kid":"e1"}`, claims),
		"HS256 with the PEM":               sign("HS256", pemKey, `{"alg":"HS256","kid":"r1"}`, claims),
		"HS256 with the DER":               sign("HS256", der, `{"alg":"HS256","kid":"r1"}`, claims),
		"HS256 with the PKCS 1":            sign("HS256", x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey), `{"alg":"HS256","kid":"r1"}`, claims),
		"HS256 with the JWK":               sign("HS256", []byte(jwk("r1", "", rsaKey())), `{"alg":"HS256","kid":"r1"}`, claims),
		"HS256 with the modulus":           sign("HS256", rsaKey().N.Bytes(), `{"alg":"HS256","kid":"r1"}`, claims),
		"HS256 with nothing":               sign("HS256", []byte{}, `{"alg":"HS256"}`, claims),
		"HS256 that says RS256":            sign("HS256", pemKey, `{"alg":"RS256","kid":"r1"}`, claims),
		"PS256 that says RS256":            sign("PS256", rsaKey(), `{"alg":"RS256","kid":"r1"}`, claims),
		"RS256 that says PS256":            sign("RS256", rsaKey(), `{"alg":"PS256","kid":"r1"}`, claims),
		"RS256 by a key for PS256":         sign("RS256", rsaOther(), `{"alg":"RS256","kid":"ps"}`, claims),
		"PS256 by a key for RS256":         sign("PS256", rsaOther(), `{"alg":"PS256","kid":"rs"}`, claims),
		"RS256 that says ES256":            sign("RS256", rsaKey(), `{"alg":"ES256","kid":"r1"}`, claims),
		"RS256 that says EdDSA":            sign("RS256", rsaKey(), `{"alg":"EdDSA","kid":"r1"}`, claims),
		"ES256 by the kid of an RSA key":   sign("ES256", ecKey(), `{"alg":"ES256","kid":"r1"}`, claims),
		"ES256 by the kid of an Ed key":    sign("EdDSA", edKey(), `{"alg":"ES256","kid":"d1"}`, claims),
		"RS512, which is not configured":   signRS512(claims),
		"an algorithm in lower case":       sign("RS256", rsaKey(), `{"alg":"rs256","kid":"r1"}`, claims),
		"an algorithm with a space":        sign("RS256", rsaKey(), `{"alg":"RS256 ","kid":"r1"}`, claims),
		"no algorithm":                     sign("RS256", rsaKey(), `{"kid":"r1"}`, claims),
		"algorithm null":                   sign("RS256", rsaKey(), `{"alg":null,"kid":"r1"}`, claims),
		"algorithms in an array":           sign("RS256", rsaKey(), `{"alg":["RS256"],"kid":"r1"}`, claims),
		"algorithm in another case's name": sign("RS256", rsaKey(), `{"ALG":"RS256","kid":"r1"}`, claims),
		"two algorithms":                   sign("RS256", rsaKey(), `{"alg":"none","alg":"RS256","kid":"r1"}`, claims),
		"two algorithms, escaped":          sign("RS256", rsaKey(), `{"al\u0067":"none","alg":"RS256","kid":"r1"}`, claims),
		"no signature":                     parts[0] + "." + parts[1] + ".",
		"signature of zeros":               parts[0] + "." + parts[1] + "." + b64(make([]byte, 256)),
		"ES256 of zeros":                   b64([]byte(`{"alg":"ES256","kid":"e1"}`)) + "." + b64([]byte(claims)) + "." + b64(make([]byte, 64)),
		"EdDSA of zeros":                   b64([]byte(`{"alg":"EdDSA","kid":"d1"}`)) + "." + b64([]byte(claims)) + "." + b64(make([]byte, 64)),
		"another's claims":                 parts[0] + "." + b64([]byte(a.claims(object{"sub": "root"}))) + "." + parts[2],
		"another header":                   b64([]byte(`{"alg":"RS256","kid":"r1"}`)) + "." + parts[1] + "." + parts[2],
	}
	for _, none := range []string{"none", "None", "NONE", "nOnE", "", " none", "none\u0000", "null"} {
		header := text64(object{"alg": none, "kid": "r1"})
		tokens["alg "+none] = b64([]byte(header)) + "." + parts[1] + "."
		tokens["alg "+none+", signed"] = sign("RS256", rsaKey(), header, claims)
	}
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) {
			unproven(t, p, Evidence{Resource: resource, BearerToken: token}, Invalid)
		})
	}
	for _, token := range []string{
		sign("PS256", rsaKey(), `{"alg":"PS256","kid":"r1"}`, claims), sign("PS256", rsaOther(), `{"alg":"PS256","kid":"ps"}`, claims),
		sign("EdDSA", edKey(), `{"alg":"EdDSA","kid":"d1"}`, claims), sign("RS256", rsaKey(), `{"alg":"RS256"}`, claims),
	} {
		proven(t, p, token)
	}
}

func signRS512(claims string) string {
	signer := made(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS512, Key: rsaKey()}, (&jose.SignerOptions{}).WithHeader("kid", "r1")))
	return made(made(signer.Sign([]byte(claims))).CompactSerialize())
}

// An algorithm that an issuer's configuration leaves out is not accepted of it.
func TestI10_AlgorithmsThatAreNotConfigured(t *testing.T) {
	a := newAuthority(t)
	o := a.issuer()
	o.Algorithms = []string{"ES256"}
	p := provers(t, o)
	unproven(t, p, Evidence{Resource: resource, BearerToken: a.token(nil)}, Invalid)
	proven(t, p, sign("ES256", ecKey(), `{"alg":"ES256","kid":"e1"}`, a.claims(nil)))
}

// A kid chooses among the issuer's keys, and does nothing else.
func TestI10_KeyIDsAreOnlyCompared(t *testing.T) {
	a := newAuthority(t)
	a.show(jwk("r1", "", rsaKey()), jwk("twice", "", rsaOther()), jwk("twice", "", rsaKey()), jwk("../keys", "", rsaKey()), jwk("", "", rsaKey()))
	var paths atomic.Value
	paths.Store("")
	watched := a.Config.Handler
	a.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths.Store(paths.Load().(string) + r.URL.Path + "\n")
		watched.ServeHTTP(w, r)
	})
	p := provers(t, a.issuer())
	attacker := recorder(t)
	signed := func(kid any) string {
		return sign("RS256", rsaKey(), text64(object{"alg": "RS256", "kid": kid}), a.claims(nil))
	}
	for name, kid := range map[string]any{
		"path": "../../../../etc/passwd", "device": "/dev/null", "SQL": "r1' OR '1'='1' -- ", "URL": attacker.URL + "/keys", "command": "r1|id", "NUL": "r1\x00",
		"other case": "R1", "space": "r1 ", "empty": "", "number": 1, "null": nil, "array": []string{"r1"}, "object": object{"kid": "r1"},
		"8 KiB": strings.Repeat("k", 8<<10), "1 MB": strings.Repeat("k", 1<<20), "glob": "*",
	} {
		t.Run(name, func(t *testing.T) {
			unproven(t, p, Evidence{Resource: resource, BearerToken: signed(kid)}, Invalid)
		})
	}
	for _, kid := range []string{"r1", "twice", "../keys"} { // one of the two keys called so has signed
		proven(t, p, signed(kid))
	}
	unproven(t, p, Evidence{Resource: resource, BearerToken: sign("RS256", rsaKey(), `{"alg":"RS256","kid":"x","kid":"r1"}`, a.claims(nil))}, Invalid)
	for _, path := range strings.Fields(paths.Load().(string)) {
		if path != "/keys" && path != "/.well-known/openid-configuration" {
			t.Errorf("the issuer was asked for %s", path)
		}
	}
	attacker.untouched(t)
}

// Headers that carry a key, or say where one is, are not followed, also when the
// key is the issuer's own or the issuer has signed them.
func TestI10_KeysThatTheTokenBrings(t *testing.T) {
	a := newAuthority(t)
	p := provers(t, a.issuer())
	attacker := recorder(t)
	evil := json.RawMessage(jwk("evil", "", rsaOther()))
	certificate := base64.StdEncoding.EncodeToString(newSVID(t, nil))
	for name, header := range map[string]object{
		"jwk":                  {"jwk": evil},
		"jwk with a kid":       {"jwk": evil, "kid": "evil"},
		"jwk with a known kid": {"jwk": evil, "kid": "r1"},
		"the issuer's own jwk": {"jwk": json.RawMessage(jwk("r1", "", rsaKey())), "kid": "r1"},
		"jwk null":             {"jwk": nil, "kid": "r1"},
		"jku":                  {"jku": attacker.URL + "/jwks.json", "kid": "evil"},
		"jku, known kid":       {"jku": attacker.URL + "/jwks.json", "kid": "r1"},
		"jku of the issuer":    {"jku": a.URL + "/keys", "kid": "r1"},
		"x5u":                  {"x5u": attacker.URL + "/cert.pem", "kid": "r1"},
		"x5c":                  {"x5c": []string{certificate}, "kid": "r1"},
		"unknown crit":         {"crit": []string{"x"}, "x": 1, "kid": "r1"},
		"crit of b64":          {"crit": []string{"b64"}, "b64": true, "kid": "r1"},
		"empty crit":           {"crit": []string{}, "kid": "r1"},
		"crit null":            {"crit": nil, "kid": "r1"},
		"b64 false":            {"b64": false, "kid": "r1"},
		"b64 true":             {"b64": true, "kid": "r1"},
		"zip":                  {"zip": "DEF", "kid": "r1"},
		"nested":               {"cty": "JWT", "kid": "r1"},
		"ID-JAG":               {"typ": "oauth-id-jag+jwt", "kid": "r1"},
		"logout token":         {"typ": "logout+jwt", "kid": "r1"},
		"empty typ":            {"typ": "", "kid": "r1"},
		"typ of a number":      {"typ": 1, "kid": "r1"},
	} {
		header["alg"] = "RS256"
		for by, key := range map[string]*rsa.PrivateKey{"the attacker": rsaOther(), "the issuer": rsaKey()} {
			t.Run(name+" signed by "+by, func(t *testing.T) {
				unproven(t, p, Evidence{Resource: resource, BearerToken: sign("RS256", key, text64(header), a.claims(nil))}, Invalid)
			})
		}
	}
	for _, typ := range []string{"JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"} {
		proven(t, p, sign("RS256", rsaKey(), text64(object{"alg": "RS256", "kid": "r1", "typ": typ, "x5t": "abc"}), a.claims(nil)))
	}
	attacker.untouched(t)
}

// One token has one form: whoever compares, records or blocks tokens by their text
// sees all there is.
func TestI10_FormsOfTokens(t *testing.T) {
	a := newAuthority(t)
	p := provers(t, a.issuer())
	good := a.token(nil)
	proven(t, p, good)
	parts := strings.Split(good, ".")
	payload := func(s string) string { return sign("RS256", rsaKey(), `{"alg":"RS256","kid":"r1"}`, s) }
	claims := a.claims(nil)
	encrypter := made(jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.RSA_OAEP, Key: rsaKey().Public()}, (&jose.EncrypterOptions{}).WithContentType("JWT")))
	for name, token := range map[string]string{
		"one part":                  "x",
		"a word":                    "Bearer",
		"dots":                      "..",
		"four parts":                good + "." + parts[2],
		"dot at the end":            good + ".",
		"dot before":                "." + good,
		"space at the end":          good + " ",
		"space before":              " " + good,
		"line break at the end":     good + "\n",
		"line break inside":         parts[0] + "." + parts[1][:8] + "\r\n" + parts[1][8:] + "." + parts[2],
		"line break in the header":  parts[0][:4] + "\n" + parts[0][4:] + "." + parts[1] + "." + parts[2],
		"NUL at the end":            good + "\x00",
		"comma and another":         good + "," + good,
		"padding":                   parts[0] + "." + parts[1] + "." + parts[2] + "==",
		"standard base64":           parts[0] + "." + parts[1] + "." + base64.RawStdEncoding.EncodeToString([]byte{0xfb, 0xff}),
		"bits beyond the signature": nonCanonical(good),
		"upper-case header":         strings.ToUpper(parts[0]) + "." + parts[1] + "." + parts[2],
		"JSON form":                 fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]),
		"JSON form, two signatures": fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q},{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2], parts[0], parts[2]),
		"unprotected header":        fmt.Sprintf(`{"header":{"alg":"RS256"},"payload":%q,"signature":%q}`, parts[1], parts[2]),
		"detached":                  parts[0] + ".." + parts[2],
		"JWE":                       made(made(encrypter.Encrypt([]byte(good))).CompactSerialize()),
		"nested":                    payload(good),
		"nested as text":            payload(`"` + good + `"`),
		"claims in an array":        payload("[" + claims + "]"),
		"null":                      payload("null"),
		"two objects":               payload(claims + "{}"),
		"comma at the end":          payload(claims[:len(claims)-1] + ",}"),
		"byte order mark":           payload("\ufeff" + claims),
		"invalid UTF-8":             payload(claims[:len(claims)-1] + `,"x":"` + "\xff" + `"}`),
		"lone surrogate":            payload(claims[:len(claims)-1] + `,"x":"\ud800"}`),
		"subject twice":             payload(claims[:len(claims)-1] + `,"sub":"root"}`),
		"subject twice, escaped":    payload(claims[:len(claims)-1] + `,"s\u0075b":"root"}`),
		"audience twice":            payload(`{"aud":"other",` + claims[1:]),
		"twice further down":        payload(claims[:len(claims)-1] + `,"x":{"a":1,"a":2}}`),
		"claims in upper case":      payload(strings.NewReplacer(`"sub"`, `"SUB"`, `"exp"`, `"EXP"`).Replace(claims)),
		"header of null":            sign("RS256", rsaKey(), `null`, claims),
		"header in an array":        sign("RS256", rsaKey(), `[{"alg":"RS256"}]`, claims),
		"header with more behind":   sign("RS256", rsaKey(), `{"alg":"RS256","kid":"r1"}x`, claims),
		"1 MB of text":              strings.Repeat("a", 1<<20),
		"1 MB of dots":              strings.Repeat(".", 1<<20),
		"1 MB, signed":              payload(claims[:len(claims)-1] + `,"x":"` + strings.Repeat("x", 1<<20) + `"}`),
		"a byte too long":           payload(claims[:len(claims)-1] + `,"x":"` + strings.Repeat("x", maxAccessToken) + `"}`)[:maxAccessToken+1],
		"deep":                      payload(claims[:len(claims)-1] + `,"x":` + strings.Repeat("[", 1<<12) + `1}`),
	} {
		t.Run(name, func(t *testing.T) {
			r := refusalOf(t, p, Evidence{Resource: resource, BearerToken: token}, Invalid)
			if len(r.Reason) > 200 || strings.Contains(r.Reason, "\n") || len(token) > 8 && strings.Contains(r.Reason, token[:8]) {
				t.Errorf("reason %q", r.Reason)
			}
		})
	}
}

// nonCanonical sets bits of the last character that belong to no byte.
func nonCanonical(token string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(digits, token[len(token)-1])
	return token[:len(token)-1] + digits[last|1:last|1+1]
}

// recording is a server of the attacker's, which must not be asked.
type recording struct {
	*httptest.Server
	asked atomic.Int32
}

func recorder(t *testing.T) *recording {
	t.Helper()
	r := &recording{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.asked.Add(1)
		fmt.Fprint(w, jwks(jwk("evil", "", rsaOther())))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *recording) untouched(t *testing.T) {
	t.Helper()
	if n := r.asked.Load(); n != 0 {
		t.Errorf("the attacker's server was asked %d times", n)
	}
}
