package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// plan is how a frame for one server, under one combination of attachments, is
// decided: the sets that its policy has, in the order in which the library's
// `decision` combines them. Asking for each of them by its constant path, and only
// for those that exist, takes a fifth of what evaluating the library takes, whose
// rules have to look for sets everywhere. The library stays the definition; the
// tests hold both to the same answers.
type plan struct {
	own      [4]*question // by strictness: hide, deny, approve, allow; nil: nobody has such rules
	attached [3]*question // hide, deny and approve of the attachments

	// The sets of all packages together.
	scope      *question
	quota      *question
	credential *question
	mask       *question

	never    *question
	callable *question

	decision *question // all that a decision may need, at once
	listing  *question // hide, never and callable at once
}

var strictness = [...]Effect{Hide, Deny, Approve, Allow}

// sets are the questions for the sets of some packages, by the name of the set;
// none for a set that no package has.
type sets map[string]*question

// plannedSets are the sets that plans ask for.
var plannedSets = append(slices.Clone(ruleSets), ruleNever, ruleCallable)

// newSets prepares the questions for what packages say together. prefix keeps the
// answers apart from those of others.
func newSets(c *ast.Compiler, prefix string, packages []ast.Ref) (sets, error) {
	all := sets{}
	for _, name := range plannedSets {
		q, err := newUnion(c, prefix, name, packages)
		if err != nil {
			return nil, err
		}
		if q != nil {
			all[name] = q
		}
	}
	return all, nil
}

// newPlan makes the plan of the sets of the global and server packages, and of
// those of attachments.
func newPlan(own sets, attachments ...sets) *plan {
	of := func(name string) []*question {
		questions := make([]*question, len(attachments))
		for i, attachment := range attachments {
			questions[i] = attachment[name]
		}
		return questions
	}
	all := func(name string) *question { return together(append(of(name), own[name])...) }
	p := &plan{
		scope: all(setScope), quota: all(setQuota), credential: own[setCredential], mask: all(setMask),
		never: all(ruleNever), callable: own[ruleCallable],
	}
	for i, effect := range strictness {
		p.own[i] = own[effect.String()]
		if i < len(p.attached) {
			p.attached[i] = together(of(effect.String())...)
		}
	}
	p.decision = together(slices.Concat(p.own[:], p.attached[:], []*question{p.scope, p.quota, p.credential, p.mask})...)
	p.listing = together(p.own[0], p.attached[0], p.never, p.callable)
	return p
}

// packagesUnder returns the paths of the packages directly below a path.
func packagesUnder(c *ast.Compiler, path ast.Ref) []ast.Ref {
	node := c.RuleTree.Find(path)
	if node == nil {
		return nil
	}
	var found []ast.Ref
	for name := range node.Children {
		found = append(found, path.Append(ast.NewTerm(name)))
	}
	slices.SortFunc(found, func(x, y ast.Ref) int { return x.Compare(y) })
	return found
}

// together asks several questions at once; nil where there are none.
func together(questions ...*question) *question {
	var all question
	for _, q := range questions {
		if q != nil {
			all.body = append(all.body, q.body...)
			all.answers = append(all.answers, q.answers...)
		}
	}
	if all.answers == nil {
		return nil
	}
	for i, expr := range all.body {
		all.body[i] = expr.Copy()
		all.body[i].Index = i
	}
	return &all
}

// newUnion prepares the question for all members that a set has in any of the
// packages; nil where none has the set.
func newUnion(c *ast.Compiler, prefix, set string, packages []ast.Ref) (*question, error) {
	var q question
	for _, pkg := range packages {
		ref := pkg.Append(ast.StringTerm(set))
		if len(c.GetRulesExact(ref)) == 0 {
			continue
		}
		answer := ast.Var(fmt.Sprintf("%s%s%d", prefix, strings.ReplaceAll(set, "/", "_"), len(q.answers)))
		q.answers = append(q.answers, answer)
		q.body.Append(ast.Equality.Expr(ast.NewTerm(answer), ast.NewTerm(ref)))
	}
	if len(q.answers) == 0 {
		return nil, nil
	}
	body, err := c.QueryCompiler().Compile(q.body)
	if err != nil {
		return nil, fmt.Errorf("preparing the sets %q: %w", set, err)
	}
	q.body = body
	return &q, nil
}
