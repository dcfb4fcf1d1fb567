package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The names of the rules that stand in for those of the authors, each before
// the name of what it stands in for.
const (
	prefixPossible = "possible/" // the set of values that it could have
	prefixCan      = "can/"      // some value that it could have is not false
	prefixCertain  = "certain/"  // it is true whatever the arguments
)

// valueSet is the set of the values that a rule or function could have, made
// of its weakened clauses; else branches and defaults are further clauses.
type valueSet struct {
	ref ast.Ref
	// complete says that all of the values are in it; otherwise it is merely not
	// empty where there could be one.
	complete bool
}

// weakStandIn returns an expression that holds whenever expr does and reads
// neither arguments nor time, or nil where there is none to be had.
func (w *weakening) weakStandIn(expr *ast.Expr) *ast.Expr {
	if len(expr.With) > 0 {
		return nil
	}
	if expr.Negated {
		return w.negated(expr, w.certainly(tested(expr)))
	}
	switch terms := expr.Terms.(type) {
	case *ast.Term:
		if values, member := w.read(terms); values != nil {
			return w.truth(values, member, expr)
		}
	case []*ast.Term:
		if expr.IsEquality() && len(terms) == 3 {
			return w.equality(expr, terms[1], terms[2])
		}
		return w.call(expr, terms)
	}
	return nil
}

// strongStandIn returns an expression that holds only if expr does whatever the
// arguments and the time, or nil where there is none to be had.
func (w *weakening) strongStandIn(expr *ast.Expr) *ast.Expr {
	if len(expr.With) > 0 {
		return nil
	}
	if expr.Negated {
		return w.negated(expr, w.possibly(tested(expr)))
	}
	if ref := w.certainly(tested(expr)); ref != nil {
		return located(ast.NewExpr(ast.NewTerm(ref)), expr)
	}
	return nil
}

// tested returns the term that expr, if it is `term` or `term = true`, tests.
func tested(expr *ast.Expr) *ast.Term {
	switch terms := expr.Terms.(type) {
	case *ast.Term:
		return terms
	case []*ast.Term:
		if expr.IsEquality() && len(terms) == 3 && terms[2].Equal(ast.InternedBooleanTrue) {
			return terms[1]
		}
	}
	return ast.InternedNullTerm
}

func (w *weakening) negated(expr *ast.Expr, ref ast.Ref) *ast.Expr {
	if ref == nil {
		return nil
	}
	return located(ast.NewExpr(ast.NewTerm(ref)).Complement(), expr)
}

// truth: some possible value, or the given member, is not false.
func (w *weakening) truth(values *valueSet, member *ast.Term, expr *ast.Expr) *ast.Expr {
	if member == nil {
		member = w.variable()
	}
	return located(ast.NewExpr(ast.NewTerm(values.ref.Append(member))), expr)
}

// equality stands in for `a = b` where one side reads a rule.
func (w *weakening) equality(expr *ast.Expr, a, b *ast.Term) *ast.Expr {
	values, member := w.read(a)
	other := b
	if values == nil {
		values, member = w.read(b)
		other = a
	}
	if values == nil {
		return nil
	}
	if !values.complete || w.reaches.node(other).anything() {
		other, member = w.variable(), nil
	}
	if member == nil {
		member = w.variable()
	}
	return located(ast.Equality.Expr(other, ast.NewTerm(values.ref.Append(member))), expr)
}

// call stands in for f(x, …) and for f(x, …, out).
func (w *weakening) call(expr *ast.Expr, terms []*ast.Term) *ast.Expr {
	ref, ok := terms[0].Value.(ast.Ref)
	if !ok {
		return nil
	}
	values := w.values(ref)
	if values == nil {
		return nil
	}
	if operands := len(terms) - 1; operands == w.compiler.GetArity(ref) {
		return w.truth(values, nil, expr)
	}
	out := terms[len(terms)-1]
	if !values.complete || w.reaches.node(out).anything() {
		out = w.variable()
	}
	return located(ast.Equality.Expr(out, ast.NewTerm(values.ref.Append(w.variable()))), expr)
}

func (w *weakening) variable() *ast.Term {
	w.fresh++
	return ast.VarTerm(fmt.Sprintf("%slisting%d", ast.WildcardPrefix, w.fresh))
}

func located(stand, of *ast.Expr) *ast.Expr {
	stand.Location = of.Location
	return stand
}

