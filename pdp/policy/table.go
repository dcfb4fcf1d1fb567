package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// EffectRule is one rule of the policy's effect sets, as its author wrote it.
type EffectRule struct {
	Set   string // "hide", "deny", "approve", "allow", "scope", "quota", "credential" or "mask"
	Path  string // "policy.servers.stripe.deny"
	ID    string // custom.id of its annotations, or ""
	Title string
	File  string // path in the bundle
	Line  int    // 1-based line of the rule's head

	// AST is the parsed rule before labelling and compilation, and Module what
	// it stands in. Both are shared and must not be changed.
	AST    *ast.Rule
	Module *ast.Module
}

// RuleTable returns every effect rule of the policy, in the order of files and
// lines. The caller owns the slice, not what its AST fields point to.
func (s *Snapshot) RuleTable() []EffectRule { return slices.Clone(s.table) }
