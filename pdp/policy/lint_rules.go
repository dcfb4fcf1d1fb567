package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/open-policy-agent/opa/v1/ast"
)

// lintProgram runs the checks that need the compiled policy.
func (l *linter) lintProgram(p *program) {
	l.lintNames(p)
	l.lintIndex(p)
	meeting := newMeeting(p)
	for _, e := range p.effects {
		switch e.set {
		case setHide:
			l.lintHide(p, e)
		case setDeny:
			l.lintDeny(meeting, e)
		}
	}
}

// lintNames finds rules that look as if they decided something, and do not.
func (l *linter) lintNames(p *program) {
	used := map[string]bool{}
	for _, r := range p.rules {
		at := refNames(r.Ref().GroundPrefix())
		if _, _, _, isEffect := effectPlace(r); isEffect || len(at) == 0 {
			continue
		}
		name, path := at[len(at)-1], strings.Join(at, ".")
		if _, known := used[path]; !known {
			used[path] = p.usedElsewhere(r.Ref().GroundPrefix())
		}
		inPolicy := len(at) == 4 && at[0] == policyRoot && isPart(at[1])
		switch meant := meantSet(name); {
		case used[path]:
		case inPolicy && meant != "":
			l.add(CheckUnknownEffect, SeverityError, r.Loc(), path, "nothing asks for %s: it has to be called %s to have an effect", name, meant)
		case inPolicy:
			l.add(CheckUnknownEffect, SeverityWarning, r.Loc(), path, "nothing uses %s: remove it, or use it in an effect rule", name)
		case isEffectSet(name) && at[0] != policyRoot && r.Head.RuleKind() == ast.MultiValue:
			l.add(CheckUnknownEffect, SeverityError, r.Loc(), path, "nothing asks for %s in this package: effect rules go into policy.global.NAME, policy.servers.NAME or policy.attachments.NAME", name)
		}
	}
}

// otherWords are what people write for the names of the sets.
var otherWords = map[string]string{
	"block": setDeny, "blocked": setDeny, "denied": setDeny, "denies": setDeny, "forbid": setDeny, "forbidden": setDeny, "violation": setDeny,
	"allowed": setAllow, "allows": setAllow, "permit": setAllow, "permitted": setAllow,
	"hidden": setHide, "hides": setHide,
	"approval": setApprove, "approvals": setApprove, "approved": setApprove, "approves": setApprove,
	"limit": setQuota, "limits": setQuota, "quotas": setQuota,
	"masked": setMask, "masks": setMask, "redact": setMask,
	"scopes": setScope, "required_scopes": setScope, "credentials": setCredential,
}

// meantSet is the set that a rule's name was probably meant to be.
func meantSet(name string) string {
	lower := strings.ToLower(name)
	if set, ok := otherWords[lower]; ok {
		return set
	}
	for _, set := range ruleSets {
		if levenshtein.ComputeDistance(lower, set) <= 1 || lower != set && sameLetters(lower, set) {
			return set
		}
	}
	return ""
}

func sameLetters(a, b string) bool {
	x, y := []byte(a), []byte(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// otherwhere resolves the indexed paths to something that no rule names, and
// nothing else: a rule that it does not exclude is tried for every call.
type otherwhere struct{}

func (otherwhere) Resolve(ref ast.Ref) (ast.Value, error) {
	if slices.Contains(indexedPaths, ref.String()) {
		return ast.String("\x00"), nil
	}
	return nil, ast.UnknownValueErr{}
}

// lintIndex asks OPA's own rule index which effect rules it would return for a
// call that is about something else altogether.
func (l *linter) lintIndex(p *program) {
	asked := map[string]bool{}
	for _, e := range p.effects {
		if asked[e.path] || e.part == attachmentsPart { // those are tried for the calls of some grants alone
			continue
		}
		asked[e.path] = true
		index := p.compiler.RuleIndex(e.rule.Ref().GroundPrefix())
		if index == nil {
			continue
		}
		found, err := index.Lookup(otherwhere{})
		if err != nil {
			continue
		}
		for _, r := range found.Rules {
			if tests := p.reach(r).tests; len(tests) > 0 {
				l.add(CheckNotIndexed, SeverityWarning, r.Loc(), e.path,
					"it is tried for every call: test %s in the rule's own body against constants (==, in {…} or startswith)", testedPaths(tests))
			}
		}
	}
}

func testedPaths(tests map[string]bool) string {
	var paths []string
	for _, path := range indexedPaths {
		if tests[path] {
			paths = append(paths, path)
		}
	}
	return strings.Join(paths, " or ")
}

// lintHide finds hide rules that look at arguments: a listing has none, so
// that the tool would be listed and yet not exist when it is called.
func (l *linter) lintHide(p *program, e *effect) {
	if slices.ContainsFunc(p.reach(e.rule).refs, func(ref ast.Ref) bool { _, ok := argument(ref); return ok }) {
		l.add(CheckArgumentsInHide, SeverityError, e.rule.Loc(), e.path,
			"a hide rule cannot depend on input.arguments, as a listing has none: use deny")
	}
}

// lintDeny finds a deny on an argument that is silent when the argument is not
// there, where a rule that opens does not ask for the argument either.
func (l *linter) lintDeny(m *meeting, deny *effect) {
	for _, name := range sortedKeys(deny.own.compared) {
		if name == anyArgument {
			continue
		}
		without := m.denying.find(deny, func(other *effect) bool { return other.own.absent[name] || other.own.absent[anyArgument] })
		if without != nil {
			continue
		}
		open := m.opening.find(deny, func(other *effect) bool { return !other.all.used[name] && !other.all.used[anyArgument] })
		if open != nil {
			l.add(CheckMissingArgument, SeverityWarning, deny.rule.Loc(), deny.path,
				"it says nothing when input.arguments.%s is missing, and %s (%s:%d) opens without it: bound the argument there too, or deny when it is not a number",
				name, open.path, open.rule.Loc().File, open.rule.Loc().Row)
		}
	}
}

func sortedKeys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
