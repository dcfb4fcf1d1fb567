package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/policy"
)

// findTime bounds the search for one decision. Where the id tells when it was
// made, as ours do, it takes a fraction of that.
const findTime = 10 * time.Second

// decisionView is one decision with everything that is on record of it.
type decisionView struct {
	*audit.Record
	Code      string // the reason code in words
	Rules     []firedRule
	Then      bool // decided by another policy than the one in force
	Arguments arguments
	Document  string // what the policy saw
	NoInput   bool   // no policy was asked
	Quotas    []quotaBar
	Duration  time.Duration
	// Replayable: the playground can take it as it is.
	Replayable bool
}

// firedRule is a rule with its source, where that is known.
type firedRule struct {
	audit.Rule
	Source sourcePart
}

func (c *Console) decisionPage(v *visit) error {
	r, err := c.findDecision(v.r.Context(), v.r.PathValue("id"))
	if err != nil {
		return err
	}
	view := decisionView{Record: r, Code: reasonWords[r.ReasonCode], Arguments: readable(r.Arguments, nil)}
	view.Arguments.Masked = len(r.Masked) > 0
	view.Rules, view.Then = c.firedRules(r)
	for _, q := range r.Quota {
		view.Quotas = append(view.Quotas, newQuotaBar(q.Name, q.Used, q.Limit, q.Reset))
	}
	if o := r.Outcome; o != nil {
		view.Duration = time.Duration(o.DurationUS) * time.Microsecond
	}
	document, err := pdp.DocumentOf(r)
	switch {
	case errors.Is(err, pdp.ErrNotByPolicy):
		view.NoInput = true
	case err != nil:
		c.log.WarnContext(v.r.Context(), "the input of a recorded decision can't be shown", "decision", r.DecisionID, "error", err)
	default:
		view.Document = indented(document)
	}
	_, err = pdp.InputOf(r)
	view.Replayable = err == nil
	return v.show("decision", view)
}

// findDecision looks for a decision, for as long as a page may take. The error
// is for the visitor.
func (c *Console) findDecision(ctx context.Context, id string) (*audit.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	r, err := c.trail.Find(ctx, id)
	switch {
	case errors.Is(err, audit.ErrNotFound):
		return nil, notFound("There is no decision of that id on record. Look for it by subject, tool or time under Decisions.")
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &problem{http.StatusGatewayTimeout, "The trail is long and that decision was not found in time. Look for it by time under Decisions, or with mcpermit audit query."}
	}
	return r, err
}

// firedRules are the rules of a record, with their source where the policy that
// decided is the one in force.
func (c *Console) firedRules(r *audit.Record) (rules []firedRule, then bool) {
	var files []policy.File
	if p := c.policy.Current(); r.Policy != nil && p != nil && p.Revision().Digest == r.Policy.Digest {
		files = p.Files()
	} else {
		then = r.Policy != nil
	}
	for _, rule := range r.Rules {
		rules = append(rules, firedRule{rule, ruleSource(files, rule.File, rule.Line)})
	}
	return rules, then
}

// reasonWords say what a reason code means.
var reasonWords = map[string]string{
	"policy":             "a rule of the policy",
	"no_match":           "no rule spoke, so the default holds",
	"unauthenticated":    "no token was sent",
	"invalid_token":      "the token is no grant's",
	"expired_token":      "the grant has expired",
	"revoked_token":      "the grant was revoked",
	"server_not_granted": "the grant is not for this server",
	"tool_not_granted":   "the grant is not for this tool",
	"malformed":          "the frame could not be read in one way only",
	"invalid_arguments":  "the arguments do not fit the tool's schema",
	"policy_error":       "the policy could not decide",
	"no_policy":          "no policy was in force",
	"unknown_target":     "the server lists no such thing",
	"audit_unavailable":  "the audit trail could not be written",
	"pdp_unavailable":    "the decision point did not answer in time",
	"obligation":         "an obligation could not be carried out",
	"drift":              "the tool's definition is not the pinned one",
	"approval_required":  "a person has to approve it first",
	"overloaded":         "there was not enough time to decide",
	"quota_exceeded":     "a quota has no room",
	"quota_cost":         "what the call costs is no amount",
	"quota_unavailable":  "the quotas could not be counted",
	"approval_refused":   "a person has refused it",
	"approval_state":     "its approval is not for this call, or not good any more",
}
