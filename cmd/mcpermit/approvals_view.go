package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/inert"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// approvalView is an approval as the command line shows it. The arguments are
// the very bytes of the call, as text, but for what the policy masks.
type approvalView struct {
	ID           string            `json:"id"`
	State        string            `json:"state"`
	Subject      subjectView       `json:"subject"`
	Owner        string            `json:"owner,omitempty"`
	Grant        string            `json:"grant"`
	Server       string            `json:"server"`
	Method       string            `json:"method"`
	Name         string            `json:"name"`
	ToolClass    string            `json:"tool_class,omitempty"`
	ToolRisk     string            `json:"tool_risk,omitempty"`
	Arguments    string            `json:"arguments"`
	Responses    string            `json:"input_responses,omitempty"`
	Masked       []string          `json:"masked,omitempty"`
	Reason       string            `json:"reason"`
	Rules        []ruleView        `json:"rules"`
	Requirements []requirementView `json:"requirements"`
	Votes        []voteView        `json:"votes,omitempty"`
	OpenedBy     string            `json:"opened_by,omitempty"`
	UsedBy       string            `json:"used_by,omitempty"`
	CreatedAt    time.Time         `json:"created_at"`
	ExpiresAt    time.Time         `json:"expires_at"`
	DecidedAt    *time.Time        `json:"decided_at,omitempty"`
	UsedAt       *time.Time        `json:"used_at,omitempty"`
}

type ruleView struct {
	Path string `json:"path"`
	ID   string `json:"id,omitempty"`
	File string `json:"file"`
	Line int32  `json:"line"`
}

type requirementView struct {
	Approvers []string `json:"approvers,omitempty"` // none: every approver
	Required  int32    `json:"required"`
	Given     int32    `json:"given"`
}

type voteView struct {
	Person   string    `json:"person"`
	Groups   []string  `json:"groups,omitempty"`
	At       time.Time `json:"at"`
	Approved bool      `json:"approved"`
	Reason   string    `json:"reason,omitempty"`
	Via      string    `json:"via,omitempty"`
}

func viewApproval(a *v1.Approval) approvalView {
	v := approvalView{
		ID:      a.GetId(),
		State:   enumText(a.GetState().String(), "APPROVAL_STATE_"),
		Subject: viewSubject(a.GetSubject()), Owner: a.GetOwner(), Grant: a.GetGrantId(),
		Server: a.GetServer(), Method: a.GetMethod(), Name: a.GetName(), ToolClass: a.GetToolClass(), ToolRisk: a.GetToolRisk(),
		Arguments: string(a.GetArguments()), Masked: a.GetMasked(), Reason: a.GetReason(),
		OpenedBy: a.GetOpenedBy(), UsedBy: a.GetUsedBy(), CreatedAt: a.GetCreatedAt().AsTime(), ExpiresAt: a.GetExpiresAt().AsTime(),
		DecidedAt: moment(a.GetDecidedAt()), UsedAt: moment(a.GetUsedAt()),
	}
	if len(a.GetInputResponses()) > 0 {
		v.Responses = string(audit.Mask(a.GetInputResponses(), nil))
	}
	if len(v.Masked) > 0 {
		v.Arguments = string(audit.Mask(a.GetArguments(), v.Masked))
	}
	for _, r := range a.GetRules() {
		v.Rules = append(v.Rules, ruleView{r.GetPath(), r.GetId(), r.GetFile(), r.GetLine()})
	}
	for _, vote := range a.GetVotes() {
		v.Votes = append(v.Votes, voteView{vote.GetPerson(), vote.GetGroups(), vote.GetAt().AsTime(), vote.GetApproved(), vote.GetReason(), vote.GetVia()})
	}
	for _, r := range a.GetRequirements() {
		v.Requirements = append(v.Requirements, requirementView{r.GetApprovers(), r.GetRequired(), r.GetGiven()})
	}
	return v
}

// needs is how many votes of whom are still missing.
func (v approvalView) needs() string {
	var parts []string
	for _, r := range v.Requirements {
		if missing := r.Required - r.Given; missing > 0 {
			parts = append(parts, fmt.Sprintf("%d of %s", missing, inert.Line(r.who())))
		}
	}
	if len(parts) == 0 || v.State != "pending" {
		return "-"
	}
	return strings.Join(parts, ", ")
}

func (r requirementView) who() string {
	if len(r.Approvers) == 0 {
		return "any approver"
	}
	return strings.Join(r.Approvers, " or ")
}

func (v voteView) text() string {
	done := "refused"
	if v.Approved {
		done = "approved"
	}
	about := strings.Join(slices.DeleteFunc([]string{v.At.Local().Format(time.DateTime), v.Via}, func(s string) bool { return s == "" }), ", ")
	text := fmt.Sprintf("%s %s (%s)", inert.Line(v.Person), done, about)
	if v.Reason != "" {
		text += ": " + inert.Line(v.Reason)
	}
	return text
}
