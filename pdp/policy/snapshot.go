package policy

import "context"

// Revision names a snapshot's policy.
type Revision struct {
	Revision string // the bundle manifest's revision, or ""
	Digest   string // "sha256:…" over the content
}

// Snapshot is one policy, ready to decide. It is immutable and safe for
// concurrent use.
type Snapshot struct {
	revision Revision
	table    []EffectRule
}

// Revision returns what the snapshot is called.
func (s *Snapshot) Revision() Revision { return s.revision }

// Decide evaluates one frame. It never fails: what goes wrong is a Result that
// denies. ctx bounds the evaluation beside the configured deadline.
func (s *Snapshot) Decide(ctx context.Context, in *Input) Result { return Result{} }

// List says for each tool (or resource or prompt) whether it is listed: true
// exactly when some arguments could still be allowed or approved. base is
// the input of the listing request; items carry what differs.
func (s *Snapshot) List(ctx context.Context, base *Input, items []Item) []bool {
	return make([]bool, len(items))
}

// Item is one entry of a listing; exactly one field is set.
type Item struct {
	Tool     *Tool
	Resource string // URI or URI template
	Prompt   string
}
