package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mcpermit/mcpermit/pdp/inert"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// ApprovalsCmd is for the calls that wait for a person.
type ApprovalsCmd struct {
	List    ApprovalsListCmd    `cmd:"" help:"List the calls that wait for a person, newest first."`
	Show    ApprovalsShowCmd    `cmd:"" help:"Show one of them with its exact arguments."`
	Approve ApprovalsApproveCmd `cmd:"" help:"Approve a call: once everybody who has to has done so, it may pass once."`
	Refuse  ApprovalsRefuseCmd  `cmd:"" help:"Refuse a call."`
}

// ApprovalsListCmd is `mcpermit approvals list`.
type ApprovalsListCmd struct {
	All   bool  `help:"Also those that are no longer pending."`
	Limit int32 `default:"100" help:"At most this many." placeholder:"N"`
}

// Run lists the approvals.
func (c *ApprovalsListCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewApprovalServiceClient(conn).ListApprovals(ctx, &v1.ListApprovalsRequest{All: c.All, Limit: c.Limit})
		if err != nil {
			return err
		}
		t := g.table("ID", "STATE", "SUBJECT", "SERVER", "CALL", "NEEDS", "REASON", "EXPIRES")
		for _, a := range res.GetApprovals() {
			v := viewApproval(a)
			t.row(v, v.ID, v.State, inert.Line(v.Subject.ID), v.Server, inert.Line(v.Name), v.needs(), inert.Line(v.Reason), v.ExpiresAt.Local().Format(time.DateTime))
		}
		return t.flush()
	})
}

// ApprovalsShowCmd is `mcpermit approvals show`.
type ApprovalsShowCmd struct {
	ID string `arg:"" help:"Id of the approval."`
}

// Run shows the approval.
func (c *ApprovalsShowCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewApprovalServiceClient(conn).GetApproval(ctx, &v1.GetApprovalRequest{Id: c.ID})
		if err != nil {
			return err
		}
		return g.showApproval(res.GetApproval())
	})
}

// ApprovalsApproveCmd is `mcpermit approvals approve`.
type ApprovalsApproveCmd struct {
	ID     string `arg:"" help:"Id of the approval."`
	Reason string `help:"Why, for the record." placeholder:"TEXT"`
	As     string `help:"Person of the configuration who approves; default the operator, where the configuration names no people." placeholder:"PERSON"`
}

// Run approves the call.
func (c *ApprovalsApproveCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewApprovalServiceClient(conn).ApproveCall(ctx, &v1.ApproveCallRequest{Id: c.ID, Person: c.As, Reason: c.Reason})
		if err != nil {
			return err
		}
		return g.showDecision(res.GetApproval())
	})
}

// ApprovalsRefuseCmd is `mcpermit approvals refuse`.
type ApprovalsRefuseCmd struct {
	ID     string `arg:"" help:"Id of the approval."`
	Reason string `help:"Why; the agent is told it." placeholder:"TEXT"`
	As     string `help:"Person of the configuration who refuses; default the operator, where the configuration names no people." placeholder:"PERSON"`
}

// Run refuses the call.
func (c *ApprovalsRefuseCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewApprovalServiceClient(conn).RefuseCall(ctx, &v1.RefuseCallRequest{Id: c.ID, Person: c.As, Reason: c.Reason})
		if err != nil {
			return err
		}
		return g.showDecision(res.GetApproval())
	})
}

// showDecision says what has come of a vote.
func (g *Globals) showDecision(a *v1.Approval) error {
	v := viewApproval(a)
	return g.print(v, func() {
		call := fmt.Sprintf("%s on %s, by %s", inert.Line(v.Name), v.Server, inert.Line(v.Subject.ID))
		until := v.ExpiresAt.Local().Format(time.DateTime)
		switch v.State {
		case "approved":
			g.line("Approved: %s. The identical call may pass once until %s.", call, until)
		case "refused":
			g.line("Refused: %s. The identical call is refused until %s.", call, until)
		case "pending":
			g.line("Your vote counts: %s. It still needs %s until %s.", call, v.needs(), until)
		default:
			g.line("The approval is %s: %s.", v.State, call)
		}
	})
}

// showApproval writes one approval. What is not ours stays on its line, but the
// arguments, which are indented.
func (g *Globals) showApproval(a *v1.Approval) error {
	v := viewApproval(a)
	return g.print(v, func() {
		g.line("Approval   %s (%s)", v.ID, v.State)
		g.line("Asked by   %s %s under grant %s", v.Subject.Type, inert.Line(v.Subject.ID), v.Grant)
		if v.Owner != "" {
			g.line("Owner      %s", inert.Line(v.Owner))
		}
		g.line("Call       %s %s on %s", v.Method, inert.Line(v.Name), v.Server)
		if v.ToolClass != "" || v.ToolRisk != "" {
			g.line("Tool       class %s, risk %s", cmp.Or(v.ToolClass, "unknown"), cmp.Or(v.ToolRisk, "unknown"))
		}
		g.line("Reason     %s", inert.Line(v.Reason))
		for _, r := range v.Rules {
			g.line("Rule       %s#%s (%s:%d)", r.Path, r.ID, r.File, r.Line)
		}
		for _, r := range v.Requirements {
			g.line("Needs      %d of %s (%d so far)", r.Required, inert.Line(r.who()), r.Given)
		}
		for _, vote := range v.Votes {
			g.line("Vote       %s", vote.text())
		}
		g.line("Created    %s", v.CreatedAt.Local().Format(time.DateTime))
		g.line("%-10s %s", map[bool]string{true: "Expired", false: "Expires"}[v.State == "expired"], v.ExpiresAt.Local().Format(time.DateTime))
		if v.UsedAt != nil {
			g.line("Used       %s by decision %s", v.UsedAt.Local().Format(time.DateTime), v.UsedBy)
		}
		if len(v.Masked) > 0 {
			g.line("Masked     %s", inert.Line(strings.Join(v.Masked, ", ")))
		}
		g.line("Arguments  %s", readable(v.Arguments))
		if v.Responses != "" {
			g.line("Answers    %s", readable(v.Responses))
		}
	})
}

// readable indents JSON, and leaves alone what is none.
func readable(arguments string) string {
	if arguments == "" {
		return "none"
	}
	shown := jsontext.Value(arguments)
	if shown.Indent(jsontext.WithIndentPrefix("           "), jsontext.WithIndent("  "), jsontext.AllowDuplicateNames(true)) != nil {
		return arguments
	}
	return strings.TrimSpace(string(shown))
}
