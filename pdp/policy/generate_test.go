package policy

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// The small world that generated policies are about. Rules can tell all of it
// apart, and all of it can be tried.
var (
	worldTools = []Tool{
		{Name: "get_user", Class: "read", Pinned: "match"},
		{Name: "get_file", Class: "read", Risk: "low", Pinned: "unknown", Traits: []string{"takes-path"}},
		{Name: "pay", Class: "financial", Risk: "critical", Pinned: "match"},
		{Name: "wipe", Class: "destructive", Pinned: "match", Annotations: []byte(`{"destructiveHint":true}`)},
	}
	worldSubjects = []Subject{
		{ID: "ann", Type: "person", Groups: []string{"admins"}},
		{ID: "bot", Type: "agent"},
	}
	worldScopes      = []string{"s:read", "s:write"}
	worldAttachments = []string{"narrow", "other"}
	worldTimes       = []string{"2026-11-22T10:00:00Z", "2027-01-01T00:00:00Z"}
	worldData        = map[string]any{
		"limits":  map[string]any{"get_user": 1, "pay": 4},
		"classes": map[string]any{"read": true, "financial": false},
		"keys":    []any{"a", "items"},
	}
)

// worldArguments is every combination of a few values of three arguments.
func worldArguments() [][]byte {
	options := map[string][]string{
		"a":     {"", "1", "5", `"x"`, "null"},
		"b":     {"", "true", `{"c":"deep"}`},
		"items": {"", "[]", `["z"]`, "[1,2]"},
	}
	var all [][]byte
	for _, a := range options["a"] {
		for _, b := range options["b"] {
			for _, items := range options["items"] {
				var members []string
				for _, m := range [][2]string{{"a", a}, {"b", b}, {"items", items}} {
					if m[1] != "" {
						members = append(members, fmt.Sprintf("%q:%s", m[0], m[1]))
					}
				}
				all = append(all, []byte("{"+strings.Join(members, ",")+"}"))
			}
		}
	}
	return all
}

// Expressions that do not look at arguments or time.
var plainExprs = []string{
	`input.tool.name == "pay"`,
	`input.tool.name in {"get_user", "get_file"}`,
	`startswith(input.tool.name, "get_")`,
	`input.tool.class == "read"`,
	`input.tool.class != "read"`,
	`not input.tool.class == "destructive"`,
	`"admins" in input.subject.groups`,
	`input.subject.type == "agent"`,
	`data.limits[input.tool.name] > 2`,
	`data.classes[input.tool.class]`,
	`not data.limits[input.tool.name]`,
	`some trait%d in input.tool.traits; trait%d == "takes-path"`,
	`count([l%d | some l%d in data.limits; l%d > 2]) == 1`,
	`every group%d in input.subject.groups { group%d != "admins" }`,
	`input.tool.annotations.destructiveHint`,
	`input.tool.pinned == "match"`,
	`input.context.direction == "to_server"`,
	`true`,
}

// Expressions that do. Each can hold and can fail for some arguments, whatever
// else holds, so that what is left of a body decides.
var argumentExprs = []string{
	`input.arguments.a > 3`,
	`not input.arguments.b`,
	`input.arguments.a == data.limits.get_user`,
	`x%d := input.arguments.a; x%d < 3`,
	`x%d := input.arguments; x%d.b == true`,
	`some i%d; input.arguments.items[i%d] == "z"`,
	`some item%d in input.arguments.items; is_number(item%d)`,
	`every item%d in input.arguments.items { item%d != "z" }`,
	`count([1 | some item%d in input.arguments.items; item%d == "z"]) > 0`,
	`input.arguments.b.c == "deep"`,
	`k%d := data.keys[_]; input.arguments[k%d]`,
	`object.get(input, ["arguments", "a"], 0) == 5`,
	`startswith(input.context.time, "2026")`,
	`input.context["time"] > "2026-12"`,
	`y%d := [input.arguments.a, 1]; y%d[0] == y%d[1]`,
	`{"b": z%d} = {"b": input.arguments.b}; z%d`,
	`n%d := count(input.arguments.items); n%d + 1 > 1`,
	`json.filter(input, ["arguments/b"]).arguments.b == true`,
}

