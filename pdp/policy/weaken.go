package policy

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The names of the rules that the weakening adds, to the authors' packages. The
// slash keeps them out of reach of anything an author can write.
const (
	ruleCallable = "listing/callable"
	ruleNever    = "listing/never"
	ruleKnown    = "attachments/known" // in the library
)

// weakening makes, once at load, what answers listings (I4): whether some call
// to a thing could be allowed, when its arguments are not known. Each allow and
// approve rule gets a weakened copy in listing/callable, which fires whenever
// the rule could; each deny rule gets a strengthened one in listing/never,
// which fires only when the rule fires whatever the arguments, if there can be
// one. Neither copy reads the arguments, or the time: a listing must not flicker.
//
// A rule's body is a conjunction over variables that somebody has to bind, so
// that any part of it that still binds all of its variables is implied by the
// whole: leaving expressions out lets a rule fire more often and never less.
// Weakening leaves out
//
//   - an expression that reads the arguments or the time, itself or through a
//     rule or function, also inside of not, every, with or a comprehension;
//   - an expression that needs a variable that no remaining one binds.
//
// Where such an expression is a plain use of a rule or function of the authors,
// it is replaced rather than left out (standin.go): a tool that a helper names
// is not listed for the sake of another. Strengthening only replaces; a
// rule in which it cannot has no copy.
//
// It works on rules as the compiler leaves them after it has resolved their
// references and hoisted nested terms, so that each expression is simple.
type weakening struct {
	compiler *ast.Compiler
	labels   *labels
	reaches  *reaches
	possible map[string]*valueSet
	stands   map[string]ast.Ref
	fresh    int
}

// weaken is a stage of the compiler, before types are checked and rules indexed.
func (l *labels) weaken(c *ast.Compiler, a *reaches) {
	w := &weakening{compiler: c, labels: l, reaches: a, possible: map[string]*valueSet{}, stands: map[string]ast.Ref{}}
	for _, file := range slices.Sorted(maps.Keys(l.ids)) {
		for _, rule := range slices.Clone(c.Modules[file].Rules) {
			if id, ok := l.rules[rule]; ok {
				w.effect(rule, id)
			}
		}
	}
	w.knownAttachments(c.Modules[setsFile])
	c.RuleTree = ast.NewRuleTree(c.ModuleTree)
	c.Graph = ast.NewGraph(c.Modules, a.dependencies)
}

func (w *weakening) effect(rule *ast.Rule, id int) {
	label := ast.ArrayTerm(idTerm(id))
	switch w.labels.table[id].Set {
	case setAllow, setApprove:
		if isAttachment(rule.Module) {
			return // it opens nothing
		}
		body, _ := w.weak(rule.Body, nil)
		addRule(rule, ruleCallable, label, nil, body)
	case setDeny:
		if w.reaches.node(rule.Head.Key).anything() {
			return // no reason without the arguments
		}
		if body := w.strong(rule.Body); body != nil {
			addRule(rule, ruleNever, label, nil, body)
		}
	}
}

// knownAttachments tells the library which attachments there are. One that says
// nothing is none: what was to narrow a grant must not be lost with its rules.
func (w *weakening) knownAttachments(library *ast.Module) {
	known := ast.NewSet()
	for _, name := range w.labels.attachments() {
		known.Add(ast.StringTerm(name))
	}
	addRule(library.Rules[0], ruleKnown, nil, ast.NewTerm(known), alwaysTrue())
}

// addRule adds `name contains key if body`, or `name := value if body`, beside
// the rule that it is made of. That is never an else branch: those do not know
// their module.
func addRule(of *ast.Rule, name string, key, value *ast.Term, body ast.Body) {
	head := ast.NewHead(ast.Var(name))
	head.Reference = ast.Ref{ast.VarTerm(name)}
	head.Key, head.Value, head.Location = key, value, of.Location
	of.Module.Rules = append(of.Module.Rules, &ast.Rule{Head: head, Body: body, Location: of.Location, Module: of.Module})
}

// weak returns the weakened copy of the body of a rule with the given operands,
// which nobody binds, and the variables that the copy binds.
func (w *weakening) weak(body ast.Body, operands ast.Args) (ast.Body, ast.VarSet) {
	s := newSchedule(w.compiler, body, operands)
	var waiting []*ast.Expr
	for _, expr := range body {
		if !w.reaches.node(expr).anything() {
			waiting = append(waiting, expr)
		} else if stand := w.weakStandIn(expr); stand != nil {
			waiting = append(waiting, stand)
		}
	}
	waiting = s.place(waiting)
	// A function that reads nothing itself may still have been given what does.
	for i, expr := range waiting {
		if stand := w.weakStandIn(expr); stand != nil {
			waiting[i] = stand
		}
	}
	s.place(waiting)
	return s.body(), s.bound
}

// strong returns the strengthened copy of a body, or nil.
func (w *weakening) strong(body ast.Body) ast.Body {
	strong := make([]*ast.Expr, len(body))
	for i, expr := range body {
		strong[i] = expr
		if w.reaches.node(expr).anything() {
			strong[i] = w.strongStandIn(expr)
		}
		if strong[i] == nil {
			return nil
		}
		strong[i] = strong[i].Copy()
	}
	return ast.NewBody(strong...)
}

// schedule puts expressions in an order in which each finds its variables
// bound.
type schedule struct {
	compiler *ast.Compiler
	outer    ast.VarSet // variables of the whole original body, those of closures excepted
	bound    ast.VarSet
	placed   []*ast.Expr
}

func newSchedule(c *ast.Compiler, body ast.Body, operands ast.Args) *schedule {
	s := &schedule{compiler: c, outer: variables(body, ast.SafetyCheckVisitorParams), bound: ast.ReservedVars.Copy()}
	for _, operand := range operands {
		s.outer.Update(variables(operand, ast.SafetyCheckVisitorParams))
	}
	return s
}

// place takes what can be placed and returns the rest.
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

func (s *schedule) body() ast.Body {
	if len(s.placed) == 0 {
		return alwaysTrue()
	}
	return ast.NewBody(s.placed...)
}

func alwaysTrue() ast.Body { return ast.NewBody(ast.NewExpr(ast.BooleanTerm(true))) }

func variables(node any, params ast.VarVisitorParams) ast.VarSet {
	vis := ast.NewVarVisitor().WithParams(params)
	vis.Walk(node)
	return vis.Vars().Copy()
}
