package policy

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// labels tell which rule a member of an effect set came from. Every effect
// rule has an id, its place in the table, and while the modules are compiled
// the rule's member m becomes the pair [id, m]. Authors never see that: only
// the policy library may read the sets (reach.go holds them to it).
//
// The id is a constant in the member and not a part of the rule's path, so that
// the rule index still finds all rules of a set at once.
type labels struct {
	table []EffectRule
	// ids has for each file the id of each rule by its place in the module, or
	// -1 for a rule that is no effect rule.
	ids map[string][]int
	// rules are the compiler's copies of the effect rules.
	rules map[*ast.Rule]int
}

func newLabels(modules map[string]*ast.Module) (*labels, error) {
	files := slices.Sorted(maps.Keys(modules))
	sorted := make([]*ast.Module, len(files))
	for i, file := range files {
		sorted[i] = modules[file]
	}
	annotations, errs := ast.BuildAnnotationSet(sorted)
	if len(errs) > 0 {
		return nil, errs
	}
	l := &labels{ids: make(map[string][]int, len(files)), rules: map[*ast.Rule]int{}}
	for i, file := range files {
		if err := l.add(file, sorted[i], annotations); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *labels) add(file string, m *ast.Module, annotations *ast.AnnotationSet) error {
	ids := make([]int, len(m.Rules))
	pkg := packagePath(m.Package)
	for i, rule := range m.Rules {
		ids[i] = -1
		if pkg[0] != policyRoot || !isEffectRule(rule) {
			continue
		}
		id, title, err := annotated(rule, annotations)
		if err != nil {
			return err
		}
		set := string(rule.Head.Name)
		ids[i] = len(l.table)
		l.table = append(l.table, EffectRule{
			Set: set, Path: strings.Join(pkg, ".") + "." + set, ID: id, Title: title,
			File: file, Line: rule.Location.Row, AST: rule, Module: m,
		})
	}
	l.ids[file] = ids
	return nil
}

// attachments are the names of the attachments that say anything, sorted.
func (l *labels) attachments() []string {
	var names []string
	for _, r := range l.table {
		if isAttachment(r.Module) {
			names = append(names, packagePath(r.Module.Package)[2])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// annotated returns the rule's id and title: those of the METADATA block above
// it, else those of its set (scope: document).
func annotated(rule *ast.Rule, set *ast.AnnotationSet) (id, title string, err error) {
	blocks := slices.Clone(set.GetRuleScope(rule))
	if document := set.GetDocumentScope(rule.Ref().GroundPrefix()); document != nil {
		blocks = append(blocks, document)
	}
	for _, block := range blocks {
		if title == "" {
			title = block.Title
		}
		custom, ok := block.Custom["id"]
		if id != "" || !ok {
			continue
		}
		if id, ok = custom.(string); !ok {
			return "", "", faultAt(block.Location, "custom.id must be a string")
		}
	}
	return id, title, nil
}

// apply is a stage of the compiler. It comes before anything is rewritten, and
// changes the compiler's own copies of the rules.
func (l *labels) apply(c *ast.Compiler) {
	for file, ids := range l.ids {
		for i, rule := range c.Modules[file].Rules {
			if ids[i] < 0 {
				continue
			}
			l.rules[rule] = ids[i]
			switch string(rule.Head.Name) {
			case setHide, setDeny, setApprove, setAllow, setScope, setCredential:
				pair := ast.ArrayTerm(idTerm(ids[i]), rule.Head.Key)
				pair.Location = rule.Head.Key.Location
				rule.Head.Key = pair
			case setQuota:
				wrapQuota(rule.Head.Key)
			}
		}
	}
}

// idTerm is a term of its own: the one that OPA interns for small numbers is
// shared with the policy in force, and the compiler of the next would write to
// it while decisions read it.
func idTerm(id int) *ast.Term {
	return ast.NewTerm(ast.Number(strconv.Itoa(id)))
}
