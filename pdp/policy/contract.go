package policy

import "context"

// Effect is the outcome of a decision. The zero value denies.
type Effect uint8

const (
	Deny Effect = iota
	Hide
	Approve
	Allow
)

// Cause says why a result is what it is; it becomes the API's ReasonCode.
type Cause uint8

const (
	CauseError   Cause = iota // evaluation error, timeout, ill-typed answer
	CauseRule                 // rules fired
	CauseNoMatch              // nothing fired: the default
	CauseOverload             // no evaluation slot in time
)

// Rule is one rule that fired.
type Rule struct {
	Path   string // "policy.servers.stripe.deny"
	ID     string // custom.id of its annotations, or ""
	Title  string
	File   string // path in the bundle
	Line   int    // 1-based line of the rule's head
	Reason string // the reason that this rule gave
}

// Approval is what an approve rule asks for.
type Approval struct {
	Approvers []string
	Required  int
	Expires   string // Go duration, "" for the default
}

// Quota is one member of the winning `quota` set; pdp/quota enforces it.
type Quota struct {
	Name   string
	Limit  string // exact decimal
	Cost   string // exact decimal; "1" when not given
	Window string
	Per    []string
}

// Result is what a snapshot says of one input. The zero value denies.
type Result struct {
	Effect   Effect
	Cause    Cause
	Reason   string // of the first winning rule, in the order of Rules
	Rules    []Rule // every rule that fired in the effect that won, sorted
	Approval *Approval
	Quotas   []Quota
	Mask     []string // JSON pointers into the arguments that the audit record must not show
	Err      error    // for the log, with CauseError
}

// Revision names a snapshot's policy.
type Revision struct {
	Revision string // the bundle manifest's revision, or ""
	Digest   string // "sha256:…" over the content
}

// Snapshot is one policy, ready to decide. It is immutable and safe for
// concurrent use.
type Snapshot struct{ revision Revision }

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
