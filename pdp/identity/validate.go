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

// Bounds on what one grant may hold, so that a grant stays something that a
// person can read and a decision can walk through.
const (
	maxText        = 256  // bytes of an id, a group, a glob, a label's key or value
	maxGroups      = 256  // groups of a subject
	maxScope       = 1024 // servers, and tools
	maxLabels      = 64
	maxPolicies    = 64
	maxBound       = 64
	maxDelegations = 8 // levels of grants below one
)

// ErrInvalidGrant is wrapped by errors that are about the grant that was asked
// for.
var ErrInvalidGrant = errors.New("invalid grant")

var (
	serverName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	policyName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)
)

// effectClasses are those of tools, as rego/schemas/input.json has them.
var effectClasses = []string{"read", "write", "communicate", "admin", "execute", "destructive", "financial", "unknown"}

// EffectClasses are the classes that a grant can be limited to.
func EffectClasses() []string { return slices.Clone(effectClasses) }

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
	for _, check := range []func() error{g.validateScope, g.validateLabels, g.validateUse} {
		if err := check(); err != nil {
			return err
		}
	}
	if g.expired(now) {
		return invalid("it would expire at %s, which is not in the future", g.ExpiresAt.UTC().Format(time.RFC3339))
	}
	if !g.ExpiresAt.IsZero() && !g.NotBefore.Before(g.ExpiresAt) {
		return invalid("it would expire before it is good, which is from %s on", g.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// validateScope is about what the grant covers.
func (g *Grant) validateScope() error {
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
	for _, c := range g.Classes {
		if !slices.Contains(effectClasses, c) {
			return invalid("class %q: it must be one of %s", clip(c), strings.Join(effectClasses, ", "))
		}
	}
	if len(g.Policies) > maxPolicies || len(g.Classes) > maxPolicies {
		return invalid("at most %d policies, and as many classes, fit into one grant", maxPolicies)
	}
	for _, p := range g.Policies {
		if !policyName.MatchString(p) {
			return invalid("policy %q: a name has 1 to 63 of a-z, 0-9 and _, and stands for the package policy.attachments.NAME", clip(p))
		}
	}
	return nil
}

func (g *Grant) validateLabels() error {
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
	return nil
}

// validateUse is about how often, by whom and for how many others it may be used.
func (g *Grant) validateUse() error {
	switch {
	case g.MaxUses < 0:
		return invalid("max uses must not be negative; 0 is any number")
	case g.Delegations < 0 || g.Delegations > maxDelegations:
		return invalid("delegations must be between 0 and %d", maxDelegations)
	case len(g.BoundTo) > maxBound:
		return invalid("at most %d certificates fit into one grant", maxBound)
	}
	for _, b := range g.BoundTo {
		if err := checkBinding(b); err != nil {
			return invalid("bound to %q, which %v", clip(b), err)
		}
	}
	return nil
}

// within says where the grant would be wider than the one that it is made from.
// Globs cannot be compared: a call has to be covered by both.
func (g *Grant) within(parent *Grant) error {
	for _, s := range g.Servers {
		if !slices.Contains(parent.Servers, s) && !slices.Contains(parent.Servers, anyServer) {
			return invalid("the grant above it does not cover the server %q", s)
		}
	}
	for _, c := range g.Classes {
		if !parent.CoversClass(c) {
			return invalid("the grant above it does not cover the class %q", c)
		}
	}
	switch {
	case len(g.Classes) == 0 && len(parent.Classes) > 0:
		return invalid("the grant above it covers some classes only")
	case parent.Delegations == 0:
		return invalid("no grant may be made below %s: it allows no delegations", parent.ID)
	case g.Delegations >= parent.Delegations:
		return invalid("the grant above it leaves %d further delegations", parent.Delegations-1)
	case !parent.ExpiresAt.IsZero() && (g.ExpiresAt.IsZero() || g.ExpiresAt.After(parent.ExpiresAt)):
		return invalid("the grant above it expires at %s", parent.ExpiresAt.UTC().Format(time.RFC3339))
	case parent.MaxUses > 0 && g.MaxUses > parent.MaxUses:
		return invalid("the grant above it has %d uses", parent.MaxUses)
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
