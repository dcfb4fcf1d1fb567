package approval

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mcpermit/mcpermit/pdp/inert"
)

// groupPrefix begins an approver that is a group.
const groupPrefix = "group:"

// Bounds, so that a record stays something that a person can read.
const (
	maxReason       = 1 << 10 // bytes
	maxVotes        = 100
	maxRequirements = 100
)

// Approver is a person who may decide, as the configuration or the sign-in
// knows the person.
type Approver struct {
	ID     string
	Groups []string
}

// Requirement is what one rule asks for.
type Requirement struct {
	// Approvers are ids of persons, or "group:finance"; empty: every approver.
	Approvers []string
	// Required is how many different ones of them have to approve.
	Required int
}

// Vote is one person's decision.
type Vote struct {
	Person string
	// Groups of the person when the vote was given.
	Groups   []string
	At       time.Time
	Approved bool // false: refused
	Reason   string
	Via      string // over what: "console", "cli", "api"
}

// is reports whether two are the same vote.
func (v *Vote) is(other Vote) bool {
	return v.Person == other.Person && v.At.Equal(other.At) && v.Approved == other.Approved
}

// entitles reports whether the person is one of those whom the requirement
// names. An id never stands for a group, nor the other way round.
func (r *Requirement) entitles(person string, groups []string) bool {
	if person == "" {
		return false
	}
	if len(r.Approvers) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Approvers, func(who string) bool {
		if group, ok := strings.CutPrefix(who, groupPrefix); ok {
			return group != "" && slices.Contains(groups, group)
		}
		return who == person
	})
}

// Given returns how many votes the requirement has.
func (r *Requirement) Given(votes []Vote) int {
	var persons []string
	for _, v := range votes {
		known := slices.ContainsFunc(persons, func(p string) bool { return samePerson(p, v.Person) })
		if v.Approved && !known && r.entitles(v.Person, v.Groups) {
			persons = append(persons, v.Person)
		}
	}
	return len(persons)
}

// met reports whether every requirement has its votes. One vote counts for
// every requirement that the voter is entitled to. Without any requirement
// nothing is met.
func met(requirements []Requirement, votes []Vote) bool {
	for _, r := range requirements {
		if r.Given(votes) < max(1, r.Required) {
			return false
		}
	}
	return len(requirements) > 0
}

// Entitles returns why the person may not decide on this call, ErrOwnCall or
// ErrNotEntitled; nil when the person may.
func (a *Approval) Entitles(by Approver) error {
	if by.ID == "" {
		return ErrNotEntitled
	}
	if samePerson(by.ID, a.Subject.ID) || samePerson(by.ID, a.Owner) {
		return ErrOwnCall
	}
	for _, r := range a.Requirements {
		if r.entitles(by.ID, by.Groups) {
			return nil
		}
	}
	return ErrNotEntitled
}

// samePerson takes ids that differ in case for one person, since that is how
// many directories see them: nobody gets a second vote, or one on the own call,
// by another spelling.
func samePerson(a, b string) bool { return a != "" && strings.EqualFold(a, b) }

// Voted reports whether the person has given this vote before.
func (a *Approval) Voted(person string, approved bool) bool {
	return slices.ContainsFunc(a.Votes, func(v Vote) bool {
		return v.Approved == approved && samePerson(v.Person, person)
	})
}

// words makes what a person wrote one line that shows as what it is: what does
// not show itself (line breaks, bidirectional overrides) becomes a space.
func words(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || inert.Hidden(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= maxReason {
		return s
	}
	const more = "…"
	return strings.ToValidUTF8(s[:maxReason-len(more)], "") + more
}
