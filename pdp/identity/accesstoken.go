package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// AccessTokens proves subjects by the access tokens of authorization servers: JWTs
// (RFC 9068, RFC 8725) that one of the issuers has signed for the resource of the
// evidence. The tokens of Kubernetes service accounts are such as well. It is safe
// for concurrent use.
//
// What an issuer has withdrawn, a key, is good for five minutes more at most, and
// for 24 hours while the issuer is away. A token itself cannot be withdrawn.
type AccessTokens struct {
	issuers map[string]*issuer // by URL
	now     func() time.Time
	cache   tokenCache
}

// NewAccessTokens returns the prover for the issuers. It asks nobody for keys: that
// is for Run, or for the first token. now is the clock; nil is the system's. The
// error names the issuer and what is wrong with it.
func NewAccessTokens(issuers []Issuer, now func() time.Time, log *slog.Logger) (*AccessTokens, error) {
	if now == nil {
		now = time.Now
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a := &AccessTokens{issuers: map[string]*issuer{}, now: now}
	for n, o := range issuers {
		i, err := newIssuer(o)
		if err != nil {
			return nil, fmt.Errorf("issuers[%d].%w", n, err)
		}
		if a.issuers[o.URL] != nil {
			return nil, fmt.Errorf("issuers[%d].url: %s is there twice", n, o.URL)
		}
		fetcher := &keyFetcher{issuer: o.URL, jwks: o.JWKS, client: o.Client, token: o.Token}
		i.keys = &keySource{issuer: o.URL, fetch: fetcher.fetch, now: now, log: log}
		a.issuers[o.URL] = i
	}
	return a, nil
}

// Run keeps the keys of the issuers up to date until ctx ends. An issuer that is
// away is logged, and asked again.
func (a *AccessTokens) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, i := range a.issuers {
		all.Go(func() { i.keys.run(ctx) })
	}
	all.Wait()
}

// Prove implements [Prover]. The evidence needs a bearer token and a resource.
func (a *AccessTokens) Prove(ctx context.Context, e Evidence) (Proof, error) {
	switch {
	case e.BearerToken == "":
		return Proof{}, &Refusal{Code: Missing, Reason: "no token was sent; send Authorization: Bearer <access token>"}
	case e.Resource == "":
		return Proof{}, &Refusal{Code: Invalid, Reason: "access tokens are not accepted at this address"}
	case strings.HasPrefix(e.BearerToken, tokenPrefix):
		return Proof{}, &Refusal{Code: Invalid, Reason: "a grant token is not accepted at this address; send an access token"}
	case len(e.BearerToken) > maxAccessToken:
		return Proof{}, invalidToken("is longer than %d bytes", maxAccessToken)
	}
	digest, now := sha256.Sum256([]byte(e.BearerToken)), a.now()
	t := a.cache.get(digest, now)
	if t == nil || t.keys != t.issuer.keys.current() {
		var err error
		if t, err = a.verify(ctx, e.BearerToken); err != nil {
			return Proof{}, err
		}
		t.verifiedAt = now
		a.cache.put(digest, t)
	}
	if err := t.check(e, now); err != nil {
		return Proof{}, err
	}
	return t.proof, nil
}

func (a *AccessTokens) verify(ctx context.Context, token string) (*accessToken, error) {
	t, err := readToken(token)
	if err != nil {
		return nil, err
	}
	url, _ := text(t.claims["iss"])
	i, ok := a.issuers[url]
	if !ok {
		return nil, invalidToken("is of an issuer that is not accepted here")
	}
	verified, err := i.verify(ctx, t)
	if r := (*Refusal)(nil); err != nil && !errors.As(err, &r) {
		return nil, fmt.Errorf("verify an access token: %w", err)
	}
	return verified, err
}

// A verified token is not verified again for a minute, unless its issuer's keys
// have changed: a signature costs a hundred times what the rest does.
const (
	maxTokenAge     = time.Minute
	maxTokensCached = 1 << 13
)

// tokenCache has the tokens that were verified of late, by their SHA-256: two
// generations of them, of which the older one is dropped. The zero value is empty.
type tokenCache struct {
	mu            sync.RWMutex
	recent, older map[digest]*accessToken
	begun         time.Time // of recent
}

// get returns what was verified less than maxTokenAge before now, or nil.
func (c *tokenCache) get(d digest, now time.Time) *accessToken {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t, ok := c.recent[d]
	if !ok {
		t = c.older[d]
	}
	if t == nil {
		return nil
	}
	if age := now.Sub(t.verifiedAt); age < 0 || age >= maxTokenAge {
		return nil
	}
	return t
}

func (c *tokenCache) put(d digest, t *accessToken) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recent == nil || len(c.recent) >= maxTokensCached || t.verifiedAt.Sub(c.begun) >= maxTokenAge {
		c.older, c.recent, c.begun = c.recent, map[digest]*accessToken{}, t.verifiedAt
	}
	c.recent[d] = t
}
