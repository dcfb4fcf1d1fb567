package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	library "github.com/mcpermit/mcpermit/rego"
)

// program is a policy in the form that the evaluator sees: imports and locals
// resolved, calls taken apart, with the graph of who uses whom.
type program struct {
	compiler *ast.Compiler
	rules    []*ast.Rule // of the bundle, in the order of files and lines
	effects  []*effect   // those of them that have an effect
	own      map[*ast.Rule]bool
	memo     map[*ast.Rule]*facts
	reached  map[*ast.Rule]*facts
}

// compile compiles the modules together with the library. What the compiler
// has against them are findings. Where the types are all that is wrong, which
// is what a ref that the schema of the input does not know is, there is a
// program all the same; where more is, there is none.
func (l *linter) compile(modules map[string]*ast.Module) *program {
	all := maps.Clone(modules)
	maps.Copy(all, libraryModules())
	c := ast.NewCompiler().
		// The whole of Rego, so that a cut built-in is one finding and not the end.
		WithCapabilities(ast.CapabilitiesForThisVersion(ast.CapabilitiesRegoVersion(ast.RegoV1))).
		WithSchemas(inputSchemas()).
		SetErrorLimit(0)
	c.Compile(all)
	usable := true
	for _, err := range c.Errors {
		usable = usable && err.Code == ast.TypeErr
		check, message := compilerFault(err)
		l.add(check, SeverityError, err.Location, "", "%s", message)
	}
	if !usable {
		return nil
	}
	p := &program{compiler: c, own: map[*ast.Rule]bool{}, memo: map[*ast.Rule]*facts{}, reached: map[*ast.Rule]*facts{}}
	for _, file := range slices.Sorted(maps.Keys(modules)) {
		for _, r := range c.Modules[file].Rules {
			p.rules = append(p.rules, r)
			p.own[r] = true
		}
	}
	for _, r := range p.rules {
		if part, name, set, ok := effectPlace(r); ok {
			p.effects = append(p.effects, p.effect(r, part, name, set))
		}
	}
	return p
}

func inputSchemas() *ast.SchemaSet {
	var schema any
	if err := json.Unmarshal([]byte(library.InputSchema()), &schema); err != nil {
		panic(err) // embedded and tested
	}
	set := ast.NewSchemaSet()
	set.Put(ast.SchemaRootRef, schema)
	return set
}

// compilerFault tells a ref into the input that the schema does not know from
// everything else, and says in one line what is wrong.
func compilerFault(err *ast.Error) (check, message string) {
	detail, ok := err.Details.(*ast.RefErrInvalidDetail)
	if !ok || detail.Pos >= len(detail.Ref) || detail.Ref.HasPrefix(ast.DefaultRootRef) {
		return CheckCompile, strings.Join(strings.Fields(err.Message), " ")
	}
	var names []string
	for _, v := range detail.OneOf {
		if s, ok := v.(ast.String); ok {
			names = append(names, string(s))
		}
	}
	slices.Sort(names)
	message = detail.Ref[:detail.Pos+1].String() + " does not exist in the input document, so it never has a value"
	if len(names) > 0 {
		message += ": there are " + strings.Join(names, ", ")
	}
	return CheckInputPath, message
}

// of returns what the rule itself does.
func (p *program) of(r *ast.Rule) *facts {
	f, ok := p.memo[r]
	if !ok {
		f = gatherFacts(p, r)
		p.memo[r] = f
	}
	return f
}

// reach returns what the rule does, and the rules and functions that it uses.
func (p *program) reach(r *ast.Rule) *facts {
	if f, ok := p.reached[r]; ok {
		return f
	}
	all := newFacts()
	seen := map[*ast.Rule]bool{}
	var visit func(*ast.Rule)
	visit = func(r *ast.Rule) {
		if seen[r] {
			return
		}
		seen[r] = true
		own := p.of(r)
		all.refs = append(all.refs, own.refs...)
		maps.Copy(all.tests, own.tests)
		maps.Copy(all.used, own.used)
		for dep := range p.compiler.Graph.Dependencies(r) {
			if rule, ok := dep.(*ast.Rule); ok {
				visit(rule)
			}
		}
	}
	visit(r)
	p.reached[r] = all
	return all
}

// usedElsewhere reports whether another rule of the bundle uses one at path.
func (p *program) usedElsewhere(path ast.Ref) bool {
	for _, r := range p.compiler.GetRulesExact(path) {
		for user := range p.compiler.Graph.Dependents(r) {
			if rule, ok := user.(*ast.Rule); ok && p.own[rule] && !rule.Ref().GroundPrefix().Equal(path) {
				return true
			}
		}
	}
	return false
}
