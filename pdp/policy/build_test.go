package policy

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// bundleOf makes a bundle of modules by file name.
func bundleOf(data map[string]any, modules map[string]string) *bundle.Bundle {
	b := &bundle.Bundle{Data: data, Manifest: bundle.Manifest{Revision: "r1"}}
	for _, file := range slices.Sorted(maps.Keys(modules)) {
		b.Modules = append(b.Modules, bundle.ModuleFile{Path: "/" + file, URL: "/" + file, Raw: []byte(modules[file])})
	}
	return b
}

func mustBuild(t interface {
	Helper()
	Fatalf(string, ...any)
}, b *bundle.Bundle, opts Options,
) *Snapshot {
	t.Helper()
	if opts.Deadline == 0 {
		opts.Deadline = time.Minute // what is decided must not depend on how busy the machine is
	}
	s, err := Build(context.Background(), b, opts)
	if err != nil {
		var sources strings.Builder
		for _, m := range b.Modules {
			sources.WriteString("# " + m.Path + "\n" + string(m.Raw) + "\n")
		}
		t.Fatalf("Build: %v\n%s", err, &sources)
	}
	return s
}

// buildOne builds a policy of one file about the server s.
func buildOne(t *testing.T, source string) *Snapshot {
	t.Helper()
	return mustBuild(t, bundleOf(nil, map[string]string{"policy/servers/s.rego": "package policy.servers.s\n\n" + source}), Options{})
}

func TestRuleTableNamesEveryEffectRule(t *testing.T) {
	s := mustBuild(t, bundleOf(nil, map[string]string{
		"policy/servers/s.rego": `package policy.servers.s

# METADATA
# title: One
# custom: {id: one}
deny contains "a" if input.tool.name == "x"

deny contains "b" if input.tool.name == "y"

helper if input.tool.name == "z"

quota contains {"name": "q", "limit": 1, "window": "1h"} if helper
`,
		"policy/global/team.rego": `package policy.global.team

# METADATA
# scope: document
# title: All of them
# custom: {id: all}
allow contains "c" if true

# METADATA
# title: Its own
allow contains "d" if true
`,
		"policy/servers/s_test.rego": `package policy.servers.s_test
deny contains "a test" if true
test_it if true
`,
		"lib/deny.rego": `package lib.deny
deny contains "not an effect" if true
`,
	}), Options{})
	want := []EffectRule{
		{Set: "allow", Path: "policy.global.team.allow", ID: "all", Title: "All of them", File: "policy/global/team.rego", Line: 7},
		{Set: "allow", Path: "policy.global.team.allow", ID: "all", Title: "Its own", File: "policy/global/team.rego", Line: 11},
		{Set: "deny", Path: "policy.servers.s.deny", ID: "one", Title: "One", File: "policy/servers/s.rego", Line: 6},
		{Set: "deny", Path: "policy.servers.s.deny", File: "policy/servers/s.rego", Line: 8},
		{Set: "quota", Path: "policy.servers.s.quota", File: "policy/servers/s.rego", Line: 12},
	}
	table := s.RuleTable()
	if diff := cmp.Diff(want, table, cmpopts.IgnoreFields(EffectRule{}, "AST", "Module")); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if key := table[2].AST.Head.Key; !key.Equal(ast.StringTerm("a")) {
		t.Errorf("the table's rule gives %v, want what its author wrote", key)
	}
	table[0] = EffectRule{}
	if s.RuleTable()[0].Set == "" {
		t.Error("the caller can change the snapshot's table")
	}
}

