package main

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// GrantsCmd administers grants: scoped, expiring, revocable permissions whose
// token is what a client sends.
type GrantsCmd struct {
	Create   GrantsCreateCmd   `cmd:"" help:"Create a grant and print its token, once."`
	List     GrantsListCmd     `cmd:"" help:"List the grants in force, newest first."`
	Show     GrantsShowCmd     `cmd:"" help:"Show one grant, those above it and how many are below."`
	Revoke   GrantsRevokeCmd   `cmd:"" help:"Revoke a grant and all below it; the next call under one of them is refused."`
	Rotate   GrantsRotateCmd   `cmd:"" help:"Give a grant a new token and print it, once."`
	Prune    GrantsPruneCmd    `cmd:"" help:"Revoke the grants that nobody uses."`
	Delegate GrantsDelegateCmd `cmd:"" help:"With a grant's token, make a weaker grant below it and print its token, once."`
}

// GrantsCreateCmd is `mcpermit grants create`.
type GrantsCreateCmd struct {
	Subject string            `required:"" help:"On whose behalf: the id of a person, agent or workload." placeholder:"ID"`
	Type    string            `default:"agent" enum:"person,agent,workload" help:"What the subject is: person, agent or workload."`
	Group   []string          `help:"Group of the subject, for policy; repeatable." placeholder:"NAME"`
	Owner   string            `help:"Person to whom the subject belongs, who may not approve its calls." placeholder:"PERSON"`
	Server  []string          `help:"Server that the grant covers, or * for all; repeatable. Needed, but with --parent, whose servers it then has." placeholder:"NAME"`
	Tool    []string          `help:"Tools that the grant covers, as a glob such as 'list_*'; repeatable. Default: every tool." placeholder:"GLOB"`
	Class   []string          `help:"Effect class of the tools that it covers, such as read; repeatable. Default: every class." placeholder:"CLASS"`
	Policy  []string          `help:"Package policy.attachments.NAME that holds for its calls beside the others; repeatable." placeholder:"NAME"`
	Label   map[string]string `help:"Label for policy (input.grant.labels) and audit; repeatable." placeholder:"K=V"`
	Expires *time.Duration    `help:"How long the grant is good for; 0 for ever. Default: 24h, or with --parent as long as that." placeholder:"DURATION"`

	NotBefore   string   `help:"When it becomes good: a time such as 2026-11-22T17:00:00Z, or a duration from now. Default: at once." placeholder:"TIME"`
	MaxUses     int64    `help:"How many calls of tools may be allowed under it and all below it. Default: any number." placeholder:"N"`
	BoundTo     []string `help:"What the client must prove beside the token: the SHA-256 of its certificate (sha256:HEX) or a name in it; repeatable, one is enough." placeholder:"NAME"`
	Held        bool     `help:"It has no token, and holds for whoever proves to be the subject by an access token or a certificate of a kind that needs a grant (grants: required)."`
	Parent      string   `help:"Id of a grant that it is made below, and that it can't be wider than." placeholder:"ID"`
	Delegations int32    `help:"How many levels of grants its holder may make below it." placeholder:"N"`
}

// request is what the flags ask for.
func (c *GrantsCreateCmd) request(now time.Time) (*v1.CreateGrantRequest, error) {
	req := &v1.CreateGrantRequest{
		Subject: &v1.Subject{Id: c.Subject, Type: c.Type, Groups: c.Group}, Owner: c.Owner,
		Servers: c.Server, Tools: c.Tool, Classes: c.Class, Policies: c.Policy, Labels: c.Label,
		MaxUses: c.MaxUses, BoundTo: c.BoundTo, Held: c.Held, ParentId: c.Parent, Delegations: c.Delegations,
	}
	if len(c.Server) == 0 && c.Parent == "" {
		return nil, misuse("missing flags: --server=NAME,...; see --help")
	}
	expires := 24 * time.Hour
	if c.Parent != "" {
		expires = 0
	}
	if c.Expires != nil {
		expires = *c.Expires
	}
	var err error
	if req.ExpiresAt, err = after(now, expires); err != nil {
		return nil, err
	}
	req.NotBefore, err = parseFrom("--not-before", c.NotBefore, now)
	return req, err
}

// after is a time so long after now; nil for none.
func after(now time.Time, d time.Duration) (*timestamppb.Timestamp, error) {
	switch {
	case d < 0:
		return nil, misuse("--expires must not be negative")
	case d == 0:
		return nil, nil
	}
	return timestamppb.New(now.Add(d)), nil
}

// parseFrom reads a time, or a duration from now on; nil for none.
func parseFrom(flag, s string, now time.Time) (*timestamppb.Timestamp, error) {
	if s == "" {
		return nil, nil
	}
	at, err := parseWhen(s, now)
	if err != nil {
		return nil, misuse("%s: %w", flag, err)
	}
	if _, duration := parseDuration(s); duration {
		at = now.Add(now.Sub(at))
	}
	return timestamppb.New(at), nil
}

// Run creates the grant.
func (c *GrantsCreateCmd) Run(g *Globals) error {
	req, err := c.request(time.Now())
	if err != nil {
		return err
	}
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewGrantServiceClient(conn).CreateGrant(ctx, req)
		if err != nil {
			return err
		}
		return g.printNew(res.GetGrant(), res.GetToken())
	})
}

// printNew shows a grant with its token, which nobody shows again.
func (g *Globals) printNew(grant *v1.Grant, token string) error {
	view := viewGrant(grant)
	view.Token = token
	return g.print(view, func() {
		g.line("Grant   %s", view.ID)
		if token != "" {
			g.line("Token   %s", token)
		}
		g.line("Covers  %s on %s until %s", view.toolText(), strings.Join(view.Servers, ", "), view.expiryText())
		if token == "" {
			g.line("\nIt has no token: it holds for whoever proves to be %s.", view.Subject.ID)
			return
		}
		g.line("\nThe token is not shown again. Clients send it as `Authorization: Bearer TOKEN`.")
	})
}
