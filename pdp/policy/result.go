package policy

import "time"

// Rule is one rule that fired.
type Rule struct {
	Path   string // "policy.servers.stripe.deny"
	ID     string // custom.id of its annotations, or ""
	Title  string
	File   string // path in the bundle
	Line   int    // 1-based line of the rule's head
	Reason string // the reason, scope or credential that this rule gave
}

// Approval is what an approve rule asks for.
type Approval struct {
	Approvers []string
	Required  int           // how many of them; at least 1
	Expires   time.Duration // how long the call may wait; 0 for the default
	Valid     time.Duration // how long an approval is good; 0 for the default
}

// Quota is one member of the winning `quota` set; pdp/quota counts it.
type Quota struct {
	Name  string
	Limit string // exact decimal
	// Cost is what the call costs, an exact decimal as it was written; "" where
	// the rule gives no cost: then the quota counts calls.
	Cost string
	// CostFault says why what the rule gives as the cost is no amount ("is
	// missing", "is negative"): the call must be refused.
	CostFault string
	Window    string // Go duration, or a unit of the calendar
	Timezone  string // of the calendar; "" is UTC
	Burst     string // exact decimal; "" where there is none
	Per       []string
	Key       string // canonical JSON (RFC 8785); "" where the rule gives none
}

// Result is what a snapshot says of one input. The zero value denies.
type Result struct {
	Effect Effect
	Cause  Cause
	Reason string // of the first winning rule, in the order of Rules
	Rules  []Rule // every rule that fired in the effect that won, sorted; with CauseScope those of `scope`
	// Approvals are what the approve rules that fired ask for, without
	// repetition and in the order of Rules. Every one has to be satisfied.
	Approvals []Approval
	Quotas    []Quota
	// Scopes are all scopes that the call needs, sorted, with CauseScope.
	Scopes []string
	// Credential is which of the server's credentials the call carries, if it may
	// pass; "" is the server's default.
	Credential string
	Mask       []string // JSON pointers into the arguments that the audit record must not show
	Err        error    // for the log, with CauseError
}

// WinningSet is the set that the rules which decided belong to: "scope" where an
// access token lacks one, and otherwise that of the effect.
func (r *Result) WinningSet() string {
	if r.Cause == CauseScope {
		return setScope
	}
	return r.Effect.String()
}
