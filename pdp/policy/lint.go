package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// Severity says what a finding means.
type Severity string

const (
	// SeverityError is a mistake: the policy does not load, or does not do what
	// it looks like.
	SeverityError Severity = "error"
	// SeverityWarning is a risk or a cost.
	SeverityWarning Severity = "warning"
)

// The linter's checks.
const (
	CheckCompile         = "compile"               // does not parse or compile
	CheckNotIndexed      = "not-indexed"           // evaluated for every call, whatever it is about
	CheckNoID            = "no-id"                 // a decision cannot name the rule stably
	CheckArgumentsInHide = "arguments-in-hide"     // hiding cannot depend on arguments
	CheckMissingArgument = "deny-missing-argument" // a deny that stays silent without its argument
	CheckInputPath       = "unknown-input-path"    // the input document has no such thing
	CheckDefaultAllow    = "default-allow"         // open by default
	CheckUnknownEffect   = "unknown-effect"        // looks like an effect, and nothing asks for it
	CheckCutBuiltin      = "cut-builtin"           // a built-in function that policies cannot use
)

// Finding is one thing that the linter has to say.
type Finding struct {
	Check    string
	Severity Severity
	File     string // path in the bundle
	Line     int    // 1-based
	Path     string // of the rule, as "policy.servers.stripe.deny", or ""
	Message  string // says what to do
}

// String is the finding on one line, in the form that editors jump to.
func (f Finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s (%s)", f.File, f.Line, f.Severity, f.Message, f.Check)
}

// Lint looks for what a policy's author will not have meant, beyond what keeps
// it from loading. The findings come in the order of files and lines. It
// neither changes the bundle nor evaluates it.
func Lint(b *bundle.Bundle) []Finding {
	var l linter
	modules := make(map[string]*ast.Module, len(b.Modules))
	for _, m := range b.Modules {
		modules[m.Path] = m.Parsed
		l.lintModule(m.Parsed)
	}
	if p := l.compile(modules); p != nil {
		l.lintProgram(p)
	}
	slices.SortFunc(l.findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line),
			cmp.Compare(x.Check, y.Check), cmp.Compare(x.Message, y.Message))
	})
	return slices.Compact(l.findings)
}

// linter gathers findings.
type linter struct{ findings []Finding }

func (l *linter) add(check string, severity Severity, loc *ast.Location, path, format string, args ...any) {
	f := Finding{Check: check, Severity: severity, Path: path, Message: fmt.Sprintf(format, args...)}
	if loc != nil {
		f.File, f.Line = loc.File, loc.Row
	}
	l.findings = append(l.findings, f)
}

// checkDefaults refuses rules that would open by default, whatever else the
// bundle says.
func checkDefaults(b *bundle.Bundle) error {
	var l linter
	for _, m := range b.Modules {
		l.lintDefaults(m.Parsed)
	}
	errs := make([]error, 0, len(l.findings))
	for _, f := range l.findings {
		errs = append(errs, fmt.Errorf("%s:%d: %s", f.File, f.Line, f.Message))
	}
	return errors.Join(errs...)
}

// rulePath is "policy.servers.stripe.deny".
func rulePath(r *ast.Rule) string { return strings.Join(refNames(r.Ref().GroundPrefix()), ".") }

// effectPlace takes the path of a rule apart where it stands at one of the
// places that the library asks: policy.global.X.SET, policy.servers.X.SET or
// policy.attachments.X.SET.
func effectPlace(r *ast.Rule) (part, name, set string, ok bool) {
	at := refNames(r.Ref().GroundPrefix())
	if len(at) != 4 || at[0] != policyRoot || !isPart(at[1]) || !isEffectSet(at[3]) {
		return "", "", "", false
	}
	return at[1], at[2], at[3], true
}
