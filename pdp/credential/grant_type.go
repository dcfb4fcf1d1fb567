package credential

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// grantType gets the tokens of a credential that the vault keeps.
type grantType interface {
	// holder is whose tokens a subject of the holder uses; "" where all share.
	holder(of string) string
	// obtain gets new tokens in place of those before, which are zero where there are
	// none. An *AccountNeeded says that nothing but the holder can help, and errLost
	// that those before are of no use to anybody.
	obtain(ctx context.Context, holder string, before tokens) (tokens, error)
	// absent is the error of having no tokens, or nil where obtain needs none before.
	absent(holder string) error
	// fits says whether tokens are what the configuration of today would get.
	fits(t tokens) bool
}

// clientCredentials gets tokens for the gateway itself (RFC 6749, section 4.4).
type clientCredentials struct {
	b *Broker
	c *brokered
	g TokenGrant
}

func (clientCredentials) holder(string) string { return "" }
func (clientCredentials) absent(string) error  { return nil }

func (g *clientCredentials) obtain(ctx context.Context, _ string, _ tokens) (tokens, error) {
	return g.b.tokens(ctx, g.c, g.request())
}

func (g *clientCredentials) request() tokenRequest {
	return g.g.request("client_credentials", g.c, nil)
}

func (g *clientCredentials) fits(t tokens) bool {
	return t.Asked == g.request().digest()
}

// request is one to the token endpoint of the configuration.
func (g TokenGrant) request(grant string, c *brokered, form url.Values) tokenRequest {
	r := tokenRequest{
		url: g.TokenURL, client: g.ClientID, secret: g.ClientSecret, method: authBase, grant: grant,
		resource: cmp.Or(g.Resource, resource(c.url)), audience: g.Audience, scopes: g.Scopes, form: form,
	}
	if g.InBody {
		r.method = authBody
	}
	return r
}

// resource is a server's URL as the identifier of what tokens are for: without a
// fragment, as RFC 8707 wants it, and without the query, which may be secret.
func resource(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return ""
	}
	u.Fragment, u.RawFragment, u.RawQuery, u.ForceQuery, u.User = "", "", "", false, nil
	return u.String()
}

const grantJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// assertionLife is how long an assertion is good: for the request that carries it.
const assertionLife = time.Minute

// jwtBearer signs an assertion in the subject's name.
type jwtBearer struct {
	b *Broker
	c *brokered
	g JWTBearer
}

func (g *jwtBearer) holder(of string) string {
	if g.g.Subject != "" {
		return ""
	}
	return of
}

func (g *jwtBearer) absent(holder string) error {
	if g.g.Subject == "" && holder == "" {
		return fmt.Errorf("there is nobody in whose name an assertion for %s could be signed", g.c.server)
	}
	return nil
}

func (g *jwtBearer) obtain(ctx context.Context, holder string, _ tokens) (tokens, error) {
	assertion, err := g.assertion(cmp.Or(g.g.Subject, holder))
	if err != nil {
		return tokens{}, fmt.Errorf("sign an assertion for %s: %w", g.c.server, err)
	}
	r := g.request()
	r.form = url.Values{"assertion": {assertion}}
	return g.b.tokens(ctx, g.c, r)
}

func (g *jwtBearer) request() tokenRequest {
	return tokenRequest{url: g.g.TokenURL, method: authNone, grant: grantJWTBearer, resource: resource(g.c.url), scopes: g.g.Scopes}
}

func (g *jwtBearer) fits(t tokens) bool {
	return t.Asked == g.request().digest()
}

func (g *jwtBearer) assertion(subject string) (string, error) {
	algorithm, err := algorithmOf(g.g.Key)
	if err != nil {
		return "", err
	}
	key := jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: g.g.Key, KeyID: g.g.KeyID}}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := g.b.now()
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: g.g.Issuer, Subject: subject, Audience: jwt.Audience{cmp.Or(g.g.Audience, g.g.TokenURL)}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(assertionLife)),
	}).Serialize()
}

// algorithmOf is the one that goes with a key.
func algorithmOf(key crypto.Signer) (jose.SignatureAlgorithm, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return jose.RS256, nil
	case ed25519.PrivateKey:
		return jose.EdDSA, nil
	case *ecdsa.PrivateKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return jose.ES256, nil
		case 384:
			return jose.ES384, nil
		case 521:
			return jose.ES512, nil
		}
	}
	return "", errors.New("want an RSA, ECDSA or Ed25519 key")
}

// ParseSigner reads the private key of a [JWTBearer] from PEM: PKCS #8, PKCS #1 or
// SEC 1, without a passphrase. The error shows nothing of it.
func ParseSigner(b []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("want a private key as PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("want an unencrypted private key of RSA, ECDSA or Ed25519 as PEM")
	}
	if _, err := algorithmOf(signer); err != nil {
		return nil, err
	}
	return signer, nil
}
