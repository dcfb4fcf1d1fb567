package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// plan is how a frame for one server is decided: the sets that its policy has,
// in the order in which the library's `decision` combines them. Asking for each
// of them by its constant path, and only for those that exist, takes a fifth of
// what evaluating the library takes, whose rules have to look for sets
// everywhere. The library stays the definition; the tests hold both to the same
// answers.
type plan struct {
	effects [4]*question // by strictness: hide, deny, approve, allow; nil: nobody has such rules
	quota   *question
	mask    *question

	never    *question
	callable *question

	decision *question // effects, mask and quota at once
	listing  *question // hide, never and callable at once
}

var strictness = [...]Effect{Hide, Deny, Approve, Allow}

// plans has the plan of every server that has a package of its own; one that
// has none is decided by the global packages alone.
type plans struct {
	servers map[string]*plan
	others  *plan
}

func (p *plans) of(server string) *plan {
	if own, ok := p.servers[server]; ok {
		return own
	}
	return p.others
}

func newPlans(c *ast.Compiler) (*plans, error) {
	root := ast.DefaultRootRef.Append(ast.StringTerm(policyRoot))
	global := packagesUnder(c, root.Append(ast.StringTerm(globalPart)))
	servers := root.Append(ast.StringTerm(serversPart))
	p := &plans{servers: map[string]*plan{}}
	var err error
	if p.others, err = newPlan(c, global); err != nil {
		return nil, err
	}
	for _, own := range packagesUnder(c, servers) {
		name := text(own[len(own)-1])
		if p.servers[name], err = newPlan(c, append(slices.Clip(global), own)); err != nil {
			return nil, err
		}
	}
	return p, nil
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

func newPlan(c *ast.Compiler, packages []ast.Ref) (*plan, error) {
	p := &plan{}
	sets := map[string]**question{
		setQuota: &p.quota, setMask: &p.mask, ruleNever: &p.never, ruleCallable: &p.callable,
	}
	for i, effect := range strictness {
		sets[effect.String()] = &p.effects[i]
	}
	for name, q := range sets {
		var err error
		if *q, err = newUnion(c, name, packages); err != nil {
			return nil, err
		}
	}
	p.decision = together(append(p.effects[:], p.mask, p.quota)...)
	p.listing = together(p.effects[0], p.never, p.callable)
	return p, nil
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
func newUnion(c *ast.Compiler, set string, packages []ast.Ref) (*question, error) {
	var q question
	for _, pkg := range packages {
		ref := pkg.Append(ast.StringTerm(set))
		if len(c.GetRulesExact(ref)) == 0 {
			continue
		}
		answer := ast.Var(fmt.Sprintf("%s%d", strings.ReplaceAll(set, "/", "_"), len(q.answers)))
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

// decide walks the plan as the library's `decision` does.
func (s *Snapshot) decide(ev *evaluation, server string) (Result, error) {
	p := s.plans.of(server)
	if err := ev.askAhead(p.decision); err != nil {
		return Result{}, err
	}
	r := Result{Cause: CauseRule}
	won, err := p.winner(ev, &r)
	if err == nil && won.Len() == 0 {
		won, err = s.otherwise(ev, &r)
	}
	if err != nil {
		return Result{}, err
	}
	if err := s.readMembers(&r, won); err != nil {
		return Result{}, err
	}
	mask, err := ev.members(p.mask)
	if err != nil {
		return Result{}, err
	}
	if r.Mask, err = readMask(mask); err != nil || r.Effect != Allow && r.Effect != Approve && r.Cause == CauseRule {
		return r, err
	}
	quotas, err := ev.members(p.quota)
	if err != nil {
		return Result{}, err
	}
	r.Quotas, err = readQuotas(quotas)
	return r, err
}

// winner returns the members of the strictest set that has any.
func (p *plan) winner(ev *evaluation, r *Result) (ast.Set, error) {
	for i, q := range p.effects {
		members, err := ev.members(q)
		if err != nil {
			return nil, err
		}
		if members.Len() > 0 {
			r.Effect = strictness[i]
			return members, nil
		}
	}
	return noMembers, nil
}

// otherwise is what the library makes of a frame that no rule speaks of.
func (s *Snapshot) otherwise(ev *evaluation, r *Result) (ast.Set, error) {
	answer, err := ev.value(s.unmatched)
	if err != nil {
		return nil, err
	}
	object, ok := answer.(ast.Object)
	if !ok {
		return nil, errShape
	}
	if r.Effect, err = readEffect(object.Get(keyEffect)); err != nil {
		return nil, err
	}
	members, ok := setOf(object.Get(keyMembers))
	if !ok {
		return nil, errShape
	}
	if members.Len() == 0 {
		r.Cause = CauseNoMatch
	}
	return members, nil
}

// lists walks the plan as the library's `listing` does.
func (p *plan) lists(ev *evaluation) (bool, error) {
	if err := ev.askAhead(p.listing); err != nil {
		return false, err
	}
	for _, q := range [...]*question{p.effects[0], p.never} {
		if members, err := ev.members(q); err != nil || members.Len() > 0 {
			return false, err
		}
	}
	members, err := ev.members(p.callable)
	return err == nil && members.Len() > 0, err
}
