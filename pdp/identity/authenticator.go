package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Options of an authenticator.
type Options struct {
	Now func() time.Time // nil is the system's clock
	// Prover judges access tokens and client certificates. Without one there is no
	// evidence but a grant's token.
	Prover Prover
	Log    *slog.Logger // nil is the default logger
}

// Authenticator identifies subjects by their evidence, and administers the
// grants. It is safe for concurrent use.
//
// A revocation made here is in force when Revoke returns; one made by another
// user of the same store within a second (I9).
type Authenticator struct {
	store  Store
	now    func() time.Time
	prover Prover
	log    *slog.Logger
	grants *cache[*known]
	held   *cache[[]string] // ids of the grants that a subject holds, newest first
	usage  tally
}

// known is a record in the cache, with the identity of who acts under it alone.
type known struct {
	Record
	who Identity
}

// NewAuthenticator returns an authenticator over the grants in s.
func NewAuthenticator(s Store, o Options) *Authenticator {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	a := &Authenticator{store: s, now: o.Now, prover: o.Prover, log: o.Log}
	a.grants = newCache(a.readGrant, o.Now)
	a.held = newCache(func(ctx context.Context, subject string) ([]string, error) {
		return s.HeldGrants(ctx, subject, a.stamp())
	}, o.Now)
	return a
}

func (a *Authenticator) readGrant(ctx context.Context, id string) (*known, error) {
	r, err := a.store.Grant(ctx, id)
	if err != nil {
		return nil, err
	}
	k := &known{Record: r}
	k.who = Identity{Subject: r.Subject, Grant: &k.Grant}
	return k, nil
}

// stamp is the time as stores keep it.
func (a *Authenticator) stamp() time.Time { return a.now().UTC().Truncate(time.Microsecond) }

// Identify returns whom the evidence proves, for a frame to the named server. The
// error is a *Refusal when the evidence is no good, and another error when the
// question could not be answered: then nobody is identified, and the frame must be
// refused.
//
// Where Evidence.Resource is empty a bearer token is a grant's and nothing else;
// where it is not, the Prover judges it and a grant's token is no good. So no token
// means one thing at one place and another at the next.
func (a *Authenticator) Identify(ctx context.Context, e Evidence, server string) (*Identity, error) {
	switch {
	case e.Resource == "" && e.BearerToken != "":
		return a.byToken(ctx, e)
	case strings.HasPrefix(e.BearerToken, tokenPrefix):
		return nil, &Refusal{Code: Invalid, Reason: "a grant's token is not taken here; send an access token of the authorization server"}
	case a.prover != nil && (e.Resource != "" || len(e.PeerCertificates) > 0):
		return a.byProof(ctx, e, server)
	case e.BearerToken != "":
		return nil, &Refusal{Code: Invalid, Reason: "access tokens are not taken here"}
	}
	return nil, &Refusal{Code: Missing, Reason: "no token was sent; send Authorization: Bearer <grant token>"}
}

// byToken identifies whoever acts under the grant whose token was sent.
func (a *Authenticator) byToken(ctx context.Context, e Evidence) (*Identity, error) {
	id, ok := parseToken(e.BearerToken)
	if !ok {
		return nil, &Refusal{Code: Invalid, Reason: "the token is malformed; it may have been cut short"}
	}
	k, err := a.grants.get(ctx, id)
	now := a.now()
	if errors.Is(err, ErrNotFound) || err == nil && !k.takes(e.BearerToken, now) {
		return nil, &Refusal{Code: Invalid, Reason: "the token is not known"}
	}
	if err != nil {
		return nil, fmt.Errorf("look up the grant of a token: %w", err)
	}
	if r := k.refusal(now); r != nil {
		return nil, r
	}
	if !provesBinding(k.BoundTo, e.PeerCertificates) {
		return nil, &Refusal{
			Code: Invalid, Reason: "the token is bound to a client certificate, which was not presented",
			GrantID: k.ID, Subject: &k.Subject,
		}
	}
	if k.Parent == "" {
		return &k.who, nil
	}
	above, err := a.above(ctx, &k.Grant, now)
	if err != nil {
		return nil, err
	}
	return &Identity{Subject: k.Subject, Grant: &k.Grant, Above: above}, nil
}

// takes reports whether the token is the record's, or the one before it for as
// long as that is good.
func (r *Record) takes(token string, now time.Time) bool {
	sum := digestOf(token)
	current := sameDigest(sum, r.TokenDigest)
	previous := sameDigest(sum, r.PreviousDigest) && now.Before(r.PreviousUntil)
	return !r.Held && (current || previous)
}

// above returns the grants that g was made from, the nearest first. All of them
// have to be good for g to be.
func (a *Authenticator) above(ctx context.Context, g *Grant, now time.Time) ([]*Grant, error) {
	var above []*Grant
	for parent := g.Parent; parent != ""; {
		if len(above) == maxDelegations { // more are never made: what is stored goes in a circle
			return nil, fmt.Errorf("grant %s has more than %d above it", g.ID, maxDelegations)
		}
		k, err := a.grants.get(ctx, parent)
		if errors.Is(err, ErrNotFound) {
			return nil, &Refusal{Code: Revoked, Reason: "the grant that this one was made from is gone", GrantID: g.ID, Subject: &g.Subject}
		}
		if err != nil {
			return nil, fmt.Errorf("look up a grant above %s: %w", g.ID, err)
		}
		if r := k.refusal(now); r != nil {
			return nil, &Refusal{Code: r.Code, Reason: "a grant that this one was made from is no good: " + r.Reason, GrantID: g.ID, Subject: &g.Subject}
		}
		above = append(above, &k.Grant)
		parent = k.Parent
	}
	return above, nil
}

// refusal says why the grant may not be used at t, or nil.
func (g *Grant) refusal(t time.Time) *Refusal {
	r := &Refusal{GrantID: g.ID, Subject: &g.Subject}
	switch {
	case !g.RevokedAt.IsZero():
		r.Code, r.Reason = Revoked, "the grant was revoked"
	case g.expired(t):
		r.Code, r.Reason = Expired, "the grant has expired"
	case t.Before(g.NotBefore):
		r.Code, r.Reason = NotYetValid, "the grant is not good before "+g.NotBefore.UTC().Format(time.RFC3339)
	default:
		return nil
	}
	return r
}
