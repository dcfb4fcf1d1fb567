package policy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"pgregory.net/rapid"
)

// isListed asks for one entry of a listing.
func isListed(t interface{ Fatal(args ...any) }, s *Snapshot, in *Input, item Item) bool {
	got, err := s.List(context.Background(), in, []Item{item})
	if err != nil {
		t.Fatal(err)
	}
	return got[0]
}

// byLibrary evaluates a rule of the library, which is the definition of what
// the plans do.
func byLibrary(t *rapid.T, s *Snapshot, rule string, input *ast.Term) (ast.Value, error) {
	q, err := newLibraryQuestion(s.compiler, rule)
	if err != nil {
		t.Fatal(err)
	}
	ev := &evaluation{evaluator: &s.evaluator}
	ev.on(input)
	return ev.value(q)
}

func decidedByLibrary(t *rapid.T, s *Snapshot, in *Input) Result {
	input, err := in.term(readEverything)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := byLibrary(t, s, "decision", input)
	if err != nil {
		return failure(err)
	}
	result, err := s.result(answer)
	if err != nil {
		return failure(err)
	}
	return result
}

func listedByLibrary(t *rapid.T, s *Snapshot, in *Input, item Item) bool {
	asked := *in
	asked.Method, asked.Tool, asked.Arguments, asked.Prompt, asked.Resource = item.method(), item.Tool, nil, item.Prompt, item.Resource
	input, err := asked.term(readEverything)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := byLibrary(t, s, "listing", input)
	if err != nil {
		return false
	}
	effect, err := readEffect(answer.(ast.Object).Get(keyEffect))
	if err != nil {
		t.Fatal(err)
	}
	return effect == Allow
}

var otherMethods = []string{
	"initialize", "ping", "tools/list", "logging/setLevel", "resources/read", "prompts/get", "completion/complete",
	"notifications/resources/updated", "subscriptions/listen", "vendor/unknown",
}

// drawFrame is a call of a tool, or another frame, of a server with or without
// a package of its own.
func drawFrame(t *rapid.T) *Input {
	in := drawInput(t)
	in.Server.Name = rapid.SampledFrom([]string{"s", "s", "s", "elsewhere"}).Draw(t, "server")
	if rapid.Bool().Draw(t, "other") {
		in.Method, in.Tool = rapid.SampledFrom(otherMethods).Draw(t, "method"), nil
		in.Context.Direction = rapid.SampledFrom([]string{"to_server", "to_client"}).Draw(t, "direction")
		in.Prompt = rapid.SampledFrom([]string{"", "p"}).Draw(t, "prompt")
		if in.Prompt == "" {
			in.Resource = rapid.SampledFrom([]string{"", "file:///x"}).Draw(t, "resource")
		}
	}
	return in
}

// failing is a package with a rule that fails for some calls: a failure counts
// only in a set that is needed.
func failing(t *rapid.T) string {
	return "package policy." + rapid.SampledFrom([]string{"global", "attachments"}).Draw(t, "part") + ".failing\n" + rapid.SampledFrom([]string{
		"",
		`hide contains "never" if 1 / count(input.subject.groups) > 1`,
		`deny contains "never" if 1 / input.arguments.a > 1`,
		`approve contains "never" if 1 / count(input.subject.groups) > 1`,
		`scope contains "never" if 1 / count(input.subject.groups) > 1`,
		`mask contains "/x" if 1 / count(input.subject.groups) > 1`,
		`quota contains {"name": "n", "limit": 1, "window": "1h"} if 1 / count(input.subject.groups) >= 1`,
	}).Draw(t, "failing")
}

// failingOwn has the sets that attachments cannot have.
func failingOwn(t *rapid.T) string {
	return "package policy.global.failing_own\n" + rapid.SampledFrom([]string{
		"",
		`allow contains "never" if 1 / count(input.subject.groups) > 1`,
		`credential contains "never" if 1 / count(input.subject.groups) > 1`,
	}).Draw(t, "failing own")
}

