package policy

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
	Required  int    // how many of them; at least 1
	Expires   string // Go duration, "" for the default
}

// Quota is one member of the winning `quota` set; pdp/quota enforces it.
type Quota struct {
	Name   string
	Limit  string // exact decimal
	Cost   string // exact decimal; "1" when not given
	Window string // Go duration
	Per    []string
}

// Result is what a snapshot says of one input. The zero value denies.
type Result struct {
	Effect Effect
	Cause  Cause
	Reason string // of the first winning rule, in the order of Rules
	Rules  []Rule // every rule that fired in the effect that won, sorted
	// Approval is the first of Approvals, nil unless the effect is Approve.
	Approval *Approval
	// Approvals are what the approve rules that fired ask for, without
	// repetition and in the order of Rules. Every one has to be satisfied.
	Approvals []Approval
	Quotas    []Quota
	Mask      []string // JSON pointers into the arguments that the audit record must not show
	Err       error    // for the log, with CauseError
}
