package identity

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxAccessToken bounds an access token, in bytes. HTTP servers seldom take a
// larger header.
const maxAccessToken = 16 << 10

// signatureAlgorithms are all that can be configured. Each is asymmetric: with an
// HMAC whoever knows a public key could sign by it (RFC 8725, section 2.1).
var signatureAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// defaultAlgorithms are good where an issuer's options do not say.
var defaultAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

// signedToken is an access token whose form is good. Nothing of it is proven.
type signedToken struct {
	jws       *jose.JSONWebSignature
	algorithm jose.SignatureAlgorithm
	keyID     string
	hasKeyID  bool
	claims    claims
}

// readToken reads a JWS of bounded length in compact form (RFC 7515, section 7.1) whose payload is a
// JSON object, and accepts one form of it only: canonical base64url, no repeated
// names, and no header that says where a key would be. The error is a *Refusal.
func readToken(token string) (*signedToken, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, invalidToken("is no signed JWT in compact form; it may have been cut short")
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		// The decoder would skip line breaks.
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil || part == "" || strings.ContainsAny(part, "\r\n") {
			return nil, invalidToken("is malformed; it may have been cut short")
		}
	}
	t := &signedToken{}
	if err := t.readHeader(decoded[0]); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(decoded[1], &t.claims); err != nil || t.claims == nil {
		return nil, invalidToken("holds no JSON object with each name once")
	}
	var err error
	if t.jws, err = jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{t.algorithm}); err != nil {
		return nil, invalidToken("is malformed")
	}
	return t, nil
}

// Headers that would have a key found where the sender says, or change what is
// signed, are refused whoever signs: nothing they point at is ever asked.
var refusedHeaders = []string{"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty"}

func (t *signedToken) readHeader(b []byte) error {
	var header map[string]jsontext.Value
	if err := json.Unmarshal(b, &header); err != nil || header == nil {
		return invalidToken("has a malformed header")
	}
	for _, name := range refusedHeaders {
		if _, has := header[name]; has {
			return invalidToken("has the header %s, which is not accepted", name)
		}
	}
	algorithm, ok := text(header["alg"])
	if t.algorithm = jose.SignatureAlgorithm(algorithm); !ok || !slices.Contains(signatureAlgorithms, t.algorithm) {
		return invalidToken("is not signed by an asymmetric algorithm that is known")
	}
	if kid, has := header["kid"]; has {
		if t.keyID, ok = text(kid); !ok || t.keyID == "" {
			return invalidToken("has no text as its kid")
		}
		t.hasKeyID = true
	}
	if typ, has := header["typ"]; has && !isTokenType(typ) {
		return invalidToken("is of another typ than JWT and at+jwt")
	}
	return nil
}

// isTokenType is by RFC 9068, section 4, and for issuers that do not follow it
// RFC 7519, section 5.1. So no logout token or client assertion passes for an
// access token.
func isTokenType(v jsontext.Value) bool {
	typ, ok := text(v)
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return ok && (typ == "jwt" || typ == "at+jwt")
}

// text returns a JSON string's content.
func text(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return string(b), err == nil
}
