package main

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// grantView is a grant as the command line shows it.
type grantView struct {
	ID          string            `json:"id"`
	Token       string            `json:"token,omitempty"`
	State       string            `json:"state"`
	Subject     subjectView       `json:"subject"`
	Owner       string            `json:"owner,omitempty"`
	Servers     []string          `json:"servers"`
	Tools       []string          `json:"tools,omitempty"`
	Classes     []string          `json:"classes,omitempty"`
	Policies    []string          `json:"policies,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	BoundTo     []string          `json:"bound_to,omitempty"`
	Held        bool              `json:"held,omitempty"`
	MaxUses     int64             `json:"max_uses,omitempty"`
	Uses        int64             `json:"uses,omitempty"`
	Parent      string            `json:"parent_id,omitempty"`
	Above       []string          `json:"above,omitempty"` // nearest first; of show
	Below       int               `json:"below,omitempty"` // right below; of show
	Delegations int32             `json:"delegations,omitempty"`
	CreatedAt   time.Time         `json:"created_at"`
	NotBefore   *time.Time        `json:"not_before,omitempty"`
	ExpiresAt   *time.Time        `json:"expires_at,omitempty"`
	RotatedAt   *time.Time        `json:"rotated_at,omitempty"`
	RevokedAt   *time.Time        `json:"revoked_at,omitempty"`
	LastUsedAt  *time.Time        `json:"last_used_at,omitempty"`
	Calls       int64             `json:"calls"`
	Denials     int64             `json:"denials"`
}

type subjectView struct {
	ID     string   `json:"id"`
	Type   string   `json:"type"`
	Groups []string `json:"groups,omitempty"`
}

func viewSubject(s *v1.Subject) subjectView {
	return subjectView{ID: s.GetId(), Type: s.GetType(), Groups: s.GetGroups()}
}

func viewGrant(g *v1.Grant) grantView {
	return grantView{
		ID: g.GetId(), State: grantState(g, time.Now()), Subject: viewSubject(g.GetSubject()), Owner: g.GetOwner(),
		Servers: g.GetServers(), Tools: g.GetTools(), Classes: g.GetClasses(), Policies: g.GetPolicies(), Labels: g.GetLabels(),
		BoundTo: g.GetBoundTo(), Held: g.GetHeld(), MaxUses: g.GetMaxUses(), Uses: g.GetUses(),
		Parent: g.GetParentId(), Delegations: g.GetDelegations(),
		CreatedAt: g.GetCreatedAt().AsTime(), NotBefore: moment(g.GetNotBefore()), ExpiresAt: moment(g.GetExpiresAt()),
		RotatedAt: moment(g.GetRotatedAt()), RevokedAt: moment(g.GetRevokedAt()),
		LastUsedAt: moment(g.GetLastUsedAt()), Calls: g.GetCalls(), Denials: g.GetDenials(),
	}
}

func grantState(g *v1.Grant, now time.Time) string {
	switch {
	case g.GetRevokedAt() != nil:
		return "revoked"
	case g.GetExpiresAt() != nil && !g.GetExpiresAt().AsTime().After(now):
		return "expired"
	case g.GetNotBefore() != nil && now.Before(g.GetNotBefore().AsTime()):
		return "upcoming"
	case g.GetMaxUses() > 0 && g.GetUses() >= g.GetMaxUses():
		return "used up"
	}
	return "active"
}

func (v grantView) toolText() string {
	if len(v.Tools) == 0 {
		return "every tool"
	}
	return strings.Join(v.Tools, ",")
}

func (v grantView) expiryText() string { return dateText(v.ExpiresAt) }

// dateText is a time as tables show it.
func dateText(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.Local().Format(time.DateTime)
}

func moment(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}
