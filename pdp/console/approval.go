package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

// approvalView is one call with all that a person needs to decide on it.
type approvalView struct {
	approval.Approval
	Left         string
	Listed       bool // the tool has a definition
	Arguments    arguments
	Responses    arguments // to questions of the server
	Before       *comparison
	Requirements []requirement
	// WhyNot says why the visitor may not decide; empty: may.
	WhyNot string
	// What the visitor had typed, and what was wrong with it.
	Typed   string
	Problem string
}

// requirement is what one rule asks for, and how far it is met.
type requirement struct {
	Approvers       []string
	Given, Required int
}

func (r requirement) Met() bool { return r.Given >= r.Required }

// approvalPage shows the exact call.
func (c *Console) approvalPage(v *visit) error {
	a, err := c.approvals.Get(v.r.Context(), v.r.PathValue("id"))
	if errors.Is(err, approval.ErrNotFound) {
		return notFound("There is no approval of that id.")
	}
	if err != nil {
		return err
	}
	return c.showApproval(v, &a, "", "")
}

func (c *Console) showApproval(v *visit, a *approval.Approval, typed, problem string) error {
	view := approvalView{
		Approval: *a, Left: span(a.ExpiresAt.Sub(c.now())), Listed: a.DefinitionDigest != approval.Digest{},
		Arguments: readable(a.Arguments, a.Masked), Responses: readable(a.Responses, nil), WhyNot: v.mayDecide(a), Typed: typed, Problem: problem,
	}
	for _, r := range a.Requirements {
		view.Requirements = append(view.Requirements, requirement{r.Approvers, r.Given(a.Votes), max(1, r.Required)})
	}
	view.Before = c.compare(v.r.Context(), a, view.Arguments)
	return v.show("approval", view)
}

func (c *Console) approve(v *visit) error { return c.decide(v, c.approvals.Approve, "voted") }

// refuse wants a reason, since the agent is told, and does better with one.
func (c *Console) refuse(v *visit) error {
	if v.form("reason") == "" {
		a, err := c.approvals.Get(v.r.Context(), v.r.PathValue("id"))
		if err == nil {
			v.status = http.StatusUnprocessableEntity
			return c.showApproval(v, &a, "", "Say why you refuse: the agent is told, and can do better.")
		}
		if !errors.Is(err, approval.ErrNotFound) {
			return err
		}
	}
	return c.decide(v, c.approvals.Refuse, "refused")
}

type vote = func(ctx context.Context, id string, by approval.Approver, reason, via string) (approval.Approval, error)

func (c *Console) decide(v *visit, cast vote, done string) error {
	a, err := cast(v.r.Context(), v.r.PathValue("id"), approverOf(v.Person), v.form("reason"), "console")
	switch {
	case errors.Is(err, approval.ErrNotFound):
		return notFound("There is no approval of that id.")
	case errors.Is(err, approval.ErrDecided):
		return &problem{http.StatusConflict, "It was too late: the call is " + a.State.String() + "."}
	case errors.Is(err, approval.ErrTooManyVotes):
		return &problem{http.StatusConflict, "This approval has as many votes as it can hold, and they are not enough. It can only be refused."}
	case errors.Is(err, approval.ErrNotEntitled), errors.Is(err, approval.ErrOwnCall):
		return &problem{http.StatusForbidden, whyNot(err)}
	case errors.Is(err, approval.ErrUnrecorded):
		c.log.ErrorContext(v.r.Context(), "a vote could not be recorded", "approval", v.r.PathValue("id"), "person", v.Person.ID, "error", err)
		return &problem{http.StatusServiceUnavailable, "Your vote could not be recorded, so it was not taken."}
	case err != nil:
		return err
	}
	c.approvalChanges.look()
	if done == "voted" && a.State == approval.Approved {
		done = "approved"
	}
	return v.done("/approvals/"+a.ID, done)
}

// whyNot is why a person may not decide, in words for the person.
func whyNot(err error) string {
	if errors.Is(err, approval.ErrOwnCall) {
		return "This is your own call, or your own agent's: somebody else has to decide on it."
	}
	return "None of the rules that asked names you, or a group of yours, as an approver."
}

// patience is how long a page waits for what it can do without.
const patience = time.Second

// ruleAt is where a rule stands: "stripe.rego:6".
func ruleAt(file string, line int) string {
	if file == "" || line <= 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}
