package policy

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Revision names a snapshot's policy.
type Revision struct {
	Revision string // the bundle manifest's revision, or ""
	Digest   string // "sha256:…" over the content
}

// Snapshot is one policy, ready to decide. It is immutable and safe for
// concurrent use.
type Snapshot struct {
	evaluator
	revision Revision
	table    []EffectRule
	files    []File
}

// Revision returns what the snapshot is called.
func (s *Snapshot) Revision() Revision { return s.revision }

// Decide evaluates one frame. It never fails: what goes wrong is a Result that
// denies. ctx bounds the evaluation beside the configured deadline. in is not
// used after Decide has returned.
func (s *Snapshot) Decide(ctx context.Context, in *Input) Result {
	input, err := in.term(s.reads)
	if err != nil {
		return failure(err)
	}
	course := s.courseOf(in)
	result, err := run(ctx, &s.evaluator, s.deadline, func(ev *evaluation) (Result, error) {
		ev.on(input)
		return s.decide(ev, course)
	})
	if err != nil {
		return failure(err)
	}
	return result
}

// failure is the result of what went wrong.
func failure(err error) Result {
	r := Result{Err: err}
	if errors.Is(err, errOverload) {
		r.Cause = CauseOverload
	}
	return r
}

// Item is one entry of a listing; exactly one field is set.
type Item struct {
	Tool     *Tool
	Resource string // URI or URI template
	Prompt   string
}

// method is what the entry would be used with.
func (i Item) method() string {
	switch {
	case i.Tool != nil:
		return "tools/call"
	case i.Prompt != "":
		return "prompts/get"
	default:
		return "resources/read"
	}
}

// itemsPerDeadline is how many entries of a listing share one deadline.
const itemsPerDeadline = 25

// List says for each tool (or resource or prompt) whether it is listed: true
// exactly when some arguments could still be allowed or approved, with the scopes
// that the call needs. (I4) Nothing is listed under a grant that names an
// attachment which the policy does not have. base is
// the input of the listing request; items carry what differs. A URI template
// is judged as the URI that it is. An entry for which the policy fails is not
// listed. An error means that nothing is known: mostly, that there was not enough
// time. items are not used after List has returned.
func (s *Snapshot) List(ctx context.Context, base *Input, items []Item) ([]bool, error) {
	inputs, err := s.inputs(base, items)
	if err != nil {
		return nil, err
	}
	course := s.courseOf(base)
	deadline := s.deadline * time.Duration(1+len(items)/itemsPerDeadline)
	return run(ctx, &s.evaluator, deadline, func(ev *evaluation) ([]bool, error) {
		listed := make([]bool, len(inputs))
		for i, input := range inputs {
			if input == nil {
				continue
			}
			ev.on(input)
			is, err := course.lists(ev)
			if topdown.IsCancel(err) {
				return nil, errLate
			}
			listed[i] = is && err == nil
		}
		return listed, nil
	})
}

// inputs are the documents with which the entries are asked for; nil for an
// entry that has none.
func (s *Snapshot) inputs(base *Input, items []Item) ([]*ast.Term, error) {
	surroundings, err := base.surroundings(s.reads)
	if err != nil {
		return nil, err
	}
	inputs := make([]*ast.Term, len(items))
	for i, item := range items {
		members := slices.Grow(slices.Clip(surroundings), 4) // a copy: the surroundings are shared
		members, err := appendTarget(members, s.reads, item.method(), item.Tool, item.Resource, item.Prompt)
		if err == nil {
			inputs[i] = ast.ObjectTerm(members...)
		}
	}
	return inputs, nil
}