// TestPlansDecideAsTheLibrary holds the plans to data.mcpermit.decision and
// data.mcpermit.listing, under generated policies in global and server packages.
func TestPlansDecideAsTheLibrary(t *testing.T) {
	seen, causes := map[Effect]int{}, map[Cause]int{}
	errs, attached, chosen := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		policy := generate(t, true)
		policy["failing.rego"] = failing(t)
		policy["failing_own.rego"] = failingOwn(t)
		s := mustBuild(t, bundleOf(worldData, policy), Options{Deadline: time.Minute})
		for range 30 {
			in := drawFrame(t)
			want, got := decidedByLibrary(t, s, in), s.Decide(context.Background(), in)
			if diff := cmp.Diff(want, got, sameResult); diff != "" {
				t.Fatalf("%s: the library (-) and the plan (+):\n%s\n%s", in.Method, diff, policy)
			}
			if got.Err != nil {
				errs++
			} else {
				seen[got.Effect]++
				causes[got.Cause]++
			}
			if strings.Contains(got.Reason, "not in force") || slices.ContainsFunc(got.Rules, func(r Rule) bool { return strings.HasPrefix(r.Path, "policy.attachments.") }) {
				attached++
			}
			if got.Credential != "" {
				chosen++
			}
			for _, item := range []Item{{Tool: in.Tool}, {Prompt: in.Prompt}, {Resource: in.Resource}} {
				if item != (Item{}) && isListed(t, s, in, item) != listedByLibrary(t, s, in, item) {
					t.Fatalf("%+v is listed only by the library or only by the plan\n%s", item, policy)
				}
			}
		}
	})
	t.Logf("compared: %v by %v, and %d errors; %d by attachments, %d with a credential", seen, causes, errs, attached, chosen)
	if errs == 0 || attached == 0 || chosen == 0 || causes[CauseScope] == 0 {
		t.Error("no generated policy failed, or none has chosen a credential, or asked for a scope, or decided by an attachment")
	}
	for _, effect := range strictness {
		if seen[effect] == 0 {
			t.Errorf("no generated policy decided %v: the comparison does not cover it", effect)
		}
	}
}

// TestPromptPolicies says which policies are evaluated where they are asked.
func TestPromptPolicies(t *testing.T) {
	for source, want := range map[string]bool{
		`allow contains "x" if input.tool.name == "t"`:                          true,
		`allow contains "x" if startswith(input.tool.name, "list_")`:            true,
		`allow contains "x" if input.tool.name in {"a", "b"}`:                   true,
		`allow contains "x" if count([1 | some g in input.subject.groups]) > 1`: true,
		`allow contains "x" if { f(input.tool.name) }
f(x) if lower(x) == x`: true,
		`allow contains "x" if regex.match("a+", input.tool.name)`: false,
		`allow contains sprintf("%v", [input.tool.name]) if true`:  false,
		`allow contains "x" if { f(input.tool.name) }
f(x) if to_number(x) > 1`: false,
		`allow contains "x" if count([1 | some g in numbers.range(1, input.arguments.n)]) > 1`: false,
		`h := [x | x := json.unmarshal("[]")]`:                                                 false,
	} {
		if s := buildOne(t, source); s.prompt != want {
			t.Errorf("%s\nprompt: %v, want %v", source, s.prompt, want)
		}
	}
}

// TestI1_LatePromptEvaluationIsDenied: one that runs where it is asked stops
// soon after its deadline, and denies even if it had found something.
func TestI1_LatePromptEvaluationIsDenied(t *testing.T) {
	s := buildOne(t, `
few := [x | some x in input.arguments.many]
allow contains "found" if {
	some a in few
	some b in few
	some c in few
	a + b + c == -1
}
allow contains "x" if input.tool.name == "t"`)
	if !s.prompt {
		t.Fatal("the policy should be evaluated where it is asked")
	}
	s.deadline = 5 * time.Millisecond
	many := []byte(`{"many":[`)
	for range 2000 {
		many = append(many, "1,"...)
	}
	many = append(many[:len(many)-1], "]}"...)
	if r := s.Decide(t.Context(), callOf("t", string(many))); r.Effect != Deny || !errors.Is(r.Err, errLate) {
		t.Errorf("got %+v", r)
	}
	if n := len(s.slots.workers); n != 0 {
		t.Errorf("%d slots are still taken", n)
	}
}
