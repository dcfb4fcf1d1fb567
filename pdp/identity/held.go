package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// byProof identifies whom an access token or a certificate proves. Where its kind of
// evidence needs a grant, one that the subject holds for the server limits it, and
// adds the groups that an administrator has given; elsewhere policy alone decides.
// Nothing in between: a grant that only limited could be revoked to do more.
func (a *Authenticator) byProof(ctx context.Context, e Evidence, server string) (*Identity, error) {
	proof, err := a.prover.Prove(ctx, e)
	if err != nil {
		return nil, err
	}
	if proof.Subject.ID == "" {
		return nil, errors.New("a subject without an id was proven")
	}
	if !proof.NeedsGrant {
		return &Identity{Subject: proof.Subject}, nil
	}
	who, bound, err := a.holds(ctx, e, &proof, server)
	switch {
	case err != nil:
		return nil, err
	case who != nil:
		return who, nil
	case bound:
		return nil, &Refusal{Code: NotGranted, Reason: "the grant held for this server is bound to another agent or certificate", Subject: &proof.Subject}
	}
	return nil, &Refusal{Code: NotGranted, Reason: "no grant is held for this server; ask an administrator for one", Subject: &proof.Subject}
}

// holds looks for the newest grant that the subject holds for the server. bound
// says that there are some, and that all are bound to somebody else.
func (a *Authenticator) holds(ctx context.Context, e Evidence, proof *Proof, server string) (who *Identity, bound bool, err error) {
	ids, err := a.held.get(ctx, proof.Subject.ID)
	if err != nil {
		return nil, false, fmt.Errorf("look up the grants that a subject holds: %w", err)
	}
	for _, id := range ids {
		who, err := a.heldGrant(ctx, id, proof, server)
		if err != nil {
			return nil, false, err
		}
		if who == nil {
			continue
		}
		boundTo := who.Grant.BoundTo
		if provesBinding(boundTo, e.PeerCertificates) || proof.Subject.Actor != "" && slices.Contains(boundTo, proof.Subject.Actor) {
			return who, false, nil
		}
		bound = true
	}
	return nil, bound, nil
}

// heldGrant is the identity under one grant that is held, or nil where that is not
// good for the server now.
func (a *Authenticator) heldGrant(ctx context.Context, id string, proof *Proof, server string) (*Identity, error) {
	k, err := a.grants.get(ctx, id)
	if err != nil {
		return nil, unlessNoGood(err)
	}
	now := a.now()
	if good := k.refusal(now) == nil; !good || !k.Held || k.Subject.ID != proof.Subject.ID {
		return nil, nil
	}
	above, err := a.above(ctx, &k.Grant, now)
	if err != nil {
		return nil, unlessNoGood(err)
	}
	who := &Identity{Subject: proof.Subject, Grant: &k.Grant, Above: above}
	if given := k.Subject.Groups; len(given) > 0 {
		who.Subject.Groups = union(proof.Subject.Groups, given)
	}
	if !who.CoversServer(server) {
		return nil, nil
	}
	return who, nil
}

// union has each group once, in the order in which they come.
func union(proven, given []string) []string {
	all := slices.Clone(proven)
	for _, g := range given {
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return all
}

// unlessNoGood is err, unless that says that a grant is no good.
func unlessNoGood(err error) error {
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) || errors.Is(err, ErrNotFound) {
		return nil
	}
	return fmt.Errorf("look up a grant that a subject holds: %w", err)
}