// Expressions in which the arguments meet something known. Which arguments
// there can be is then a harder question.
var mixedExprs = []string{
	`input.arguments.a > data.limits[input.tool.name]`,
	`x%d := input.arguments.a; data.limits[input.tool.name] == x%d`,
	`k%d := input.arguments.a; k%d == 5; not data.classes[k%d]`,
	`some k%d, v%d in data.limits; k%d == input.tool.name; input.arguments.a > v%d`,
	`t%d := {"pay": input.arguments.b}; t%d[input.tool.name]`,
	`not %s`,
	`input.arguments.a == 1; input.arguments.a == 5`,
	`helper_set[input.arguments.a]`,
	`input.arguments.a in helper_set`,
	`count(helper_set) == 0`,
	`not "x" in helper_set`,
	`helper_object[input.tool.class] == true`,
	`is_free(input.tool.name) with input.tool as {"name": "pay"}`,
	`%s with input.arguments as {"a": 5, "b": true, "items": ["z"]}`,
	`%s with input.tool.name as "pay"`,
	`at_least(input.arguments.a, 2)`,
	`grade(input.tool.name) == "gold"`,
	`g%d := grade(input.arguments.a); g%d == "lead"`,
	`x%d := input.arguments.a; grade(x%d) == "gold"`,
	`allowance > 2`,
	`allowance == 1`,
	`a%d := allowance; a%d != 4`,
	`profile.paid`,
	`level > 3`,
	`l%d := level; l%d == 5`,
	`not open`,
	`open`,
	`c%d := input.context; startswith(c%d.time, "2027")`,
	`object.get(input.context, "time", "") > "2026-12"`,
	`data.lib.helpers.shared`,
	`not data.lib.helpers.shared`,
	`data.mcpermit.money(input.arguments.a) > 3`,
}

// helpers are rules that the expressions above call. h0 to h3 are generated.
const fixedHelpers = `
helper_set contains input.arguments.a if input.tool.class == "read"
helper_set contains "x" if input.tool.name == "pay"
helper_set contains input.tool.name if input.arguments.b

helper_object[class] := input.arguments.b if {
	some class, _ in data.classes
}

is_free(name) if name == "get_file"
is_free(name) if {
	name == "pay"
	input.arguments.a == 1
}

at_least(value, bound) if {
	input.tool.class in {"financial", "read"}
	value >= bound
}

grade(name) := "gold" if {
	name == "pay"
} else := "lead" if {
	input.subject.type == "agent"
} else := "none" if input.arguments.b

default allowance := 1
allowance := 3 if {
	input.tool.class == "read"
	input.arguments.a == 5
}
allowance := data.limits[input.tool.name] if {
	input.tool.name == "pay"
	input.arguments.b
}

level := input.arguments.a if input.tool.class in {"financial", "read"}

default open := true
open := false if input.arguments.b

profile := {"paid": input.arguments.b, "free": true} if input.tool.class == "financial"
`

const sharedHelpers = `package lib.helpers

shared if {
	input.subject.type == "person"
	input.arguments.a == 1
}
shared if input.tool.name == "get_file"
`

// generated is a policy for the world, by file.
type generated map[string]string

func (g generated) String() string {
	var b strings.Builder
	for _, source := range g {
		b.WriteString(source + "\n")
	}
	return b.String()
}

// generator draws policies. With harder it also draws expressions for which
// only trying all arguments tells what can be.
type generator struct {
	t      *rapid.T
	harder bool
	fresh  int
}

func generate(t *rapid.T, harder bool) generated {
	g := &generator{t: t, harder: harder}
	policy := generated{
		"policy/servers/s.rego":   g.module("policy.servers.s", ownSets),
		"policy/global/team.rego": g.module("policy.global.team", ownSets),
	}
	for _, name := range worldAttachments {
		policy["policy/attachments/"+name+".rego"] = g.module("policy.attachments."+name, attachedSets)
	}
	if harder {
		policy["lib/helpers.rego"] = sharedHelpers
	}
	return policy
}

// The sets that generated rules give to, the more often the more often they are here.
var (
	ownSets      = []string{setAllow, setAllow, setAllow, setApprove, setDeny, setHide, setScope, setScope, setQuota, setCredential, setCredential}
	attachedSets = []string{setApprove, setApprove, setDeny, setHide, setScope, setQuota, setMask}
)

