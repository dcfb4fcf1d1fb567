package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"

	library "github.com/mcpermit/mcpermit/rego"
)

// The places in which authors write effect rules, and the names that the sets in
// them have.
const (
	policyRoot      = "policy"
	globalPart      = "global"
	serversPart     = "servers"
	attachmentsPart = "attachments"
	libraryRoot     = "mcpermit"
)

// Files of the library.
const (
	definitionFile = "mcpermit/decision.rego" // what decisions are, and explanations
	setsFile       = "mcpermit/sets.rego"
)

const (
	setHide       = "hide"
	setDeny       = "deny"
	setApprove    = "approve"
	setAllow      = "allow"
	setScope      = "scope"
	setQuota      = "quota"
	setCredential = "credential"
	setMask       = "mask"
)

// ruleSets are the sets that the library gathers from the authors' packages.
var ruleSets = []string{setHide, setDeny, setApprove, setAllow, setScope, setQuota, setCredential, setMask}

func isEffectSet(name string) bool { return slices.Contains(ruleSets, name) }

// widens says of a set that it can give what would not be there without it. An
// attachment has none of these: it can only narrow.
func widens(set string) bool { return set == setAllow || set == setCredential }

// packagesSaid is where effect rules go, for people.
const packagesSaid = "policy.global.<team>, policy.servers.<server> or policy.attachments.<name>"

// isPart says whether the packages below policy.<name> are asked.
func isPart(name string) bool {
	return name == globalPart || name == serversPart || name == attachmentsPart
}

func isAttachment(m *ast.Module) bool {
	path := packagePath(m.Package)
	return len(path) == 3 && path[0] == policyRoot && path[1] == attachmentsPart
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
		return []error{faultAt(m.Package.Location, "package %s is reserved: write policies in %s", path[0], packagesSaid)}
	case policyRoot:
		if len(path) != 3 || !isPart(path[1]) {
			return []error{faultAt(m.Package.Location, "package %s is never asked: write %s", strings.Join(path, "."), packagesSaid)}
		}
	default:
		return nil // helpers of the authors: may hold anything
	}
	var faults []error
	attachment := path[1] == attachmentsPart
	for _, rule := range m.Rules {
		name := string(rule.Head.Ref()[0].Value.(ast.Var))
		switch {
		case !isEffectSet(name):
		case attachment && widens(name):
			faults = append(faults, faultAt(rule.Location,
				"an attachment can only narrow, and has no %s: move the rule to policy.global.<team> or policy.servers.<server>", name))
		default:
			if fault := checkRule(name, rule); fault != nil {
				faults = append(faults, fault)
			}
		}
	}
	return faults
}

func checkRule(name string, rule *ast.Rule) error {
	if !isEffectRule(rule) {
		return faultAt(rule.Location, "%s must be a set of %s: write `%[1]s contains \"…\" if { … }`", name, cmp.Or(membersSaid[name], "reasons"))
	}
	key := rule.Head.Key
	_, object := key.Value.(ast.Object)
	switch {
	case name == setQuota && !object:
		// Only then can be seen which of its members the call has to have.
		return faultAt(rule.Location, "write the quota as an object in the rule's head: `quota contains {\"name\": …} if { … }`")
	case name == setScope && ast.IsConstant(key.Value):
		_, err := readScope(key)
		return locate(err, rule.Location)
	case name == setCredential && ast.IsConstant(key.Value):
		_, err := readCredential(key)
		return locate(err, rule.Location)
	}
	return nil
}

// membersSaid is what the sets have in them that have no reasons, for people.
var membersSaid = map[string]string{setScope: "scopes", setCredential: "names of credentials", setQuota: "quotas", setMask: "JSON pointers"}

func locate(err error, loc *ast.Location) error {
	if err != nil {
		return faultAt(loc, "%v", err)
	}
	return nil
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
