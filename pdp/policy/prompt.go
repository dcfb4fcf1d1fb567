package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// promptBuiltins are the functions that are done in time linear in the size of
// their operands, or nearly, and make nothing that is much larger than those.
// Between two steps an evaluation looks whether it is to stop; where all it
// calls are these, no step is long.
//
// Not here, and so run on workers, is what can be made to compute for long from
// a short operand: patterns, numbers from text (1e999999999), formats with a
// width, ranges, graphs, parsers and cryptography.
var promptBuiltins = []*ast.Builtin{
	ast.Equality, ast.Equal, ast.NotEqual, ast.Assign,
	ast.LessThan, ast.LessThanEq, ast.GreaterThan, ast.GreaterThanEq,
	ast.Plus, ast.Minus, ast.Multiply, ast.Divide, ast.Rem, ast.Abs, ast.Ceil, ast.Floor, ast.Round,
	ast.Member, ast.MemberWithKey, ast.And, ast.Or, ast.Intersection, ast.Union,
	ast.Count, ast.Sum, ast.Max, ast.Min, ast.Sort, ast.Any, ast.All,
	ast.ArrayConcat, ast.ArrayReverse, ast.ArraySlice,
	ast.ObjectGet, ast.ObjectKeys, ast.ObjectFilter, ast.ObjectRemove, ast.ObjectUnion, ast.ObjectSubset,
	ast.StartsWith, ast.EndsWith, ast.Contains, ast.IndexOf, ast.Lower, ast.Upper, ast.Substring,
	ast.Trim, ast.TrimLeft, ast.TrimRight, ast.TrimPrefix, ast.TrimSuffix, ast.TrimSpace, ast.Split, ast.Concat,
	ast.AnyPrefixMatch, ast.AnySuffixMatch,
	ast.IsArray, ast.IsBoolean, ast.IsNull, ast.IsNumber, ast.IsObject, ast.IsSet, ast.IsString, ast.TypeNameBuiltin,
}

// onlyPrompt says whether all that the compiler's rules call is prompt.
func onlyPrompt(c *ast.Compiler) bool {
	prompt := true
	for _, module := range c.Modules {
		ast.WalkExprs(module, func(expr *ast.Expr) bool {
			if expr.IsCall() {
				ref := expr.Operator()
				_, builtin := ast.BuiltinMap[ref.String()]
				prompt = prompt && (!builtin || isPrompt(ref))
			}
			return !prompt
		})
	}
	return prompt
}

func isPrompt(ref ast.Ref) bool {
	return slices.ContainsFunc(promptBuiltins, func(b *ast.Builtin) bool { return b.Ref().Equal(ref) })
}
