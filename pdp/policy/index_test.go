package policy

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/open-policy-agent/opa/v1/topdown"
	"pgregory.net/rapid"
)

// sameResult compares results but for the text of errors.
var sameResult = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(x, y error) bool { return (x == nil) == (y == nil) }),
}

// drawGrant draws none, or one that names attachments.
func drawGrant(t *rapid.T) *Grant {
	names := append([]string{"gone"}, worldAttachments...)
	return rapid.SampledFrom([]*Grant{
		nil,
		{ID: "g", Policies: rapid.SliceOfDistinct(rapid.SampledFrom(worldAttachments), rapid.ID).Draw(t, "attachments")},
		{ID: "g", Policies: rapid.SliceOfN(rapid.SampledFrom(names), 0, 3).Draw(t, "attachments and more")},
	}).Draw(t, "grant")
}

func drawInput(t *rapid.T) *Input {
	in := worldInput(rapid.SampledFrom(worldSubjects).Draw(t, "subject"), rapid.SampledFrom(worldTimes).Draw(t, "time"))
	tool := rapid.SampledFrom(worldTools).Draw(t, "tool")
	in.Tool = &tool
	in.Arguments = rapid.SampledFrom(worldArguments()).Draw(t, "arguments")
	in.Subject.Scopes = rapid.SliceOfDistinct(rapid.SampledFrom(worldScopes), rapid.ID).Draw(t, "scopes")
	in.Grant = drawGrant(t)
	return in
}

// TestRuleIndexChangesNothing decides generated calls under generated policies
// with the rule index on and off, and with all arguments read.
func TestRuleIndexChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := generate(t, true)
		s := mustBuild(t, bundleOf(worldData, policy), Options{Deadline: time.Minute})
		plain := *s
		plain.indexing, plain.reads = false, readEverything
		for range 20 {
			in := drawInput(t)
			if diff := cmp.Diff(s.Decide(context.Background(), in), plain.Decide(context.Background(), in), sameResult); diff != "" {
				t.Fatalf("with the index (-) and without (+):\n%s\n%s", diff, policy)
			}
			item := Item{Tool: in.Tool}
			if isListed(t, s, in, item) != isListed(t, &plain, in, item) {
				t.Fatalf("%s is listed only with or only without the index\n%s", in.Tool.Name, policy)
			}
		}
	})
}

// stepCounter counts the steps of an evaluation.
type stepCounter int

func (*stepCounter) Enabled() bool               { return true }
func (*stepCounter) Config() topdown.TraceConfig { return topdown.TraceConfig{} }
func (n *stepCounter) TraceEvent(topdown.Event)  { *n++ }

func (s *Snapshot) steps(t *testing.T, in *Input, ask func(*evaluation) error) int {
	t.Helper()
	input, err := in.term(s.reads)
	if err != nil {
		t.Fatal(err)
	}
	var n stepCounter
	ev := &evaluation{evaluator: &s.evaluator, options: []func(*topdown.Query){func(q *topdown.Query) { q.WithQueryTracer(&n) }}}
	ev.on(input)
	if err := ask(ev); err != nil {
		t.Fatal(err)
	}
	return int(n)
}

func (s *Snapshot) decisionSteps(t *testing.T, in *Input) int {
	return s.steps(t, in, func(ev *evaluation) error {
		_, err := s.decide(ev, s.courseOf(in))
		return err
	})
}

func (s *Snapshot) listingSteps(t *testing.T, in *Input) int {
	return s.steps(t, in, func(ev *evaluation) error {
		_, err := s.courseOf(in).lists(ev)
		return err
	})
}

// TestDecisionDoesNotGrowWithThePolicy counts the steps of a decision and of a
// listing under 40 and under 10,000 rules: labels and weakening leave the rule
// index alive.
func TestDecisionDoesNotGrowWithThePolicy(t *testing.T) {
	small := mustBuild(t, bundleOf(nil, map[string]string{"s.rego": manyRules(40)}), Options{})
	large := mustBuild(t, bundleOf(nil, map[string]string{"s.rego": manyRules(10000)}), Options{})
	if n := len(large.RuleTable()); n != 10000 {
		t.Fatalf("%d rules, want 10,000", n)
	}
	calls := map[string]*Input{
		"allowed":  callOf("tool7", `{"amount":100}`),
		"approved": callOf("tool7", `{"amount":600}`),
		"denied":   callOf("tool7", `{"amount":6000}`),
		"unknown":  callOf("nothing", `{"amount":1}`),
	}
	calls["hidden"] = callOf("tool7", `{"amount":100}`)
	calls["hidden"].Subject.Type = "agent"
	for name, in := range calls {
		t.Run(name, func(t *testing.T) {
			if got, want := large.decisionSteps(t, in), small.decisionSteps(t, in); got != want {
				t.Errorf("the decision took %d steps under 10,000 rules and %d under 40", got, want)
			}
			if got, want := large.listingSteps(t, in), small.listingSteps(t, in); got != want {
				t.Errorf("the listing took %d steps under 10,000 rules and %d under 40", got, want)
			}
			if diff := cmp.Diff(small.Decide(context.Background(), in), large.Decide(context.Background(), in)); diff != "" {
				t.Errorf("small (-) and large (+) policy:\n%s", diff)
			}
		})
	}
	plain := *large
	plain.indexing = false
	if with, without := large.decisionSteps(t, calls["allowed"]), plain.decisionSteps(t, calls["allowed"]); without < 100*with {
		t.Errorf("%d steps with the index and %d without: the counter does not see what it should", with, without)
	}
}

// TestSnapshotIsSafeForConcurrentUse decides from many goroutines what it has
// decided alone.
func TestSnapshotIsSafeForConcurrentUse(t *testing.T) {
	s := mustBuild(t, bundleOf(worldData, generated{"s.rego": `package policy.servers.s
` + fixedHelpers + `
allow contains sprintf("%v", [input.arguments.a]) if allowance > 0
deny contains grade(input.tool.name) if regex.match("^w.*e$", input.tool.name)
approve contains {"reason": "ask", "approvers": helper_set} if "x" in helper_set
`}), Options{Deadline: time.Minute, Slots: NewSlots(4)})
	var calls []*Input
	var want []Result
	for _, subject := range worldSubjects {
		for _, tool := range worldTools {
			for _, arguments := range worldArguments() {
				in := worldInput(subject, worldTimes[0])
				in.Tool, in.Arguments = &tool, arguments
				calls, want = append(calls, in), append(want, s.Decide(context.Background(), in))
			}
		}
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range calls {
				j := (i + g*37) % len(calls)
				if diff := cmp.Diff(want[j], s.Decide(context.Background(), calls[j]), sameResult); diff != "" {
					t.Errorf("call %d, alone (-) and beside others (+):\n%s", j, diff)
					return
				}
				_, _ = s.List(context.Background(), calls[j], []Item{{Tool: calls[j].Tool}, {Prompt: fmt.Sprint(i)}, {Resource: "file:///x"}})
			}
		})
	}
	wg.Wait()
}
