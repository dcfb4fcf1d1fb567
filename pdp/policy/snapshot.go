package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
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
	answer, err := s.ask(ctx, s.decision, input)
	if err != nil {
		return failure(err)
	}
	result, err := s.result(answer)
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

// List says for each tool (or resource or prompt) whether it is listed: true
// exactly when some arguments could still be allowed or approved. (I4) base is
// the input of the listing request; items carry what differs. A URI template
// is judged as the URI that it is. What goes wrong is not listed. The deadline
// holds for each item.
func (s *Snapshot) List(ctx context.Context, base *Input, items []Item) []bool {
	listed := make([]bool, len(items))
	surroundings, err := base.surroundings()
	if err != nil {
		return listed
	}
	for i, item := range items {
		effect, err := s.list(ctx, surroundings, item)
		listed[i] = err == nil && effect == Allow
	}
	return listed
}

func (s *Snapshot) list(ctx context.Context, surroundings []pair, item Item) (Effect, error) {
	members := slices.Grow(slices.Clip(surroundings), 4) // a copy: the surroundings are shared
	members, err := appendTarget(members, item.method(), item.Tool, item.Resource, item.Prompt)
	if err != nil {
		return Deny, err
	}
	answer, err := s.ask(ctx, s.listing, ast.ObjectTerm(members...))
	if err != nil {
		return Deny, err
	}
	object, ok := answer.(ast.Object)
	if !ok {
		return Deny, fmt.Errorf("listing: %w", errShape)
	}
	return readEffect(object.Get(keyEffect))
}
