package identity

import (
	"slices"
	"time"
)

// Kinds of subject.
const (
	Person   = "person"
	Agent    = "agent"
	Workload = "workload"
)

// anyServer stands for every server in a grant.
const anyServer = "*"

// Grant is a scoped, expiring, revocable permission given to a subject. The
// zero value covers nothing.
//
// Grants that the package returns are shared: they must not be changed.
type Grant struct {
	ID      string
	Subject Subject
	// Owner is the person to whom the subject belongs; empty when nobody is
	// said. The owner does not decide on its calls.
	Owner string
	// Servers are names of servers; "*" stands for every one.
	Servers []string
	// Tools are globs over tool names; none stands for every tool.
	Tools []string
	// Classes are effect classes of tools; none stands for every class.
	Classes []string
	// Policies are the names of attachments: packages policy.attachments.NAME
	// that hold for its calls beside the others.
	Policies []string
	Labels   map[string]string
	// MaxUses bounds the calls of tools that are allowed under it and all below
	// it; 0 does not.
	MaxUses int64
	// BoundTo is what the client must prove beside the token: the SHA-256 of its
	// certificate ("sha256:…") or a name in it. One of them is enough; none means
	// that the token is.
	BoundTo []string
	// Held says that it has no token: it holds for whoever proves to be its
	// subject by an access token or a certificate that needs a grant, and adds the
	// subject's groups.
	Held bool
	// Parent is the id of the grant that it was made from, "" for one that an
	// administrator made.
	Parent string
	// Delegations is how many levels of grants may be made below it.
	Delegations int

	CreatedAt time.Time
	NotBefore time.Time // zero: from its creation on
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: not revoked
	RotatedAt time.Time // zero: it has its first token

	// What is known of its use, at most a minute old; apart from Uses, which is
	// exact when it is read from the store.
	Uses       int64
	Calls      int64
	Denials    int64
	LastUsedAt time.Time // zero: never
}

// CoversServer reports whether the grant is for the named server.
func (g *Grant) CoversServer(name string) bool {
	if name == "" {
		return false
	}
	for _, s := range g.Servers {
		if s == name || s == anyServer {
			return true
		}
	}
	return false
}

// CoversTool reports whether the grant is for the named tool of a server that
// it covers. In its globs * stands for any run of characters, none included,
// and ? for exactly one.
func (g *Grant) CoversTool(name string) bool {
	if name == "" {
		return false
	}
	if len(g.Tools) == 0 {
		return true
	}
	for _, glob := range g.Tools {
		if matchGlob(glob, name) {
			return true
		}
	}
	return false
}

// CoversClass reports whether the grant is for tools of the effect class.
func (g *Grant) CoversClass(class string) bool {
	return len(g.Classes) == 0 || slices.Contains(g.Classes, class)
}

// expired reports whether the grant's time is over at t. It is over at the
// very instant of ExpiresAt; there is no leeway.
func (g *Grant) expired(t time.Time) bool {
	return !g.ExpiresAt.IsZero() && !t.Before(g.ExpiresAt)
}
