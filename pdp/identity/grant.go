package identity

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kinds of subject.
const (
	Person   = "person"
	Agent    = "agent"
	Workload = "workload"
)

// anyServer stands for every server in a grant.
const anyServer = "*"

// Bounds on what one grant may hold, so that a grant stays something that a
// person can read and a decision can walk through.
const (
	maxText   = 256  // bytes of an id, a group, a glob, a label's key or value
	maxGroups = 256  // groups of a subject
	maxScope  = 1024 // servers, and tools
	maxLabels = 64
)

// ErrInvalidGrant is wrapped by errors of [Authenticator.Create] that are about
// the grant that was asked for.
var ErrInvalidGrant = errors.New("invalid grant")

var serverName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

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
	// subject by an access token or a certificate.
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

// active reports whether the grant may be used at t.
func (g *Grant) active(t time.Time) bool {
	return g.RevokedAt.IsZero() && !g.expired(t)
}

// expired reports whether the grant's time is over at t. It is over at the
// very instant of ExpiresAt; there is no leeway.
func (g *Grant) expired(t time.Time) bool {
	return !g.ExpiresAt.IsZero() && !t.Before(g.ExpiresAt)
}

// validate says what is wrong with a grant that is to be created at now.
func (g *Grant) validate(now time.Time) error {
	if err := g.Subject.validate(); err != nil {
		return err
	}
	if g.Owner != "" {
		if err := checkText(g.Owner); err != nil {
			return invalid("the owner's id %v", err)
		}
	}
	if len(g.Servers) == 0 {
		return invalid(`name at least one server, or "*" for every server`)
	}
	if len(g.Servers) > maxScope || len(g.Tools) > maxScope {
		return invalid("at most %d servers and %d tools fit into one grant", maxScope, maxScope)
	}
	for _, s := range g.Servers {
		if s != anyServer && !serverName.MatchString(s) {
			return invalid(`server %q: a name has 1 to 63 of a-z, 0-9 and "-", or is "*"`, clip(s))
		}
	}
	for _, t := range g.Tools {
		if err := checkGlob(t); err != nil {
			return invalid("tool %q: %v", clip(t), err)
		}
	}
	if len(g.Labels) > maxLabels {
		return invalid("at most %d labels fit into one grant", maxLabels)
	}
	for k, v := range g.Labels {
		if err := checkText(k); err != nil {
			return invalid("label %q: its key %v", clip(k), err)
		}
		if v != "" {
			if err := checkText(v); err != nil {
				return invalid("label %q: its value %v", clip(k), err)
			}
		}
	}
	if g.expired(now) {
		return invalid("it would expire at %s, which is not in the future", g.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return nil
}

func (s *Subject) validate() error {
	if err := checkText(s.ID); err != nil {
		return invalid("the subject's id %v", err)
	}
	if !slices.Contains([]string{Person, Agent, Workload}, s.Type) {
		return invalid("the subject's type is %q; it must be %s, %s or %s", clip(s.Type), Person, Agent, Workload)
	}
	if len(s.Groups) > maxGroups {
		return invalid("a subject has at most %d groups", maxGroups)
	}
	for _, group := range s.Groups {
		if err := checkText(group); err != nil {
			return invalid("group %q %v", clip(group), err)
		}
	}
	return nil
}

// checkText holds names to what people can tell apart on a screen: no control
// or formatting characters (bidirectional overrides, zero-width spaces), no
// space at either end.
func checkText(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > maxText:
		return fmt.Errorf("is longer than %d bytes", maxText)
	case !utf8.ValidString(s):
		return errors.New("is not valid UTF-8")
	case strings.TrimSpace(s) != s:
		return errors.New("begins or ends with a space")
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("contains the unprintable character %U", r)
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidGrant, fmt.Sprintf(format, args...))
}

// clip keeps what an error quotes short.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