// key draws what rule number i gives to a set.
func (g *generator) key(set string, i int) string {
	switch set {
	case setApprove:
		return fmt.Sprintf("{\"reason\": \"approve %d\", \"approvers\": [\"group:g\"]}", i)
	case setScope:
		return rapid.SampledFrom([]string{`"s:read"`, `"s:write"`, "input.arguments.items[_]"}).Draw(g.t, "scope")
	case setCredential:
		return rapid.SampledFrom([]string{`"one"`, `"one"`, `"two"`, "input.tool.name"}).Draw(g.t, "credential")
	case setQuota:
		return fmt.Sprintf("{\"name\": \"q%d\", \"limit\": 1, \"window\": \"1h\", \"cost\": input.arguments.a}", i)
	case setMask:
		return fmt.Sprintf("\"/%d\"", i)
	}
	return fmt.Sprintf("\"%s %d\"", set, i)
}

func (g *generator) module(pkg string, from []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n%s", pkg, "")
	if g.harder {
		b.WriteString(fixedHelpers)
	}
	for i := range 4 {
		b.WriteString(g.helper(i))
	}
	for i := range rapid.IntRange(1, 5).Draw(g.t, "rules") {
		set := rapid.SampledFrom(from).Draw(g.t, "set")
		fmt.Fprintf(&b, "%s contains %s if {\n\t%s\n}\n\n", set, g.key(set, i), g.body(set == setHide, 4))
	}
	return b.String()
}

// helper draws a rule h<i> of one of the forms that rules have. It calls only
// helpers with a lower number.
func (g *generator) helper(i int) string {
	body := func() string { return g.body(false, i) }
	forms := []string{"one", "two"}
	if g.harder {
		forms = append(forms, "default", "else", "else false") // which partial evaluation leaves as they are
	}
	switch rapid.SampledFrom(forms).Draw(g.t, "form") {
	case "two":
		return fmt.Sprintf("\nh%d if {\n\t%s\n}\n\nh%d if {\n\t%s\n}\n", i, body(), i, body())
	case "default":
		return fmt.Sprintf("\ndefault h%d := false\nh%d if {\n\t%s\n}\n", i, i, body())
	case "else":
		return fmt.Sprintf("\nh%d if {\n\t%s\n} else if {\n\t%s\n}\n", i, body(), body())
	case "else false":
		return fmt.Sprintf("\nh%d if {\n\t%s\n} else := false if {\n\t%s\n} else := true\n", i, body(), body())
	default:
		return fmt.Sprintf("\nh%d if {\n\t%s\n}\n", i, body())
	}
}

// body draws a body that may use the helpers below the given number.
func (g *generator) body(hide bool, helpers int) string {
	var exprs []string
	for range rapid.IntRange(1, 3).Draw(g.t, "exprs") {
		exprs = append(exprs, g.expr(hide, helpers))
	}
	return strings.Join(exprs, "\n\t")
}

func (g *generator) expr(hide bool, helpers int) string {
	kinds := []string{"plain", "argument"}
	switch {
	case hide:
		kinds = []string{"plain"}
	case helpers > 0:
		kinds = append(kinds, "helper")
	}
	if g.harder && !hide && helpers > 0 {
		kinds = append(kinds, "mixed", "mixed")
	}
	switch rapid.SampledFrom(kinds).Draw(g.t, "kind") {
	case "plain":
		return g.fill(rapid.SampledFrom(plainExprs).Draw(g.t, "plain"), helpers)
	case "argument":
		return g.fill(rapid.SampledFrom(argumentExprs).Draw(g.t, "argument"), helpers)
	case "mixed":
		return g.fill(rapid.SampledFrom(mixedExprs).Draw(g.t, "mixed"), helpers)
	default:
		return g.fill(rapid.SampledFrom([]string{"%s", "not %s", "%s == true"}).Draw(g.t, "use"), helpers)
	}
}

// fill numbers the variables of an expression and names its helpers.
func (g *generator) fill(expr string, helpers int) string {
	g.fresh++
	var args []any
	for _, verb := range verbs(expr) {
		if verb == 'd' {
			args = append(args, g.fresh)
		} else {
			args = append(args, fmt.Sprintf("h%d", rapid.IntRange(0, helpers-1).Draw(g.t, "helper")))
		}
	}
	return fmt.Sprintf(expr, args...)
}

func verbs(format string) []byte {
	var found []byte
	for i := 0; i+1 < len(format); i++ {
		if format[i] == '%' && slices.Contains([]byte("ds"), format[i+1]) {
			found = append(found, format[i+1])
		}
	}
	return found
}
