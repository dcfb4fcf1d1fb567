package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The names of the rules that the weakening adds to the authors' packages. The
// slash keeps them out of reach of anything an author can write.
const (
	ruleCallable = "listing/callable"
	ruleNever    = "listing/never"
	possible     = "possible/"
)

// weakening makes, once at load, what answers listings (I4): whether some call
// to a thing could be allowed, when its arguments are not known. Each allow and
// approve rule gets a weakened copy in listing/callable: what its body says of
// the arguments, or of the time, is dropped. A deny rule that reads neither
// gets a copy in listing/never as it stands.
//
// A rule's body is a conjunction over variables that somebody has to bind, so
// that any part of it that still binds all of its variables is implied by the
// whole: leaving expressions out lets the rule fire more often and never less.
// That is all that this relies on. What is left out:
//
//   - an expression that reads the arguments or the time, itself or through a
//     rule or function, also inside of not, every, with or a comprehension;
//   - an expression that needs a variable that no remaining one binds.
//
// Where such an expression is a plain use of a rule or function of the authors,
// it is replaced, rather than dropped, by a set of the values which that could
// have, made of its weakened clauses: a tool that a helper names is not
// listed for the sake of another. Else branches and defaults count as further
// clauses.
//
// It works on rules as the compiler leaves them after it has resolved their
// references and hoisted nested terms, so that each expression is simple.
type weakening struct {
	compiler *ast.Compiler
	labels   *labels
	reaches  *reaches
	helpers  map[string]*helper
	fresh    int
}

// helper is the set of the values that a rule or function could have.
type helper struct {
	ref ast.Ref
	// valued says that the set has all the values; otherwise it is merely not
	// empty where there could be one.
	valued bool
}

// weaken is a stage of the compiler, before types are checked and rules indexed.
func (l *labels) weaken(c *ast.Compiler, a *reaches) {
	w := &weakening{compiler: c, labels: l, reaches: a, helpers: map[string]*helper{}}
	for _, file := range slices.Sorted(maps.Keys(l.ids)) {
		module := c.Modules[file]
		for _, rule := range slices.Clone(module.Rules) {
			if id, ok := l.rules[rule]; ok {
				w.effect(rule, id)
			}
		}
	}
	c.RuleTree = ast.NewRuleTree(c.ModuleTree)
	c.Graph = ast.NewGraph(c.Modules, a.dependencies)
}

func (w *weakening) effect(rule *ast.Rule, id int) {
	label := ast.ArrayTerm(ast.IntNumberTerm(id))
	switch w.labels.table[id].Set {
	case setAllow, setApprove:
		body, _ := w.body(rule.Body, nil)
		addMember(rule, ruleCallable, label, body)
	case setDeny:
		if !w.reaches.rule(rule).anything() {
			addMember(rule, ruleNever, label, rule.Body.Copy())
		}
	}
}

// addMember adds `name contains key if body` beside the rule that it is made of.
func addMember(of *ast.Rule, name string, key *ast.Term, body ast.Body) {
	head := ast.NewHead(ast.Var(name))
	head.Reference = ast.Ref{ast.VarTerm(name)}
	head.Key, head.Location = key, of.Location
	of.Module.Rules = append(of.Module.Rules, &ast.Rule{Head: head, Body: body, Location: of.Location, Module: of.Module})
}

// body returns the weakened copy of the body of a rule with the given operands,
// which nobody binds, and the variables that the copy binds.
func (w *weakening) body(body ast.Body, operands ast.Args) (ast.Body, ast.VarSet) {
	s := schedule{compiler: w.compiler, outer: variables(body, ast.SafetyCheckVisitorParams), bound: ast.ReservedVars.Copy()}
	for _, operand := range operands {
		s.outer.Update(variables(operand, ast.SafetyCheckVisitorParams))
	}
	var waiting, functions []*ast.Expr
	for _, expr := range body {
		if !w.reaches.node(expr).anything() {
			waiting = append(waiting, expr)
		} else if stand := w.standIn(expr); stand != nil {
			waiting = append(waiting, stand)
		}
	}
	waiting = s.place(waiting)
	// A function that reads nothing itself may still have been given what does.
	for _, expr := range waiting {
		if stand := w.standIn(expr); stand != nil {
			functions = append(functions, stand)
		} else {
			functions = append(functions, expr)
		}
	}
	s.place(functions)
	if len(s.placed) == 0 {
		return ast.NewBody(ast.NewExpr(ast.BooleanTerm(true))), s.bound
	}
	return ast.NewBody(s.placed...), s.bound
}

// schedule puts expressions in an order in which each finds its variables
// bound.
type schedule struct {
	compiler *ast.Compiler
	outer    ast.VarSet // variables of the whole original body, those of closures excepted
	bound    ast.VarSet
	placed   []*ast.Expr
}

// place appends what can be placed and returns the rest.
func (s *schedule) place(exprs []*ast.Expr) []*ast.Expr {
	for {
		var rest []*ast.Expr
		for _, expr := range exprs {
			outputs := ast.OutputVarsFromExpr(s.compiler, expr, s.bound)
			// Variables inside of a closure are its own unless the body has them too.
			needs := variables(expr, ast.VarVisitorParams{SkipRefCallHead: true}).Intersect(s.outer)
			if needs.Diff(outputs).DiffCount(s.bound) > 0 {
				rest = append(rest, expr)
				continue
			}
			s.placed = append(s.placed, expr.Copy())
			s.bound.Update(outputs)
		}
		if len(rest) == len(exprs) {
			return rest
		}
		exprs = rest
	}
}

