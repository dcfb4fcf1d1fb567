package console

import (
	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

// inboxLength is how many approvals the inbox shows.
const inboxLength = 200

func (c *Console) approvalRoutes() []route {
	return []route{
		{pattern: "GET /approvals", least: signin.Viewer, serve: c.inboxPage},
	}
}

type inbox struct {
	All  bool
	List []approval.Approval
}

// inboxPage shows the calls that wait.
func (c *Console) inboxPage(v *visit) error {
	all := v.r.URL.Query().Get("all") != ""
	list, err := c.approvals.List(v.r.Context(), inboxLength, all)
	if err != nil {
		return err
	}
	return v.show("approvals", inbox{All: all, List: list})
}
