package policy

import (
	"slices"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
)

// lintModule runs the checks that need no more than the source.
func (l *linter) lintModule(m *ast.Module) {
	l.lintDefaults(m)
	l.lintIDs(m)
	l.lintBuiltins(m)
	l.lintPlaces(m)
	l.lintAttachments(m)
}

// lintDefaults finds `default allow := true` and its like. Effects are sets,
// and no rule speaking means that nothing is allowed.
func (l *linter) lintDefaults(m *ast.Module) {
	for _, r := range m.Rules {
		if _, _, set, ok := effectPlace(r); ok && r.Default {
			l.add(CheckDefaultAllow, SeverityError, r.Loc(), rulePath(r),
				"remove `default %s`: what no rule allows is refused already, and %s is a set of reasons", set, set)
		}
	}
}

// lintIDs finds effect rules that a decision can name by line only, which
// changes with every edit.
func (l *linter) lintIDs(m *ast.Module) {
	for _, r := range m.Rules {
		_, _, set, ok := effectPlace(r)
		if !ok || r.Default || set == setQuota || set == setCredential || set == setMask || hasID(m, r) {
			continue
		}
		l.add(CheckNoID, SeverityWarning, r.Loc(), rulePath(r),
			"give the rule an id that outlives edits: put `# METADATA` and `# custom: {id: some-name}` above it")
	}
}

// hasID reports whether an annotation of the rule, or one that a rule of the
// same name carries for the whole document, has custom.id.
func hasID(m *ast.Module, r *ast.Rule) bool {
	carries := func(from *ast.Rule, scope string) bool {
		return slices.ContainsFunc(from.Annotations, func(a *ast.Annotations) bool {
			id, ok := a.Custom["id"].(string)
			return ok && id != "" && (scope == "" || a.Scope == scope)
		})
	}
	return carries(r, "") || slices.ContainsFunc(m.Rules, func(other *ast.Rule) bool {
		return other.Ref().Equal(r.Ref()) && carries(other, "document")
	})
}

// cutNames are the built-in functions that Rego has and policies have not.
var cutNames = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for _, b := range ast.CapabilitiesForThisVersion(ast.CapabilitiesRegoVersion(ast.RegoV1)).Builtins {
		names[b.Name] = true
	}
	for _, b := range capabilities().Builtins {
		delete(names, b.Name)
	}
	return names
})

func (l *linter) lintBuiltins(m *ast.Module) {
	for _, r := range m.Rules {
		found := func(operator ast.Ref, loc *ast.Location) {
			if name := operator.String(); cutNames()[name] {
				l.add(CheckCutBuiltin, SeverityError, loc, rulePath(r),
					"policies cannot use %s: a decision depends on its input alone; the time is input.context.time, anything else comes as data", name)
			}
		}
		ast.WalkExprs(r, func(e *ast.Expr) bool {
			if e.IsCall() {
				found(e.Operator(), e.Loc())
			}
			return false
		})
		ast.WalkTerms(r, func(t *ast.Term) bool {
			if call, ok := t.Value.(ast.Call); ok {
				if operator, ok := call[0].Value.(ast.Ref); ok {
					found(operator, t.Loc())
				}
			}
			return false
		})
	}
}

// lintAttachments finds rules in attachments that would widen what a grant may do.
func (l *linter) lintAttachments(m *ast.Module) {
	for _, r := range m.Rules {
		if part, _, set, ok := effectPlace(r); ok && part == attachmentsPart && widens(set) {
			l.add(CheckUnknownEffect, SeverityError, r.Loc(), rulePath(r),
				"an attachment can only narrow, and has no %s: move the rule to policy.global.NAME or policy.servers.NAME", set)
		}
	}
}

// lintPlaces finds packages under policy that nothing asks.
func (l *linter) lintPlaces(m *ast.Module) {
	at := refNames(m.Package.Path)
	if len(at) == 0 || at[0] != policyRoot || len(at) == 3 && isPart(at[1]) {
		return
	}
	l.add(CheckUnknownEffect, SeverityError, m.Package.Loc(), "",
		"nothing asks %s: rules go into policy.global.NAME, policy.servers.NAME or policy.attachments.NAME, helpers into a package outside policy", m.Package)
}
