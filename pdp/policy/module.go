package policy

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"

	library "github.com/mcpermit/mcpermit/rego"
)

// The two places in which authors write effect rules, and the names that the
// sets in them have.
const (
	policyRoot  = "policy"
	globalPart  = "global"
	serversPart = "servers"
	libraryRoot = "mcpermit"
)

const (
	setHide    = "hide"
	setDeny    = "deny"
	setApprove = "approve"
	setAllow   = "allow"
	setQuota   = "quota"
	setMask    = "mask"
)

func isEffectSet(name string) bool {
	switch name {
	case setHide, setDeny, setApprove, setAllow, setQuota, setMask:
		return true
	}
	return false
}

// parseModules parses the bundle's modules, its tests excepted, by their path
// in the bundle, and checks that they stand where they may and that effect
// rules have the one form that is gathered. All faults are reported.
func parseModules(b *bundle.Bundle) (map[string]*ast.Module, error) {
	modules := make(map[string]*ast.Module, len(b.Modules))
	var faults []error
	for i := range b.Modules {
		file := strings.TrimPrefix(b.Modules[i].Path, "/")
		if strings.HasSuffix(file, "_test.rego") {
			continue
		}
		if _, again := modules[file]; again {
			faults = append(faults, fmt.Errorf("%s: the bundle has this file twice", file))
			continue
		}
		module, err := parseModule(file, string(b.Modules[i].Raw))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		modules[file] = module
		faults = append(faults, checkModule(module)...)
	}
	return modules, errors.Join(faults...)
}

func parseModule(file, source string) (*ast.Module, error) {
	module, err := ast.ParseModuleWithOpts(file, source, ast.ParserOptions{
		Capabilities:      capabilities(),
		ProcessAnnotation: true,
		RegoVersion:       ast.RegoV1,
	})
	if err != nil {
		return nil, err
	}
	if module == nil {
		return nil, fmt.Errorf("%s: the file is empty, remove it or give it a package", file)
	}
	return module, nil
}

// libraryModules are the embedded policy library. Nobody may change them.
var libraryModules = sync.OnceValue(func() map[string]*ast.Module {
	modules := map[string]*ast.Module{}
	for file, source := range library.Library() {
		module, err := parseModule(file, source)
		if err != nil {
			panic(err) // embedded and tested
		}
		modules[file] = module
	}
	return modules
})

// checkModule holds a module to the contract for authors (rego/README.md). A
// rule that nobody would gather, because of its package or its form, must not
// look as if it were in force.
func checkModule(m *ast.Module) []error {
	path := packagePath(m.Package)
	switch path[0] {
	case libraryRoot, "system":
		return []error{faultAt(m.Package.Location, "package %s is reserved: write policies in policy.global.<team> or policy.servers.<server>", path[0])}
	case policyRoot:
		if len(path) != 3 || path[1] != globalPart && path[1] != serversPart {
			return []error{faultAt(m.Package.Location, "package %s is never asked: write policy.global.<team> or policy.servers.<server>", strings.Join(path, "."))}
		}
	default:
		return nil // helpers of the authors: may hold anything
	}
	var faults []error
	for _, rule := range m.Rules {
		if fault := checkRule(rule); fault != nil {
			faults = append(faults, fault)
		}
	}
	return faults
}

func checkRule(rule *ast.Rule) error {
	name := string(rule.Head.Ref()[0].Value.(ast.Var))
	if !isEffectSet(name) {
		return nil
	}
	if isEffectRule(rule) {
		if _, literal := rule.Head.Key.Value.(ast.Object); name == setQuota && !literal {
			// Only then can be seen which of its members the call has to have.
			return faultAt(rule.Location, "write the quota as an object in the rule's head: `quota contains {\"name\": …} if { … }`")
		}
		return nil
	}
	return faultAt(rule.Location, "%s must be a set of reasons: write `%s contains \"…\" if { … }`", name, name)
}

// isEffectRule says whether the rule contributes a member to an effect set of
// its package.
func isEffectRule(rule *ast.Rule) bool {
	head := rule.Head
	return len(head.Ref()) == 1 && isEffectSet(string(head.Name)) && head.RuleKind() == ast.MultiValue &&
		len(head.Args) == 0 && head.Key != nil && !rule.Default && rule.Else == nil
}

// packagePath returns the path of the package without data: ["policy",
// "servers", "stripe"].
func packagePath(p *ast.Package) []string {
	path := make([]string, 0, len(p.Path)-1)
	for _, term := range p.Path[1:] {
		part, _ := term.Value.(ast.String)
		path = append(path, string(part))
	}
	return path
}

func faultAt(loc *ast.Location, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", loc.File, loc.Row, fmt.Sprintf(format, args...))
}