func TestI11_BundleThatIsNoPolicyIsRefused(t *testing.T) {
	const head = "package policy.servers.s\n\n"
	const attached = "package policy.attachments.a\n\n"
	for name, c := range map[string]struct {
		file, source string
		data         map[string]any
		want         []string
	}{
		"syntax":                  {source: head + "deny contains", want: []string{"s.rego:3", "rego_parse_error"}},
		"unknown function":        {source: head + `deny contains "x" if nope(input)`, want: []string{"s.rego:3", "undefined function nope"}},
		"unsafe variable":         {source: head + `deny contains x if true`, want: []string{"s.rego:3", "var x is unsafe"}},
		"recursion":               {source: head + "a if b\nb if a\nallow contains \"x\" if a", want: []string{"recursive"}},
		"recursion by arguments":  {source: head + "a if b\nb if { a; input.arguments.x }\nallow contains \"x\" if not a", want: []string{"recursive"}},
		"old syntax":              {source: head + `deny["x"] { true }`, want: []string{"s.rego:3", "rego_parse_error"}},
		"server misspelt":         {source: "package policy.server.s\nallow contains \"x\" if true", want: []string{"s.rego:1", "package policy.server.s is never asked"}},
		"package too deep":        {source: "package policy.servers.s.more\nallow contains \"x\" if true", want: []string{"is never asked"}},
		"package too short":       {source: "package policy.servers\ns.allow contains \"x\" if true", want: []string{"is never asked"}},
		"library package":         {source: "package mcpermit\nallow contains \"x\" if true", want: []string{"package mcpermit is reserved"}},
		"library subpackage":      {source: "package mcpermit.lib\nx := 1", want: []string{"package mcpermit is reserved"}},
		"system package":          {source: "package system.log\nmask contains \"x\" if true", want: []string{"package system is reserved"}},
		"effect that is no set":   {source: head + `deny if input.tool.name == "x"`, want: []string{"s.rego:3", "deny must be a set"}},
		"effect by assignment":    {source: head + `allow := true`, want: []string{"s.rego:3", "allow must be a set"}},
		"effect with a default":   {source: head + `default allow := true`, want: []string{"s.rego:3", "allow must be a set"}},
		"effect as a function":    {source: head + `hide(x) if x`, want: []string{"s.rego:3", "hide must be a set"}},
		"effect as an object":     {source: head + `approve[x] := 1 if x := "a"`, want: []string{"s.rego:3", "approve must be a set"}},
		"effect below a path":     {source: head + `deny.more contains "x" if true`, want: []string{"s.rego:3", "deny must be a set"}},
		"id that is no string":    {source: head + "# METADATA\n# custom: {id: 5}\ndeny contains \"x\" if true", want: []string{"s.rego:3", "custom.id must be a string"}},
		"hide by arguments":       {source: head + `hide contains "x" if input.arguments.a`, want: []string{"s.rego:3", "hide must not depend on input.arguments"}},
		"hide by a local":         {source: head + "hide contains \"x\" if {\n\ta := input.arguments\n\ta.b\n}", want: []string{"s.rego:3", "hide must not"}},
		"hide by a helper":        {source: head + "h if f(1)\nf(x) if input.arguments.a > x\nhide contains \"x\" if not h", want: []string{"s.rego:5", "hide must not"}},
		"hide by all of input":    {source: head + "hide contains \"x\" if walk(input, [_, 5])", want: []string{"s.rego:3", "hide must not"}},
		"hide by a chosen member": {source: head + "hide contains \"x\" if {\n\tsome k in [\"arguments\"]\n\tinput[k]\n}", want: []string{"s.rego:3", "hide must not"}},
		"hide by a with":          {source: head + "h if input.tool.name\nhide contains \"x\" if h with input.tool as input.arguments", want: []string{"s.rego:4", "hide must not"}},
		"hide by its reason":      {source: head + "hide contains input.arguments.reason if true", want: []string{"s.rego:3", "hide must not"}},
		"reads a set":             {source: head + "allow contains \"x\" if count(deny) == 0\ndeny contains \"y\" if true", want: []string{"s.rego:3", "reads data.policy.servers.s.deny"}},
		"reads another's set":     {source: head + "x := data.policy.global.team.allow", want: []string{"s.rego:3", "reads data.policy.global.team.allow"}},
		"reads all packages":      {source: head + "x if data.policy.servers[_].deny", want: []string{"s.rego:3", "effect sets"}},
		"reads a whole package":   {source: "package lib\nx := data.policy.servers.s", want: []string{"s.rego:2", "effect sets"}},
		"reads some member":       {source: "package lib\nx if data.policy.servers.s[input.method]", want: []string{"s.rego:2", "effect sets"}},
		"reads everything":        {source: "package lib\nx if walk(data, [_, 1])", want: []string{"s.rego:2", "effect sets"}},
		"two imports of a set":    {source: "package lib\nimport data.policy.servers.s.deny as d\nx := d", want: []string{"s.rego:3", "effect sets"}},
		"scope that is no set":    {source: head + `scope := "a"`, want: []string{"s.rego:3", "scope must be a set of scopes"}},
		"scope as a helper":       {source: head + `scope(x) := x`, want: []string{"s.rego:3", "scope must be a set of scopes"}},
		"scope with a space":      {source: head + `scope contains "a b" if true`, want: []string{"s.rego:3", "a scope must be a string without spaces"}},
		"scope that is empty":     {source: head + `scope contains "" if true`, want: []string{"s.rego:3", "a scope must be"}},
		"scope with a reason":     {source: head + `scope contains {"reason": "a"} if true`, want: []string{"s.rego:3", "a scope must be"}},
		"credential no name":      {source: head + `credential contains "Read Only" if true`, want: []string{"s.rego:3", "a credential must be the name"}},
		"credential no set":       {source: head + `credential := "a"`, want: []string{"s.rego:3", "credential must be a set of names"}},
		"attachment that allows":  {source: attached + `allow contains "x" if true`, want: []string{"s.rego:3", "an attachment can only narrow, and has no allow"}},
		"attachment's default":    {source: attached + `default allow := true`, want: []string{"s.rego:3", "has no allow"}},
		"attachment that chooses": {source: attached + `credential contains "x" if true`, want: []string{"s.rego:3", "has no credential"}},
		"attachment too deep":     {source: "package policy.attachments.a.b\ndeny contains \"x\" if true", want: []string{"is never asked", "policy.attachments.<name>"}},
		"attachment that hides":   {source: attached + `hide contains "x" if input.arguments.a`, want: []string{"s.rego:3", "hide must not"}},
		"reads an attachment":     {source: head + "x := data.policy.attachments.a.deny", want: []string{"s.rego:3", "effect sets"}},
		"reads a scope":           {source: head + "x if count(scope) == 0\nscope contains \"a\" if true", want: []string{"s.rego:3", "effect sets"}},
		"data like rules":         {source: head, data: map[string]any{"policy": map[string]any{"servers": map[string]any{"s": map[string]any{"allow": []any{"x"}}}}}, want: []string{`data under "policy"`}},
		"data like the library":   {source: head, data: map[string]any{"mcpermit": 1}, want: []string{`data under "mcpermit"`}},
		"data where a rule is":    {source: "package lib\nx := 1", data: map[string]any{"lib": map[string]any{"x": 2}}, want: []string{"conflict"}},
		"empty file":              {source: "", want: []string{"s.rego"}},
		"keyword of a later Rego": {source: "package lib\nimport future.keywords.or\nx if true", want: []string{"future"}},
		"name of the library":     {file: "mcpermit/decision.rego", source: "package lib\nx := 1", want: []string{"rename it"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := c.file
			if file == "" {
				file = "s.rego"
			}
			s, err := Build(context.Background(), bundleOf(c.data, map[string]string{file: c.source}), Options{})
			if err == nil || s != nil {
				t.Fatal("the bundle was accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestBuildReportsEveryFault(t *testing.T) {
	_, err := Build(context.Background(), bundleOf(nil, map[string]string{
		"a.rego": "package policy.nowhere.a",
		"b.rego": "package policy.servers.b\ndeny if true\nallow := 1",
	}), Options{})
	if err == nil {
		t.Fatal("the bundle was accepted")
	}
	for _, want := range []string{"a.rego:1", "b.rego:2", "b.rego:3"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
	if s, err := Build(context.Background(), nil, Options{}); s != nil || err == nil {
		t.Error("no bundle became a policy")
	}
	twice := bundleOf(nil, map[string]string{"a.rego": "package lib"})
	twice.Modules = append(twice.Modules, twice.Modules[0])
	if _, err := Build(context.Background(), twice, Options{}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a file that is in the bundle twice: %v", err)
	}
}

// TestCapabilitiesAreCut tries every built-in that must not be there, and some
// that must.
func TestCapabilitiesAreCut(t *testing.T) {
	has := map[string]bool{}
	for _, b := range Capabilities().Builtins {
		has[b.Name] = true
	}
	for _, name := range []string{
		"bits.lsh", "http.send", "io.jwt.decode_verify", "io.jwt.encode_sign", "io.jwt.encode_sign_raw", "json.match_schema",
		"json.verify_schema", "net.lookup_ip_addr", "opa.runtime", "providers.aws.sign_req", "rand.intn", "rego.parse_module",
		"time.now_ns", "trace", "uuid.rfc4122", "crypto.x509.parse_and_verify_certificates",
	} {
		if has[name] {
			t.Errorf("%s can be called", name)
		}
	}
	for _, b := range ast.Builtins {
		if b.IsNondeterministic() && has[b.Name] {
			t.Errorf("%s is not deterministic, and can be called", b.Name)
		}
	}
	for _, name := range []string{"startswith", "regex.match", "glob.match", "sprintf", "io.jwt.decode", "net.cidr_contains", "time.parse_rfc3339_ns"} {
		if !has[name] {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range cutBuiltins {
		if !slices.ContainsFunc(ast.Builtins, func(b *ast.Builtin) bool { return b.Name == name }) {
			t.Errorf("%s is cut, but OPA has no such built-in", name)
		}
	}
	for name, call := range map[string]string{
		"time":    `time.now_ns() > 0`,
		"network": `http.send({"method": "get", "url": "http://localhost"}).status_code == 200`,
		"runtime": `opa.runtime().env.PATH`,
		"shift":   `bits.lsh(1, 50000000) > 0`,
	} {
		_, err := Build(context.Background(), bundleOf(nil, map[string]string{"s.rego": "package policy.servers.s\nallow contains \"x\" if " + call}), Options{})
		if err == nil || !strings.Contains(err.Error(), "undefined function") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRevisionNamesTheContent(t *testing.T) {
	build := func(source string) Revision {
		return mustBuild(t, bundleOf(nil, map[string]string{"s.rego": source}), Options{}).Revision()
	}
	if s, err := Build(context.Background(), bundleOf(nil, nil), Options{}); err != nil || s.deadline != DefaultDeadline {
		t.Errorf("an empty policy without options: %v", err)
	}
	one, again, other := build("package lib\nx := 1"), build("package lib\nx := 1"), build("package lib\nx := 2")
	if one != again || one.Revision != "r1" || !strings.HasPrefix(one.Digest, "sha256:") {
		t.Errorf("the same policy is %v and %v", one, again)
	}
	if one.Digest == other.Digest {
		t.Error("two policies have one digest")
	}
}

// TestResultNamesTheRule has two rules that give the same reason.
func TestResultNamesTheRule(t *testing.T) {
	s := buildOne(t, `
# METADATA
# custom: {id: first}
deny contains "no" if input.tool.name == "x"

# METADATA
# custom: {id: second}
deny contains "no" if input.tool.name == "x"

deny contains sprintf("%v is too much", [input.arguments.amount]) if input.arguments.amount > 5
`)
	got := s.Decide(context.Background(), callOf("x", `{"amount":6.5}`))
	const path, file = "policy.servers.s.deny", "policy/servers/s.rego"
	want := []Rule{
		{Path: path, File: file, Line: 12, Reason: "6.5 is too much"},
		{Path: path, File: file, Line: 6, ID: "first", Reason: "no"},
		{Path: path, File: file, Line: 10, ID: "second", Reason: "no"},
	}
	if diff := cmp.Diff(want, got.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if got.Reason != "6.5 is too much" {
		t.Errorf("reason %q", got.Reason)
	}
}