// read returns the values that stand in for a reference to a rule: to its
// value, into its value, or to a member of its set, which is then returned too.
func (w *weakening) read(term *ast.Term) (*valueSet, *ast.Term) {
	ref, ok := term.Value.(ast.Ref)
	if !ok || !ref[0].Equal(ast.DefaultRootDocument) {
		return nil, nil
	}
	for i := 2; i <= len(ref); i++ {
		rules := w.compiler.GetRulesExact(ref[:i])
		if len(rules) == 0 {
			continue
		}
		set := rules[0].Head.RuleKind() == ast.MultiValue
		if len(rules[0].Head.Args) > 0 || set && i == len(ref) {
			return nil, nil // a set is always defined, and may be asked for what it lacks
		}
		values := w.values(ref[:i])
		if values == nil || i == len(ref) {
			return values, nil
		}
		if set && i+1 == len(ref) && values.complete && !w.reaches.node(ref[i]).anything() {
			return values, ref[i]
		}
		return &valueSet{ref: values.ref}, nil // somewhere inside of a value
	}
	return nil, nil
}

// values returns the possible values of the rules at a path, and adds the
// clauses that give them; nil where the path is not that of one rule.
func (w *weakening) values(path ast.Ref) *valueSet {
	key := path.String()
	if values, ok := w.possible[key]; ok {
		return values
	}
	w.possible[key] = nil // recursion is an error that the compiler reports later
	rules := w.rulesAt(path)
	if rules == nil {
		return nil
	}
	name, ref := standInName(prefixPossible, rules[0], path)
	values := &valueSet{ref: ref, complete: true}
	for _, rule := range rules {
		for clause := rule; clause != nil; clause = clause.Else {
			if !w.clause(rule, clause, name) {
				values.complete = false
			}
		}
	}
	w.possible[key] = values
	return values
}

// clause adds the possible value of a rule or of one of its else branches, and
// says whether it is the value.
func (w *weakening) clause(rule, branch *ast.Rule, name string) bool {
	value := branch.Head.Value
	if branch.Head.RuleKind() == ast.MultiValue {
		value = branch.Head.Key
	}
	body, bound := w.weak(branch.Body, append(slices.Clone(rule.Head.Args), branch.Head.Args...))
	known := value != nil && !w.reaches.node(value).anything() &&
		variables(value, ast.VarVisitorParams{SkipRefCallHead: true}).DiffCount(bound) == 0
	if !known {
		value = ast.BooleanTerm(true)
	}
	addRule(rule, name, value.Copy(), nil, body)
	return known
}

// possibly returns a rule that is true whenever the rule that term names could
// be other than false.
func (w *weakening) possibly(term *ast.Term) ast.Ref {
	values, member := w.read(term)
	if values == nil || member != nil {
		return nil
	}
	path := term.Value.(ast.Ref)
	rules := w.rulesAt(path)
	if rules == nil {
		return nil
	}
	name, ref := standInName(prefixCan, rules[0], path)
	if w.stands[ref.String()] == nil {
		w.stands[ref.String()] = ref
		body := ast.NewBody(ast.NewExpr(ast.NewTerm(values.ref.Append(w.variable()))))
		addRule(rules[0], name, nil, ast.BooleanTerm(true), body)
	}
	return ref
}

// certainly returns a rule that is true only if the rule that term names is
// true whatever the arguments: it has the clauses whose bodies can be
// strengthened. Defaults do not count, as another clause may win over them, nor
// do else branches, which need others to fail.
func (w *weakening) certainly(term *ast.Term) ast.Ref {
	path, ok := term.Value.(ast.Ref)
	if !ok || !path.IsGround() {
		return nil
	}
	rules := w.rulesAt(path)
	if rules == nil || len(rules[0].Head.Args) > 0 || rules[0].Head.RuleKind() != ast.SingleValue {
		return nil
	}
	name, ref := standInName(prefixCertain, rules[0], path)
	key := ref.String()
	if known, ok := w.stands[key]; ok {
		return known
	}
	w.stands[key] = nil // recursion is an error that the compiler reports later
	for _, rule := range rules {
		if rule.Default || !rule.Head.Value.Equal(ast.InternedBooleanTrue) {
			continue
		}
		if body := w.strong(rule.Body); body != nil {
			addRule(rule, name, nil, ast.BooleanTerm(true), body)
			w.stands[key] = ref
		}
	}
	return w.stands[key]
}

// rulesAt returns the rules that make up the value at a path, or nil if parts
// of it come from elsewhere.
func (w *weakening) rulesAt(path ast.Ref) []*ast.Rule {
	if !path[0].Equal(ast.DefaultRootDocument) {
		return nil
	}
	rules := w.compiler.GetRulesExact(path)
	for _, rule := range rules {
		if !rule.Ref().Equal(path) {
			return nil // its path depends on variables
		}
	}
	return rules
}

// standInName names the rule that stands in for the rules at a path, in the
// package that they are in.
func standInName(prefix string, rule *ast.Rule, path ast.Ref) (string, ast.Ref) {
	pkg := rule.Module.Package.Path
	name := prefix + strings.TrimPrefix(path.String(), pkg.String())
	return name, pkg.Append(ast.StringTerm(name))
}
