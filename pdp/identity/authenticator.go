package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// ErrNotFound says that there is no grant of that id.
var ErrNotFound = errors.New("no such grant")

// Record is a grant as it is stored, with the SHA-256 of its token.
type Record struct {
	Grant
	TokenDigest [sha256.Size]byte
}

// Store keeps grants. Its methods are safe for concurrent use. Times are kept
// to the microsecond at least, in UTC.
type Store interface {
	// InsertGrant returns when the record is durable.
	InsertGrant(ctx context.Context, r Record) error
	// Grant returns ErrNotFound for an id that it does not have.
	Grant(ctx context.Context, id string) (Record, error)
	// Grants returns at most limit grants, newest first; with a non-zero
	// activeAt only those that are neither revoked nor expired at that time.
	Grants(ctx context.Context, limit int, activeAt time.Time) ([]Grant, error)
	// RevokeGrant returns when the revocation is durable. The time of a grant
	// that was already revoked stays. It returns ErrNotFound as Grant does.
	RevokeGrant(ctx context.Context, id string, at time.Time) (Grant, error)
}

// Authenticator identifies subjects by their grants' tokens, and administers
// the grants. It is safe for concurrent use.
//
// A revocation made here is in force when Revoke returns; one made by another
// user of the same store within a second (I9).
type Authenticator struct {
	store Store
	now   func() time.Time
	cache *cache
}

// NewAuthenticator returns an authenticator over the grants in s. now is the
// clock; nil is the system's.
func NewAuthenticator(s Store, now func() time.Time) *Authenticator {
	if now == nil {
		now = time.Now
	}
	return &Authenticator{store: s, now: now, cache: newCache(s, now)}
}

// Identify returns whom the evidence proves, for a frame to the named server. The
// error is a *Refusal when the evidence is no good, and another error when the
// question could not be answered: then nobody is identified, and the frame must be
// refused.
func (a *Authenticator) Identify(ctx context.Context, e Evidence, server string) (*Identity, error) {
	if e.BearerToken == "" {
		return nil, &Refusal{Code: Missing, Reason: "no token was sent; send Authorization: Bearer <grant token>"}
	}
	id, ok := parseToken(e.BearerToken)
	if !ok {
		return nil, &Refusal{Code: Invalid, Reason: "the token is malformed; it may have been cut short"}
	}
	r, err := a.cache.get(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && !tokenMatches(e.BearerToken, r.TokenDigest) {
		return nil, &Refusal{Code: Invalid, Reason: "the token is not known"}
	}
	if err != nil {
		return nil, fmt.Errorf("look up the grant of a token: %w", err)
	}
	g := &r.Grant
	switch {
	case !g.RevokedAt.IsZero():
		return nil, &Refusal{Code: Revoked, Reason: "the grant was revoked", GrantID: g.ID, Subject: &g.Subject}
	case g.expired(a.now()):
		return nil, &Refusal{Code: Expired, Reason: "the grant has expired", GrantID: g.ID, Subject: &g.Subject}
	}
	return &Identity{Subject: g.Subject, Grant: g}, nil
}

// Create stores a new grant and returns it with its token, which cannot be had
// again. Of g, the subject, servers, tools, labels and expiry count; a subject
// without a type is an agent. The error wraps ErrInvalidGrant when g is at
// fault.
func (a *Authenticator) Create(ctx context.Context, g Grant) (Grant, string, error) {
	if g.Subject.Type == "" {
		g.Subject.Type = Agent
	}
	now := a.now().UTC().Truncate(time.Microsecond)
	if !g.ExpiresAt.IsZero() {
		g.ExpiresAt = g.ExpiresAt.UTC().Truncate(time.Microsecond)
	}
	if err := g.validate(now); err != nil {
		return Grant{}, "", err
	}
	id, token := newToken()
	g.ID, g.CreatedAt, g.RevokedAt = id, now, time.Time{}
	r := Record{Grant: g, TokenDigest: sha256.Sum256([]byte(token))}
	if err := a.store.InsertGrant(ctx, r); err != nil {
		return Grant{}, "", fmt.Errorf("store the grant: %w", err)
	}
	return g, token, nil
}

// Get returns a grant as it stands in the store; the error wraps ErrNotFound
// when there is none of that id.
func (a *Authenticator) Get(ctx context.Context, id string) (Grant, error) {
	r, err := a.store.Grant(ctx, id)
	if err != nil {
		return Grant{}, fmt.Errorf("read grant %s: %w", clip(id), err)
	}
	return r.Grant, nil
}

// List returns at most limit grants, newest first: the active ones, or with
// all also the expired and the revoked ones.
func (a *Authenticator) List(ctx context.Context, limit int, all bool) ([]Grant, error) {
	var activeAt time.Time
	if !all {
		activeAt = a.now()
	}
	grants, err := a.store.Grants(ctx, limit, activeAt)
	if err != nil {
		return nil, fmt.Errorf("list grants: %w", err)
	}
	return grants, nil
}

// Revoke ends a grant. When it returns without an error, no later Identify of
// this authenticator accepts the grant's token. Revoking twice is not an
// error. The error wraps ErrNotFound when there is no such grant.
func (a *Authenticator) Revoke(ctx context.Context, id string) (Grant, error) {
	// Also after a failure: the store may have done it all the same.
	defer a.cache.forget(id)
	g, err := a.store.RevokeGrant(ctx, id, a.now().UTC().Truncate(time.Microsecond))
	if err != nil {
		return Grant{}, fmt.Errorf("revoke grant %s: %w", clip(id), err)
	}
	return g, nil
}
