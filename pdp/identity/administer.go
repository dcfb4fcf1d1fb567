package identity

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// maxOverlap bounds how long two tokens of one grant are good.
	maxOverlap = 30 * 24 * time.Hour
	// usageAge is how old at most what is known of the use of grants is, by
	// whichever decision point it was used.
	usageAge = time.Minute
)

// ErrTooNew says that it is not known yet what was used since then.
var ErrTooNew = errors.New("what was used within the last minute is not known yet; name an earlier time")

// Get returns a grant as it stands in the store; the error wraps ErrNotFound
// when there is none of that id.
func (a *Authenticator) Get(ctx context.Context, id string) (Grant, error) {
	r, err := a.store.Grant(ctx, id)
	if err != nil {
		return Grant{}, fmt.Errorf("read grant %s: %w", clip(id), err)
	}
	return r.Grant, nil
}

// Root is the id of the grant from which the named one was made in the end: its own
// where an administrator made it. The error wraps ErrNotFound when one is missing.
func (a *Authenticator) Root(ctx context.Context, id string) (string, error) {
	for range maxDelegations + 1 {
		g, err := a.Get(ctx, id)
		if err != nil {
			return "", err
		}
		if g.Parent == "" {
			return g.ID, nil
		}
		id = g.Parent
	}
	return "", fmt.Errorf("grant %s has more than %d above it", clip(id), maxDelegations)
}

// List returns at most limit grants, newest first: the active ones, or with
// all also the expired and the revoked ones.
func (a *Authenticator) List(ctx context.Context, limit int, all bool) ([]Grant, error) {
	q := Query{Limit: limit}
	if !all {
		q.ActiveAt = a.now()
	}
	return a.Find(ctx, q)
}

// Find returns the grants that the query selects, newest first.
func (a *Authenticator) Find(ctx context.Context, q Query) ([]Grant, error) {
	grants, err := a.store.Grants(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list grants: %w", err)
	}
	return grants, nil
}

// Revoke ends a grant, and all below it. When it returns without an error, no
// later Identify of this authenticator lets anybody act under one of them.
// Revoking twice is not an error. The error wraps ErrNotFound when there is no
// such grant.
func (a *Authenticator) Revoke(ctx context.Context, id string) (Grant, error) {
	// Also after a failure: the store may have done it all the same. Those below
	// are not forgotten: each looks up what is above it.
	defer a.grants.forget(id)
	g, err := a.store.RevokeGrant(ctx, id, a.stamp())
	if err != nil {
		return Grant{}, fmt.Errorf("revoke grant %s: %w", clip(id), err)
	}
	return g, nil
}

// Rotate gives a grant a new token, which cannot be had again. The one before it
// is good until overlap has passed; without an overlap it ends at once, here when
// Rotate returns, and elsewhere within a second. One from an earlier rotation ends
// in any case. The error wraps ErrNotFound, or ErrInvalidGrant when the grant has
// no token to rotate or the overlap is no good.
func (a *Authenticator) Rotate(ctx context.Context, id string, overlap time.Duration) (Grant, string, error) {
	if overlap < 0 || overlap > maxOverlap {
		return Grant{}, "", invalid("the overlap must be between 0 and %s", maxOverlap)
	}
	r, err := a.store.Grant(ctx, id)
	if err != nil {
		return Grant{}, "", fmt.Errorf("read grant %s: %w", clip(id), err)
	}
	now := a.stamp()
	if r.Held {
		return Grant{}, "", invalid("grant %s is held, and has no token", r.ID)
	}
	if refusal := r.refusal(now); refusal != nil && refusal.Code != NotYetValid {
		return Grant{}, "", invalid("grant %s cannot be rotated: %s", r.ID, refusal.Reason)
	}
	token := tokenOf(r.ID)
	rotation := Rotation{TokenDigest: digestOf(token), At: now}
	if overlap > 0 {
		rotation.Until = now.Add(overlap)
	}
	defer a.grants.forget(id)
	g, err := a.store.RotateGrant(ctx, r.ID, rotation)
	if errors.Is(err, ErrNotFound) {
		return Grant{}, "", invalid("grant %s was revoked meanwhile", r.ID)
	}
	if err != nil {
		return Grant{}, "", fmt.Errorf("rotate grant %s: %w", clip(id), err)
	}
	return g, token, nil
}

// Unused returns the active grants that nobody has used since then, newest first:
// neither itself, nor any that was made from it. One that never was used counts
// when it could have been since. The error is ErrTooNew when since is too new for
// what is known of all decision points.
func (a *Authenticator) Unused(ctx context.Context, since time.Time, limit int) ([]Grant, error) {
	now := a.now()
	if since.After(now.Add(-usageAge)) {
		return nil, ErrTooNew
	}
	if err := a.Flush(ctx); err != nil {
		return nil, err
	}
	candidates, err := a.Find(ctx, Query{Limit: limit, ActiveAt: now, UnusedSince: since})
	if err != nil {
		return nil, err
	}
	var unused []Grant
	for i := range candidates {
		used, err := a.usedBelow(ctx, &candidates[i], since, now)
		if err != nil {
			return nil, err
		}
		if !used {
			unused = append(unused, candidates[i])
		}
	}
	return unused, nil
}

// usedBelow reports whether a grant that was made from g, at any level, has been
// used since then or is newer.
func (a *Authenticator) usedBelow(ctx context.Context, g *Grant, since, now time.Time) (bool, error) {
	if g.Delegations == 0 {
		return false, nil
	}
	all, err := a.Find(ctx, Query{Limit: maxLimit, ActiveAt: now, Parent: g.ID})
	if err != nil {
		return false, err
	}
	unused, err := a.Find(ctx, Query{Limit: maxLimit, ActiveAt: now, Parent: g.ID, UnusedSince: since})
	if err != nil || len(unused) < len(all) {
		return true, err
	}
	for i := range all {
		if used, err := a.usedBelow(ctx, &all[i], since, now); used || err != nil {
			return used, err
		}
	}
	return false, nil
}
