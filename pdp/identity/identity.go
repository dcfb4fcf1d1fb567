package identity

import (
	"context"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Identity is who stands behind a frame, and the most that they may do. It is
// shared and must not be changed.
type Identity struct {
	Subject Subject
	// Grant is the permission under which the subject acts; nil where the subject
	// was proven by other evidence, and needs none.
	Grant *Grant
	// Above are the grants that Grant was made from, the nearest first. What it
	// covers is what all of them cover.
	Above []*Grant
}

// Proof is a subject that evidence other than a grant's token has proven.
type Proof struct {
	Subject Subject
	// NeedsGrant says that the subject may do nothing but under a grant that it
	// holds.
	NeedsGrant bool
}

// Prover proves subjects by evidence other than a grant's token: access tokens
// and client certificates. The error is a *Refusal when the evidence is no good,
// and another when the question could not be answered. It is safe for concurrent
// use.
type Prover interface {
	Prove(ctx context.Context, e Evidence) (Proof, error)
}

// Subject is on whose behalf a frame is sent.
type Subject struct {
	ID     string
	Type   string // Person, Agent or Workload
	Groups []string
	// Issuer has vouched for the subject: an issuer's URL or a SPIFFE trust
	// domain; empty for a subject that a grant names.
	Issuer string
	// Actor acts on behalf of the subject (RFC 8693, section 4.1); empty where it
	// acts itself.
	Actor string
	// Scopes are those of the access token.
	Scopes []string
	// Claims are those that the configuration shows to policy: one JSON object, nil
	// for none.
	Claims jsontext.Value
}

// GrantID is the id of the grant, "" where there is none.
func (i *Identity) GrantID() string {
	if i.Grant == nil {
		return ""
	}
	return i.Grant.ID
}

// Owner is the person to whom the subject belongs, "" where nobody is said.
func (i *Identity) Owner() string {
	if i.Grant == nil {
		return ""
	}
	return i.Grant.Owner
}

// CoversServer reports whether the identity may turn to the named server: its
// grant, and every one above, is for it.
func (i *Identity) CoversServer(name string) bool {
	return i.every(func(g *Grant) bool { return g.CoversServer(name) })
}

// CoversTool reports whether it may use the named tool of a server that it
// covers.
func (i *Identity) CoversTool(name string) bool {
	return i.every(func(g *Grant) bool { return g.CoversTool(name) })
}

// CoversClass reports whether it may use tools of the effect class.
func (i *Identity) CoversClass(class string) bool {
	return i.every(func(g *Grant) bool { return g.CoversClass(class) })
}

// Policies are the attachments of its grant and of those above, sorted and without
// repetition.
func (i *Identity) Policies() []string {
	var all []string
	i.every(func(g *Grant) bool { all = append(all, g.Policies...); return true })
	slices.Sort(all)
	return slices.Compact(all)
}

func (i *Identity) every(covers func(*Grant) bool) bool {
	if i.Grant == nil {
		return true
	}
	if !covers(i.Grant) {
		return false
	}
	for _, g := range i.Above {
		if !covers(g) {
			return false
		}
	}
	return true
}

// Chain are the ids of the grants above, the nearest first.
func (i *Identity) Chain() []string {
	if len(i.Above) == 0 {
		return nil
	}
	ids := make([]string, len(i.Above))
	for n, g := range i.Above {
		ids[n] = g.ID
	}
	return ids
}

// Root is the grant that an administrator made, from which all in the chain were
// made; nil where there is no grant.
func (i *Identity) Root() *Grant {
	if n := len(i.Above); n > 0 {
		return i.Above[n-1]
	}
	return i.Grant
}

// RootID is the id of the root: what is counted per grant counts for all that were
// made from it together. It is "" where there is no grant.
func (i *Identity) RootID() string {
	if root := i.Root(); root != nil {
		return root.ID
	}
	return ""
}
