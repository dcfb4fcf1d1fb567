package console

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

// inboxLength is how many approvals the inbox shows.
const inboxLength = 200

func (c *Console) approvalRoutes() []route {
	return []route{
		{pattern: "GET /approvals", least: signin.Viewer, serve: c.inboxPage},
		{pattern: "GET /approvals/events", least: signin.Viewer, stream: true, serve: c.approvalEvents},
		{pattern: "GET /approvals/{id}", least: signin.Viewer, serve: c.approvalPage},
		{pattern: "POST /approvals/{id}/approve", least: signin.Approver, serve: c.approve},
		{pattern: "POST /approvals/{id}/refuse", least: signin.Approver, serve: c.refuse},
	}
}

type inbox struct {
	All  bool
	List []waiting
	// Mine is how many of them wait for the visitor.
	Mine int
	Full bool
}

// waiting is one call in the inbox.
type waiting struct {
	approval.Approval
	Left  string
	Votes string
	// Mine: the visitor's vote is missing.
	Mine bool
}

// inboxPage shows the calls that wait, or with all also those that did.
func (c *Console) inboxPage(v *visit) error {
	page := inbox{All: v.r.URL.Query().Get("all") != ""}
	list, err := c.approvals.List(v.r.Context(), inboxLength, page.All)
	if err != nil {
		return err
	}
	for _, a := range list {
		w := waiting{Approval: a, Left: span(a.ExpiresAt.Sub(c.now())), Votes: votesOf(&a), Mine: v.mayDecide(&a) == ""}
		if w.Mine {
			page.Mine++
		}
		page.List = append(page.List, w)
	}
	page.Full = len(list) == inboxLength
	return v.show("approvals", page)
}

// votesOf is "1 of 2", for the requirement that lacks most.
func votesOf(a *approval.Approval) string {
	given, required := 0, 1
	for i, r := range a.Requirements {
		g, n := r.Given(a.Votes), max(1, r.Required)
		if i == 0 || n-g > required-given {
			given, required = g, n
		}
	}
	return fmt.Sprintf("%d of %d", min(given, required), required)
}

// mayDecide says, in words for the visitor, why not; nothing where the
// visitor's vote is missing.
func (v *visit) mayDecide(a *approval.Approval) string {
	if v.Person.Role < signin.Approver {
		return "You are signed in as a viewer, so you can look but not decide."
	}
	switch err := a.Entitles(approverOf(v.Person)); {
	case a.State != approval.Pending:
		return "It is " + a.State.String() + "; there is nothing left to decide."
	case err == nil && a.Voted(v.Person.ID, true):
		return "You have approved it. It waits for others."
	case err == nil:
		return ""
	default:
		return whyNot(err)
	}
}

// approvalEvents tells a page whenever an approval has changed.
func (c *Console) approvalEvents(v *visit) error { return v.stream(c.approvalChanges) }

// lookAtApprovals is a digest of what the pages show of the newest approvals.
func (c *Console) lookAtApprovals(ctx context.Context) (signin.Digest, error) {
	list, err := c.approvals.List(ctx, inboxLength, true)
	if err != nil {
		return signin.Digest{}, err
	}
	h := sha256.New()
	for i := range list {
		a := &list[i]
		fmt.Fprintf(h, "%s %s %d %d %s\n", a.ID, a.State, len(a.Votes), len(a.Requirements), a.ExpiresAt.Format(time.RFC3339Nano))
	}
	return signin.Digest(h.Sum(nil)), nil
}
