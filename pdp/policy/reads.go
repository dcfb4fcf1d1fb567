package policy

import "github.com/open-policy-agent/opa/v1/ast"

// argumentNames are the members of input.arguments that the rules of a policy
// can read. What no rule reads need not be turned into terms, which for a large
// call is most of the work.
type argumentNames struct {
	all   bool
	names map[string]struct{}
}

func (n *argumentNames) has(name string) bool {
	if n.all {
		return true
	}
	_, ok := n.names[name]
	return ok
}

// argumentsRead works out the names from modules whose references are resolved.
func argumentsRead(modules map[string]*ast.Module) *argumentNames {
	n := &argumentNames{names: map[string]struct{}{}}
	for _, module := range modules {
		for _, rule := range module.Rules {
			n.walk(rule)
		}
	}
	return n
}

func (n *argumentNames) walk(node any) {
	ast.WalkTerms(node, func(term *ast.Term) bool {
		switch value := term.Value.(type) {
		case ast.Ref:
			n.ref(value)
			for _, part := range value[1:] {
				n.walk(part)
			}
			return true
		case ast.Var:
			n.all = n.all || term.Equal(ast.InputRootDocument)
		}
		return false
	})
}

// ref adds what input.arguments.<name> reads; every other reference that
// reaches the arguments reads all of them.
func (n *argumentNames) ref(ref ast.Ref) {
	if !ref[0].Equal(ast.InputRootDocument) || !inputReach(ref).arguments {
		return
	}
	if len(ref) > 2 {
		if name, constant := ref[2].Value.(ast.String); constant && ref[1].Equal(keyArguments) {
			n.names[string(name)] = struct{}{}
			return
		}
	}
	n.all = true
}
