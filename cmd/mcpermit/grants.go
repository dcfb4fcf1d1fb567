package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// GrantsCmd administers grants: scoped, expiring, revocable permissions whose
// token is what a client sends.
type GrantsCmd struct {
	Create GrantsCreateCmd `cmd:"" help:"Create a grant and print its token, once."`
	List   GrantsListCmd   `cmd:"" help:"List the grants in force, newest first."`
	Show   GrantsShowCmd   `cmd:"" help:"Show one grant."`
	Revoke GrantsRevokeCmd `cmd:"" help:"Revoke a grant; the next call under it is refused."`
}

// GrantsCreateCmd is `mcpermit grants create`.
type GrantsCreateCmd struct {
	Subject string            `required:"" help:"On whose behalf: the id of a person, agent or workload." placeholder:"ID"`
	Type    string            `default:"agent" enum:"person,agent,workload" help:"What the subject is: person, agent or workload."`
	Group   []string          `help:"Group of the subject, for policy; repeatable." placeholder:"NAME"`
	Owner   string            `help:"Person to whom the subject belongs, who may not approve its calls." placeholder:"PERSON"`
	Server  []string          `required:"" help:"Server that the grant covers, or * for all; repeatable." placeholder:"NAME"`
	Tool    []string          `help:"Tools that the grant covers, as a glob such as 'list_*'; repeatable. Default: every tool." placeholder:"GLOB"`
	Label   map[string]string `help:"Label for policy (input.grant.labels) and audit; repeatable." placeholder:"K=V"`
	Expires time.Duration     `default:"24h" help:"How long the grant is good for; 0 for ever." placeholder:"DURATION"`
}

// Run creates the grant.
func (c *GrantsCreateCmd) Run(g *Globals) error {
	req := &v1.CreateGrantRequest{
		Subject: &v1.Subject{Id: c.Subject, Type: c.Type, Groups: c.Group}, Owner: c.Owner,
		Servers: c.Server, Tools: c.Tool, Labels: c.Label,
	}
	if c.Expires < 0 {
		return misuse("--expires must not be negative")
	}
	if c.Expires > 0 {
		req.ExpiresAt = timestamppb.New(time.Now().Add(c.Expires))
	}
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewGrantServiceClient(conn).CreateGrant(ctx, req)
		if err != nil {
			return err
		}
		view := viewGrant(res.GetGrant())
		view.Token = res.GetToken()
		return g.print(view, func() {
			g.line("Grant   %s", view.ID)
			g.line("Token   %s", view.Token)
			g.line("Covers  %s on %s until %s", view.toolText(), strings.Join(view.Servers, ", "), view.expiryText())
			g.line("\nThe token is not shown again. Clients send it as `Authorization: Bearer TOKEN`.")
		})
	})
}

// GrantsListCmd is `mcpermit grants list`.
type GrantsListCmd struct {
	All   bool  `help:"Also expired and revoked ones."`
	Limit int32 `default:"100" help:"At most this many." placeholder:"N"`
}

// Run lists the grants.
func (c *GrantsListCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewGrantServiceClient(conn).ListGrants(ctx, &v1.ListGrantsRequest{All: c.All, Limit: c.Limit})
		if err != nil {
			return err
		}
		t := g.table("ID", "SUBJECT", "OWNER", "SERVERS", "TOOLS", "EXPIRES", "STATE")
		for _, grant := range res.GetGrants() {
			v := viewGrant(grant)
			t.row(v, v.ID, v.Subject.ID, v.Owner, strings.Join(v.Servers, ","), v.toolText(), v.expiryText(), v.State)
		}
		return t.flush()
	})
}

// GrantsShowCmd is `mcpermit grants show`.
type GrantsShowCmd struct {
	ID string `arg:"" help:"Id of the grant."`
}

// Run shows the grant.
func (c *GrantsShowCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewGrantServiceClient(conn).GetGrant(ctx, &v1.GetGrantRequest{Id: c.ID})
		if err != nil {
			return err
		}
		return g.showGrant(res.GetGrant())
	})
}

// GrantsRevokeCmd is `mcpermit grants revoke`.
type GrantsRevokeCmd struct {
	ID string `arg:"" help:"Id of the grant."`
}

// Run revokes the grant.
func (c *GrantsRevokeCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewGrantServiceClient(conn).RevokeGrant(ctx, &v1.RevokeGrantRequest{Id: c.ID})
		if err != nil {
			return err
		}
		return g.showGrant(res.GetGrant())
	})
}

func (g *Globals) showGrant(grant *v1.Grant) error {
	v := viewGrant(grant)
	return g.print(v, func() {
		g.line("Grant    %s (%s)", v.ID, v.State)
		g.line("Subject  %s %s %s", v.Subject.Type, v.Subject.ID, strings.Join(v.Subject.Groups, ","))
		if v.Owner != "" {
			g.line("Owner    %s", v.Owner)
		}
		g.line("Covers   %s on %s", v.toolText(), strings.Join(v.Servers, ", "))
		for _, k := range slices.Sorted(maps.Keys(v.Labels)) {
			g.line("Label    %s=%s", k, v.Labels[k])
		}
		g.line("Created  %s", v.CreatedAt.Format(time.RFC3339))
		g.line("Expires  %s", v.expiryText())
		if v.RevokedAt != nil {
			g.line("Revoked  %s", v.RevokedAt.Format(time.RFC3339))
		}
	})
}

// grantView is a grant as the command line shows it.
type grantView struct {
	ID        string            `json:"id"`
	Token     string            `json:"token,omitempty"`
	State     string            `json:"state"`
	Subject   subjectView       `json:"subject"`
	Owner     string            `json:"owner,omitempty"`
	Servers   []string          `json:"servers"`
	Tools     []string          `json:"tools,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
	ExpiresAt *time.Time        `json:"expires_at,omitempty"`
	RevokedAt *time.Time        `json:"revoked_at,omitempty"`
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
	v := grantView{
		ID: g.GetId(), State: "active", Subject: viewSubject(g.GetSubject()), Owner: g.GetOwner(),
		Servers: g.GetServers(), Tools: g.GetTools(), Labels: g.GetLabels(),
		CreatedAt: g.GetCreatedAt().AsTime(), ExpiresAt: moment(g.GetExpiresAt()), RevokedAt: moment(g.GetRevokedAt()),
	}
	switch {
	case v.RevokedAt != nil:
		v.State = "revoked"
	case v.ExpiresAt != nil && !v.ExpiresAt.After(time.Now()):
		v.State = "expired"
	}
	return v
}

func (v grantView) toolText() string {
	if len(v.Tools) == 0 {
		return "every tool"
	}
	return strings.Join(v.Tools, ",")
}

func (v grantView) expiryText() string {
	if v.ExpiresAt == nil {
		return "never"
	}
	return v.ExpiresAt.Local().Format(time.DateTime)
}

func moment(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}