func variables(node any, params ast.VarVisitorParams) ast.VarSet {
	vis := ast.NewVarVisitor().WithParams(params)
	vis.Walk(node)
	return vis.Vars().Copy()
}

// standIn returns an expression that holds whenever expr does, and that reads
// only what the weakened clauses of the rule or function in expr read; nil
// where expr is of a form that does not allow it.
func (w *weakening) standIn(expr *ast.Expr) *ast.Expr {
	if expr.Negated || len(expr.With) > 0 {
		return nil
	}
	switch terms := expr.Terms.(type) {
	case *ast.Term:
		if h, member := w.read(terms); h != nil {
			return w.truth(h, member, expr)
		}
	case []*ast.Term:
		if expr.IsEquality() && len(terms) == 3 {
			return w.equality(expr, terms[1], terms[2])
		}
		return w.call(expr, terms)
	}
	return nil
}

// truth: some possible value, or the given one, is not false.
func (w *weakening) truth(h *helper, member *ast.Term, expr *ast.Expr) *ast.Expr {
	if member == nil {
		member = w.variable()
	}
	return located(ast.NewExpr(ast.NewTerm(h.ref.Append(member))), expr)
}

// equality stands in for `a = b` where one side reads a rule.
func (w *weakening) equality(expr *ast.Expr, a, b *ast.Term) *ast.Expr {
	h, member := w.read(a)
	other := b
	if h == nil {
		h, member = w.read(b)
		other = a
	}
	if h == nil {
		return nil
	}
	if !h.valued || w.reaches.node(other).anything() {
		other, member = w.variable(), nil
	}
	if member == nil {
		member = w.variable()
	}
	return located(ast.Equality.Expr(other, ast.NewTerm(h.ref.Append(member))), expr)
}

// call stands in for f(x, …) and for f(x, …, out).
func (w *weakening) call(expr *ast.Expr, terms []*ast.Term) *ast.Expr {
	ref, ok := terms[0].Value.(ast.Ref)
	if !ok {
		return nil
	}
	h := w.helper(ref)
	if h == nil {
		return nil
	}
	if operands := len(terms) - 1; operands == w.compiler.GetArity(ref) {
		return w.truth(h, nil, expr)
	}
	out := terms[len(terms)-1]
	if !h.valued || w.reaches.node(out).anything() {
		out = w.variable()
	}
	return located(ast.Equality.Expr(out, ast.NewTerm(h.ref.Append(w.variable()))), expr)
}

func (w *weakening) variable() *ast.Term {
	w.fresh++
	return ast.VarTerm(fmt.Sprintf("%slisting%d", ast.WildcardPrefix, w.fresh))
}

func located(stand, for_ *ast.Expr) *ast.Expr {
	stand.Location = for_.Location
	return stand
}

// read returns the helper that stands in for a reference to a rule: to its
// value, into its value, or to a member of its set, which is then returned too.
func (w *weakening) read(term *ast.Term) (*helper, *ast.Term) {
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
		switch {
		case len(rules[0].Head.Args) > 0, set && i == len(ref):
			return nil, nil // a set is always defined, and may be asked for what it lacks
		}
		h := w.helper(ref[:i])
		if h == nil || i == len(ref) {
			return h, nil
		}
		if set && i+1 == len(ref) && h.valued && !w.reaches.node(ref[i]).anything() {
			return h, ref[i]
		}
		return &helper{ref: h.ref}, nil // somewhere inside of a value
	}
	return nil, nil
}

// helper returns the set of possible values of the rules at a path, and adds
// its clauses to their modules; nil where the path is not one rule.
func (w *weakening) helper(path ast.Ref) *helper {
	key := path.String()
	if h, ok := w.helpers[key]; ok {
		return h
	}
	w.helpers[key] = nil // recursion is an error that the compiler reports later
	rules := w.compiler.GetRulesExact(path)
	if len(rules) == 0 {
		return nil
	}
	pkg := rules[0].Module.Package.Path
	for _, rule := range rules {
		if !rule.Ref().Equal(path) || !path.HasPrefix(pkg) {
			return nil // its path depends on variables
		}
	}
	name := possible + strings.TrimPrefix(key, pkg.String()+".")
	h := &helper{ref: pkg.Append(ast.StringTerm(name)), valued: true}
	for _, rule := range rules {
		for clause := rule; clause != nil; clause = clause.Else {
			if !w.clause(clause, rule.Head.Args, name) {
				h.valued = false
			}
		}
	}
	w.helpers[key] = h
	return h
}

// clause adds the possible value of one clause, and says whether it is the value.
func (w *weakening) clause(rule *ast.Rule, operands ast.Args, name string) bool {
	value := rule.Head.Value
	if rule.Head.RuleKind() == ast.MultiValue {
		value = rule.Head.Key
	}
	body, bound := w.body(rule.Body, append(slices.Clone(operands), rule.Head.Args...))
	known := value != nil && !w.reaches.node(value).anything() &&
		variables(value, ast.VarVisitorParams{SkipRefCallHead: true}).DiffCount(bound) == 0
	if !known {
		value = ast.BooleanTerm(true)
	}
	addMember(rule, name, value.Copy(), body)
	return known
}
