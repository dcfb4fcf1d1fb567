package policy

import (
	"errors"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// reach is what an expression or a rule can read of what differs between one
// call and the next of the same subject to the same target.
type reach struct {
	arguments bool // input.arguments
	clock     bool // input.context.time
}

func (r reach) anything() bool { return r.arguments || r.clock }

func (r *reach) add(o reach) {
	r.arguments = r.arguments || o.arguments
	r.clock = r.clock || o.clock
}

// reaches works out the reach of rules and expressions of a compiler whose
// modules have their references resolved and their terms made simple. What
// cannot be told is taken to reach everything.
type reaches struct {
	compiler *ast.Compiler
	rules    map[*ast.Rule]reach
}

func newReaches(c *ast.Compiler) *reaches {
	return &reaches{compiler: c, rules: map[*ast.Rule]reach{}}
}

// rule returns the reach of a rule: of its head, its body, its else branches,
// and of everything they refer to.
func (a *reaches) rule(rule *ast.Rule) reach {
	if known, ok := a.rules[rule]; ok {
		return known
	}
	a.rules[rule] = reach{} // recursion is an error that the compiler reports later
	r := a.node(rule)
	a.rules[rule] = r
	return r
}

// node returns the reach of a part of a rule: a *ast.Rule, *ast.Expr or
// *ast.Term.
func (a *reaches) node(node any) reach {
	var r reach
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case ast.Ref:
			r.add(a.ref(x))
			for _, part := range x[1:] {
				r.add(a.node(part))
			}
			return true
		case ast.Var:
			// A root document that is not the head of a reference is read whole.
			if x.Equal(ast.InputRootDocument.Value) || x.Equal(ast.DefaultRootDocument.Value) {
				r.add(reach{arguments: true, clock: true})
			}
		}
		return false
	}).Walk(node)
	return r
}

func (a *reaches) ref(ref ast.Ref) reach {
	switch {
	case ref[0].Equal(ast.InputRootDocument):
		return inputReach(ref)
	case ref[0].Equal(ast.DefaultRootDocument):
		var r reach
		for _, rule := range a.dependencies(ref) {
			r.add(a.rule(rule))
		}
		return r
	}
	return reach{}
}

func (a *reaches) dependencies(ref ast.Ref) []*ast.Rule {
	return a.compiler.GetRulesDynamicWithOpts(ref, ast.RulesOptions{IncludeHiddenModules: true})
}

// inputReach judges a reference into input. A part that is not a constant may
// be any member.
func inputReach(ref ast.Ref) reach {
	if len(ref) == 1 {
		return reach{arguments: true, clock: true}
	}
	switch member, constant := ref[1].Value.(ast.String); {
	case !constant:
		return reach{arguments: true, clock: true}
	case member == "arguments":
		return reach{arguments: true}
	case member == "context" && len(ref) == 2:
		return reach{clock: true}
	case member == "context":
		part, constant := ref[2].Value.(ast.String)
		return reach{clock: !constant || part == "time"}
	}
	return reach{}
}

// checkReach refuses hide rules that read the arguments, and rules that read
// the effect sets: those hold labels, and belong to the library.
func (l *labels) checkReach(a *reaches) error {
	var faults []string
	for file := range l.ids {
		for _, rule := range a.compiler.Modules[file].Rules {
			if ref := effectSetIn(rule); ref != nil {
				faults = append(faults, faultAt(rule.Location,
					"the rule reads %s: effect sets are combined by the policy library, read a rule of another name", ref).Error())
			}
			id, effect := l.rules[rule]
			if effect && l.table[id].Set == setHide && a.rule(rule).arguments {
				faults = append(faults, faultAt(rule.Location,
					"hide must not depend on input.arguments: what is hidden is hidden for every call, use deny").Error())
			}
		}
	}
	if len(faults) == 0 {
		return nil
	}
	slices.Sort(faults)
	return errors.New(strings.Join(faults, "\n"))
}

// effectSetIn returns a reference in the rule that can read an effect set.
func effectSetIn(rule *ast.Rule) ast.Ref {
	var found ast.Ref
	ast.WalkRefs(rule, func(ref ast.Ref) bool {
		if found == nil && readsEffectSet(ref) {
			found = ref
		}
		return found != nil
	})
	return found
}

func readsEffectSet(ref ast.Ref) bool {
	if !ref[0].Equal(ast.DefaultRootDocument) {
		return false
	}
	// data.policy.<kind>.<package>.<set>: a reference that ends earlier reads
	// every set below it.
	for i := 1; i < 5; i++ {
		if i >= len(ref) {
			return true
		}
		part, constant := ref[i].Value.(ast.String)
		switch {
		case !constant:
		case i == 1 && part != policyRoot:
			return false
		case i == 4 && !isEffectSet(string(part)):
			return false
		}
	}
	return true
}
