package policy

import (
	"maps"
	"slices"
	"time"
)

// Status says what policy is in force, where it came from, and what became of
// the last attempt to replace it. It is a copy: the caller owns it.
type Status struct {
	// Ready is whether a policy is in force. Without one everything is denied.
	Ready    bool
	Revision Revision
	// Source is where the policy is read from, without anything secret.
	Source string
	// Kept is true while the policy in force is the copy that was kept from an
	// earlier run, because the source has not given one yet.
	Kept        bool
	ActivatedAt time.Time
	// LastError is why the last attempt did not come into force; empty when it
	// did, or when the source has what is in force.
	LastError   string
	LastErrorAt time.Time
	// Rules counts the rules of each set, by "policy.servers.x.deny".
	Rules map[string]int
	// Findings are the linter's, on the policy in force.
	Findings []Finding
}

// Status returns the present status. It takes a lock that no decision takes.
func (l *Loader) Status() Status {
	l.statusMu.Lock()
	defer l.statusMu.Unlock()
	s := l.status
	s.Rules = maps.Clone(s.Rules)
	s.Findings = slices.Clone(s.Findings)
	return s
}

// set changes the status.
func (l *Loader) set(change func(*Status)) {
	l.statusMu.Lock()
	defer l.statusMu.Unlock()
	change(&l.status)
}

// changed tells whoever wants to know that the status has.
func (l *Loader) changed() {
	if l.options.OnChange != nil {
		l.options.OnChange(l.Status())
	}
}

// countRules counts the effect rules of a snapshot by their path.
func countRules(s *Snapshot) map[string]int {
	counts := map[string]int{}
	for _, r := range s.RuleTable() {
		counts[r.Path]++
	}
	return counts
}
