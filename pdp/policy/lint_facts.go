package policy

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// facts are what one rule does with the input.
type facts struct {
	refs     []ast.Ref           // every ref into the input
	tests    map[string]bool     // which of the indexed paths it tests
	scope    map[string][]string // the constants that it tests input paths against
	compared map[string]bool     // arguments that it compares
	used     map[string]bool     // arguments without which it does not fire
	absent   map[string]bool     // arguments without which it does fire
	value    ast.Ref             // the input ref that the rule is another name for
}

// The input paths by which a rule says what calls it is about.
const (
	pathServer = "input.server.name"
	pathTool   = "input.tool.name"
	pathClass  = "input.tool.class"
	pathMethod = "input.method"
)

// indexedPaths are the ones by which OPA's rule index is to find rules.
var indexedPaths = []string{pathServer, pathTool, pathClass}

// anyArgument stands for arguments whose names the source does not show.
const anyArgument = "*"

func newFacts() *facts {
	return &facts{
		tests: map[string]bool{}, scope: map[string][]string{},
		compared: map[string]bool{}, used: map[string]bool{}, absent: map[string]bool{},
	}
}

// reader gathers the facts of one rule from its compiled body.
type reader struct {
	*facts
	program *program
	locals  map[ast.Var][]ast.Ref // the input refs that a local was made from
	alias   map[ast.Var]ast.Ref   // the one that a local is another name for
}

func gatherFacts(p *program, rule *ast.Rule) *facts {
	r := &reader{newFacts(), p, map[ast.Var][]ast.Ref{}, map[ast.Var]ast.Ref{}}
	for ; rule != nil; rule = rule.Else {
		for _, e := range rule.Body {
			r.expr(e, true)
		}
		if rule.Head.Value != nil {
			if v, ok := rule.Head.Value.Value.(ast.Var); ok {
				r.value = r.alias[v]
			}
		}
	}
	return r.facts
}

// expr reads one expression; top says that it stands in the rule's own body,
// not in a comprehension or an every.
func (r *reader) expr(e *ast.Expr, top bool) {
	r.nested(e)
	switch terms := e.Terms.(type) {
	case *ast.Term:
		r.condition(terms, e.Negated, top)
	case []*ast.Term:
		if e.IsEquality() && !e.Negated {
			r.equality(e.Operand(0), e.Operand(1), top)
		} else {
			r.call(e, top)
		}
	}
}

// nested reads the bodies inside an expression, and notes every ref into the
// input that stands anywhere in it.
func (r *reader) nested(e *ast.Expr) {
	body := func(b ast.Body) {
		for _, inner := range b {
			r.expr(inner, false)
		}
	}
	ast.WalkClosures(e, func(x any) bool {
		switch x := x.(type) {
		case *ast.ArrayComprehension:
			body(x.Body)
		case *ast.SetComprehension:
			body(x.Body)
		case *ast.ObjectComprehension:
			body(x.Body)
		case *ast.Every:
			body(x.Body)
		}
		return true
	})
	ast.WalkRefs(e, func(ref ast.Ref) bool {
		if full, ok := r.expand(ref); ok {
			r.refs = append(r.refs, full)
		}
		return false
	})
}

// expand follows locals and aliasing rules back to a ref into the input.
func (r *reader) expand(ref ast.Ref) (ast.Ref, bool) {
	head, ok := ref[0].Value.(ast.Var)
	switch {
	case !ok:
		return nil, false
	case ast.InputRootDocument.Value.Compare(head) == 0:
		return ref, true
	case ast.DefaultRootDocument.Value.Compare(head) == 0:
		for i := len(ref); i > 1; i-- {
			rules := r.program.compiler.GetRulesExact(ref[:i].GroundPrefix())
			if len(rules) == 1 && len(rules[0].Head.Args) == 0 && r.program.of(rules[0]).value != nil {
				return r.program.of(rules[0]).value.Concat(ref[i:]), true
			}
		}
	}
	if from, ok := r.alias[head]; ok {
		return from.Concat(ref[1:]), true
	}
	return nil, false
}

// origins are the input refs that a term was made from.
func (r *reader) origins(t *ast.Term) []ast.Ref {
	switch v := t.Value.(type) {
	case ast.Var:
		if v.Compare(ast.InputRootDocument.Value) == 0 {
			return []ast.Ref{ast.InputRootRef}
		}
		return r.locals[v]
	case ast.Ref:
		if full, ok := r.expand(v); ok {
			return []ast.Ref{full}
		}
	}
	return nil
}

// equality reads `a = b`: another name for something, or a test of it.
func (r *reader) equality(a, b *ast.Term, top bool) {
	for _, pair := range [][2]*ast.Term{{a, b}, {b, a}} {
		local, ok := pair[0].Value.(ast.Var)
		if _, known := r.locals[local]; !ok || known {
			continue
		}
		r.locals[local] = r.origins(pair[1])
		if ref, ok := pair[1].Value.(ast.Ref); ok {
			if full, ok := r.expand(ref); ok {
				r.alias[local] = full
				r.use(full, top)
			}
		} else if v, ok := pair[1].Value.(ast.Var); ok && r.alias[v] != nil {
			r.alias[local] = r.alias[v]
		}
		return
	}
	for _, pair := range [][2]*ast.Term{{a, b}, {b, a}} {
		r.test(pair[0], top)
		r.limit(pair[0], pair[1], top)
	}
}

