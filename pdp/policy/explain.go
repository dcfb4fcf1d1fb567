package policy

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Explanation is a decision with everything that led to it. It is for people:
// making one costs several times the decision.
type Explanation struct {
	Result Result
	// Fired is every rule that fired, also in the effects that lost: hide, deny,
	// approve, allow, scope, credential, and the rules of each in the order of
	// Result.Rules.
	Fired []FiredRule
	// Listed says whether the target of the frame is listed; false where the
	// frame has none.
	Listed bool
	// Trace is OPA's trace of the evaluation of the authors' rules, one step a
	// line: file and line, what was done, and with what.
	Trace string
}

// FiredRule is a rule that fired, and the set to which it gave something.
type FiredRule struct {
	Set string // "hide", "deny", "approve", "allow", "scope" or "credential"
	Rule
}

// Qualifies says that the rule has no effect of its own: it says what a call needs,
// or carries, that passes.
func (r FiredRule) Qualifies() bool { return r.Set == setScope || r.Set == setCredential }

var explainedSets = []string{setHide, setDeny, setApprove, setAllow, setScope, setCredential}

// explainDeadline takes the place of the deadline of decisions, which a traced
// evaluation would not keep.
const explainDeadline = 10 * time.Second

// Explain decides in as Decide does and says why. Like Decide it never fails;
// an evaluation error is in Result.Err, and the trace ends where it happened.
func (s *Snapshot) Explain(ctx context.Context, in *Input) Explanation {
	input, err := in.term(readEverything)
	if err != nil {
		return Explanation{Result: failure(err)}
	}
	var ex Explanation
	tracer := &authorsTracer{}
	answer, err := run(ctx, &s.evaluator, explainDeadline, func(ev *evaluation) (ast.Value, error) {
		ev.on(input)
		ev.options = append(ev.options, func(q *topdown.Query) { q.WithQueryTracer(tracer) })
		return ev.value(s.explanation)
	})
	if !isLate(err) { // otherwise the evaluation may still write to the tracer
		var trace strings.Builder
		topdown.PrettyTraceWithLocation(&trace, tracer.events)
		ex.Trace = trace.String()
	}
	if err != nil {
		ex.Result = failure(err)
		return ex
	}
	if ex.Result, ex.Fired, err = s.explained(answer); err != nil {
		ex.Result = failure(err)
	}
	ex.Listed = s.targetListed(ctx, in)
	return ex
}

// explained reads the value of data.mcpermit.explanation.
func (s *Snapshot) explained(answer ast.Value) (Result, []FiredRule, error) {
	object, ok := answer.(ast.Object)
	if !ok {
		return Result{}, nil, errShape
	}
	var all []FiredRule
	for _, set := range explainedSets {
		members, ok := setOf(object.Get(ast.StringTerm(set)))
		if !ok {
			return Result{}, nil, errShape
		}
		rules, err := s.readFired(members, set)
		if err != nil {
			return Result{}, nil, err
		}
		for _, f := range rules {
			all = append(all, FiredRule{Set: set, Rule: f.rule})
		}
	}
	decision := object.Get(ast.StringTerm("decision"))
	if decision == nil {
		return Result{}, nil, errShape
	}
	result, err := s.result(decision.Value)
	return result, slices.Clip(all), err
}

func (s *Snapshot) targetListed(ctx context.Context, in *Input) bool {
	item := Item{Tool: in.Tool, Resource: in.Resource, Prompt: in.Prompt}
	if item == (Item{}) {
		return false
	}
	listed, err := s.List(ctx, in, []Item{item})
	return err == nil && listed[0]
}

// authorsTracer keeps the steps that are not the policy library's own.
type authorsTracer struct{ events []*topdown.Event }

// traceSteps is as many steps as are kept: the first ones.
const traceSteps = 50_000

func (*authorsTracer) Enabled() bool { return true }

func (*authorsTracer) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

func (t *authorsTracer) TraceEvent(event topdown.Event) {
	if event.Location == nil || len(t.events) == traceSteps {
		return
	}
	if _, own := libraryModules()[event.Location.File]; !own {
		t.events = append(t.events, &event)
	}
}
