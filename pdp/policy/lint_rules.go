package policy

import (
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/open-policy-agent/opa/v1/ast"
)

// ruleSets are the sets that the library gathers from the authors' packages.
var ruleSets = []string{setHide, setDeny, setApprove, setAllow, setQuota, setMask}

// lintProgram runs the checks that need the compiled policy.
func (l *linter) lintProgram(p *program) {
	l.lintNames(p)
	l.lintIndex(p)
	for _, r := range p.rules {
		switch _, _, set, ok := effectPlace(r); {
		case ok && set == setHide:
			l.lintHide(p, r)
		case ok && set == setDeny:
			l.lintDeny(p, r)
		}
	}
}

// lintNames finds rules that look as if they decided something, and do not.
func (l *linter) lintNames(p *program) {
	for _, r := range p.rules {
		at := refNames(r.Ref().GroundPrefix())
		if len(at) == 0 {
			continue
		}
		_, _, _, isEffect := effectPlace(r)
		name, path := at[len(at)-1], strings.Join(at, ".")
		inPolicy := len(at) == 4 && at[0] == policyRoot && (at[1] == globalPart || at[1] == serversPart)
		switch meant := meantSet(name); {
		case isEffect || p.usedElsewhere(r.Ref().GroundPrefix()):
		case inPolicy && meant != "":
			l.add(CheckUnknownEffect, SeverityError, r.Loc(), path, "nothing asks for %s: it has to be called %s to have an effect", name, meant)
		case inPolicy:
			l.add(CheckUnknownEffect, SeverityWarning, r.Loc(), path, "nothing uses %s: remove it, or use it in an effect rule", name)
		case isEffectSet(name) && at[0] != policyRoot && r.Head.RuleKind() == ast.MultiValue:
			l.add(CheckUnknownEffect, SeverityError, r.Loc(), path, "nothing asks for %s in this package: effect rules go into policy.global.NAME or policy.servers.NAME", name)
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
	seen := map[string]bool{}
	for _, r := range p.rules {
		path := rulePath(r)
		if _, _, _, ok := effectPlace(r); !ok || seen[path] {
			continue
		}
		seen[path] = true
		index := p.compiler.RuleIndex(r.Ref().GroundPrefix())
		if index == nil {
			continue
		}
		found, err := index.Lookup(otherwhere{})
		if err != nil {
			continue
		}
		for _, r := range found.Rules {
			if tests := p.reach(r).tests; len(tests) > 0 {
				l.add(CheckNotIndexed, SeverityWarning, r.Loc(), path,
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
func (l *linter) lintHide(p *program, r *ast.Rule) {
	if slices.ContainsFunc(p.reach(r).refs, func(ref ast.Ref) bool { _, ok := argument(ref); return ok }) {
		l.add(CheckArgumentsInHide, SeverityError, r.Loc(), rulePath(r),
			"a hide rule cannot depend on input.arguments, as a listing has none: use deny")
	}
}

// lintDeny finds a deny on an argument that is silent when the argument is not
// there, where a rule that opens does not ask for the argument either.
func (l *linter) lintDeny(p *program, deny *ast.Rule) {
	mine := p.of(deny)
	for _, name := range sortedKeys(mine.compared) {
		if name == anyArgument || p.deniesWithout(deny, name) {
			continue
		}
		for _, open := range p.rules {
			_, _, set, ok := effectPlace(open)
			if !ok || set != setAllow && set != setApprove || !p.meet(deny, open) {
				continue
			}
			if used := p.reach(open).used; used[name] || used[anyArgument] {
				continue
			}
			l.add(CheckMissingArgument, SeverityWarning, deny.Loc(), rulePath(deny),
				"it says nothing when input.arguments.%s is missing, and %s (%s:%d) opens without it: bound the argument there too, or deny when it is not a number",
				name, rulePath(open), open.Loc().File, open.Loc().Row)
			break
		}
	}
}

// deniesWithout reports whether another deny rule for the same calls fires
// when the argument is missing.
func (p *program) deniesWithout(deny *ast.Rule, name string) bool {
	return slices.ContainsFunc(p.rules, func(other *ast.Rule) bool {
		_, _, set, ok := effectPlace(other)
		absent := p.of(other).absent
		return ok && set == setDeny && (absent[name] || absent[anyArgument]) && p.meet(deny, other)
	})
}

// meet reports whether the second rule surely speaks of calls that the first
// is about: both may, and what the second is limited to overlaps what the
// first is limited to.
func (p *program) meet(first, second *ast.Rule) bool {
	a, b := p.scopeOf(first), p.scopeOf(second)
	if part, name, _, _ := effectPlace(first); part == serversPart {
		if part2, name2, _, _ := effectPlace(second); part2 == serversPart && name != name2 {
			return false
		}
	}
	sameTool := len(a[pathTool]) > 0 && overlap(a[pathTool], b[pathTool])
	for _, path := range append([]string{pathMethod}, indexedPaths...) {
		limited := len(b[path]) > 0 || p.reach(second).tests[path]
		switch {
		case !limited || overlap(a[path], b[path]):
		case len(a[path]) > 0 && len(b[path]) > 0:
			return false
		case path == pathMethod || path == pathClass && sameTool:
		default:
			return false
		}
	}
	return true
}

// scopeOf is what a rule is limited to by its body and its package.
func (p *program) scopeOf(r *ast.Rule) map[string][]string {
	scope := map[string][]string{}
	for path, values := range p.of(r).scope {
		scope[path] = values
	}
	if part, name, _, _ := effectPlace(r); part == serversPart {
		scope[pathServer] = []string{name}
	}
	if tests := p.reach(r).tests; scope[pathMethod] == nil && (tests[pathTool] || tests[pathClass]) {
		scope[pathMethod] = []string{"tools/call"} // only there is a tool
	}
	return scope
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func sortedKeys(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
