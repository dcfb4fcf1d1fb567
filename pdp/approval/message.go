package approval

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

var states = map[State]mcpermitv1.ApprovalState{
	Pending:  mcpermitv1.ApprovalState_APPROVAL_STATE_PENDING,
	Approved: mcpermitv1.ApprovalState_APPROVAL_STATE_APPROVED,
	Refused:  mcpermitv1.ApprovalState_APPROVAL_STATE_REFUSED,
	Used:     mcpermitv1.ApprovalState_APPROVAL_STATE_USED,
	Expired:  mcpermitv1.ApprovalState_APPROVAL_STATE_EXPIRED,
}

func toProto(a *Approval) *mcpermitv1.Approval {
	p := &mcpermitv1.Approval{
		Id:              a.ID,
		State:           states[a.State],
		Subject:         &mcpermitv1.Subject{Id: a.Subject.ID, Type: a.Subject.Type, Groups: a.Subject.Groups},
		GrantId:         a.GrantID,
		Server:          a.Server,
		Method:          a.Method,
		Name:            a.Name,
		Arguments:       a.Arguments,
		ArgumentsDigest: a.ArgumentsDigest[:],
		InputResponses:  a.Responses,
		Reason:          a.Reason,
		Policy:          &mcpermitv1.PolicyRevision{Revision: a.Policy.Revision, Digest: a.Policy.Digest},
		Owner:           a.Owner,
		ToolClass:       a.ToolClass,
		ToolRisk:        a.ToolRisk,
		Masked:          a.Masked,
		OpenedBy:        a.OpenedBy,
		UsedBy:          a.UsedBy,
		CreatedAt:       toTimestamp(a.CreatedAt),
		ExpiresAt:       toTimestamp(a.ExpiresAt),
		DecidedAt:       toTimestamp(a.DecidedAt),
		UsedAt:          toTimestamp(a.UsedAt),
	}
	if a.DefinitionDigest != (Digest{}) {
		p.DefinitionDigest = a.DefinitionDigest[:]
	}
	for _, r := range a.Rules {
		p.Rules = append(p.Rules, &mcpermitv1.MatchedRule{
			Path: r.Path, Id: r.ID, File: r.File, Line: int32(r.Line), Title: r.Title, Reason: r.Reason,
		})
	}
	for _, r := range a.Requirements {
		p.Requirements = append(p.Requirements, &mcpermitv1.ApprovalRequirement{Approvers: r.Approvers, Required: int32(r.Required), Given: int32(r.Given(a.Votes))})
	}
	for _, v := range a.Votes {
		p.Votes = append(p.Votes, &mcpermitv1.ApprovalVote{
			Person: v.Person, Groups: v.Groups, At: toTimestamp(v.At), Approved: v.Approved, Reason: v.Reason, Via: v.Via,
		})
	}
	return p
}

func toTimestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