// condition reads a term that stands alone, or behind not.
func (r *reader) condition(t *ast.Term, negated, top bool) {
	ref, ok := t.Value.(ast.Ref)
	if !ok {
		return
	}
	full, isInput := r.expand(ref)
	switch {
	case isInput && negated:
		if name, ok := argument(full); ok {
			r.absent[name] = true
		}
	case isInput:
		r.test(t, top)
	case negated:
		r.absentThrough(ref)
	}
}

// absentThrough notes the arguments without which a rule or function that is
// behind not does not hold.
func (r *reader) absentThrough(ref ast.Ref) {
	for _, rule := range r.program.compiler.GetRulesExact(ref.GroundPrefix()) {
		maps.Copy(r.absent, r.program.reach(rule).used)
	}
}

// makesText are built-in functions whose result is for people, so that what
// goes into them is not tested.
var makesText = []string{"sprintf", "concat", "format_int", "json.marshal", "yaml.marshal", "internal.print", "internal.template_string"}

// comparisons are the ones that hold for a range of values, or for all but some.
var comparisons = []string{"gt", "gte", "lt", "lte", "neq"}

// call reads a call: its last term may be where the result goes.
func (r *reader) call(e *ast.Expr, top bool) {
	name := e.Operator().String()
	operands := e.Operands()
	arity := r.program.compiler.GetArity(e.Operator())
	if slices.Contains(makesText, name) {
		return
	}
	var out *ast.Term
	if arity >= 0 && len(operands) > arity {
		operands, out = operands[:arity], operands[arity]
	}
	isFunction := e.Operator().HasPrefix(ast.DefaultRootRef)
	if isFunction && e.Negated {
		r.absentThrough(e.Operator())
	}
	for i, operand := range operands {
		if out == nil || isFunction {
			r.test(operand, top)
		}
		for _, ref := range r.origins(operand) {
			name2, ok := argument(ref)
			if ok && (e.Negated || slices.Contains(comparisons, name)) {
				r.compared[name2] = true
			}
			if ok && e.Negated && isFunction && name2 == anyArgument {
				r.absent[name2] = true
			}
		}
		if name == "internal.member_2" && i == 0 && !e.Negated && len(operands) == 2 {
			r.limit(operand, operands[1], top)
		}
		if v, ok := outVar(out); ok {
			r.locals[v] = append(r.locals[v], r.origins(operand)...)
		}
	}
}

func outVar(out *ast.Term) (ast.Var, bool) {
	if out == nil {
		return "", false
	}
	v, ok := out.Value.(ast.Var)
	return v, ok
}

// test notes that the rule's firing depends on what the term was made from.
func (r *reader) test(t *ast.Term, top bool) {
	for _, ref := range r.origins(t) {
		r.use(ref, top)
		for _, path := range indexedPaths {
			// A bare input.tool that is handed to a function counts as well.
			if s := ref.String(); s == path || s == "input.tool" || s == "input.server" && path == pathServer {
				r.tests[path] = true
			}
		}
		if name, ok := argument(ref); ok && name == anyArgument && top {
			r.used[name] = true
		}
	}
}

// use notes an argument that has to be there.
func (r *reader) use(ref ast.Ref, top bool) {
	if name, ok := argument(ref); ok && name != anyArgument && top {
		r.used[name] = true
	}
}

// limit notes the constants that an input path has to be one of.
func (r *reader) limit(t, constants *ast.Term, top bool) {
	refs := r.origins(t)
	if !top || len(refs) != 1 {
		return
	}
	if values := constantStrings(constants); len(values) > 0 {
		r.scope[refs[0].String()] = values
	}
}

// argument is the name of the argument that a ref leads to; anyArgument where
// it is all of them, or one whose name is computed.
func argument(ref ast.Ref) (string, bool) {
	if len(ref) == 1 { // the whole input
		return anyArgument, true
	}
	if part, ok := ref[1].Value.(ast.String); ok && part != "arguments" {
		return "", false
	}
	if len(ref) == 2 {
		return anyArgument, true
	}
	if name, ok := ref[2].Value.(ast.String); ok {
		return string(name), true
	}
	return anyArgument, true
}

func constantStrings(t *ast.Term) []string {
	var values []string
	add := func(t *ast.Term) {
		if s, ok := t.Value.(ast.String); ok {
			values = append(values, string(s))
		}
	}
	switch v := t.Value.(type) {
	case ast.String:
		add(t)
	case ast.Set:
		v.Foreach(add)
	case *ast.Array:
		v.Foreach(add)
	}
	return values
}
