package main

import (
	"context"
	"strings"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// ApprovalsCmd shows the calls that wait for a person.
type ApprovalsCmd struct {
	List ApprovalsListCmd `cmd:"" help:"List the calls that wait for a person, newest first."`
	Show ApprovalsShowCmd `cmd:"" help:"Show one of them with its exact arguments."`
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
		t := g.table("ID", "STATE", "SUBJECT", "SERVER", "CALL", "REASON", "EXPIRES")
		for _, a := range res.GetApprovals() {
			v := viewApproval(a)
			t.row(v, v.ID, v.State, v.Subject.ID, v.Server, v.Name, v.Reason, v.ExpiresAt.Local().Format(time.DateTime))
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
		v := viewApproval(res.GetApproval())
		return g.print(v, func() {
			g.line("Approval   %s (%s until %s)", v.ID, v.State, v.ExpiresAt.Local().Format(time.DateTime))
			g.line("Asked by   %s %s under grant %s", v.Subject.Type, v.Subject.ID, v.Grant)
			g.line("Call       %s %s on %s", v.Method, v.Name, v.Server)
			g.line("Arguments  %s", v.Arguments)
			g.line("Reason     %s", v.Reason)
			for _, r := range v.Rules {
				g.line("Rule       %s#%s (%s:%d)", r.Path, r.ID, r.File, r.Line)
			}
			g.line("Approvers  %s", strings.Join(v.Approvers, ", "))
		})
	})
}

// approvalView is an approval as the command line shows it. The arguments are
// the very bytes of the call, as text.
type approvalView struct {
	ID        string      `json:"id"`
	State     string      `json:"state"`
	Subject   subjectView `json:"subject"`
	Grant     string      `json:"grant"`
	Server    string      `json:"server"`
	Method    string      `json:"method"`
	Name      string      `json:"name"`
	Arguments string      `json:"arguments"`
	Reason    string      `json:"reason"`
	Rules     []ruleView  `json:"rules"`
	Approvers []string    `json:"approvers,omitempty"`
	CreatedAt time.Time   `json:"created_at"`
	ExpiresAt time.Time   `json:"expires_at"`
}

type ruleView struct {
	Path string `json:"path"`
	ID   string `json:"id,omitempty"`
	File string `json:"file"`
	Line int32  `json:"line"`
}

func viewApproval(a *v1.Approval) approvalView {
	v := approvalView{
		ID:      a.GetId(),
		State:   strings.ToLower(strings.TrimPrefix(a.GetState().String(), "APPROVAL_STATE_")),
		Subject: viewSubject(a.GetSubject()), Grant: a.GetGrantId(),
		Server: a.GetServer(), Method: a.GetMethod(), Name: a.GetName(), Arguments: string(a.GetArguments()),
		Reason:    a.GetReason(),
		CreatedAt: a.GetCreatedAt().AsTime(), ExpiresAt: a.GetExpiresAt().AsTime(),
	}
	for _, r := range a.GetRules() {
		v.Rules = append(v.Rules, ruleView{r.GetPath(), r.GetId(), r.GetFile(), r.GetLine()})
	}
	return v
}
