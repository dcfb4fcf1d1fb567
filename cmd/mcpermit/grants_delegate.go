package main

import (
	"context"
	"os"
	"strings"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// GrantsDelegateCmd is `mcpermit grants delegate`. The token comes from the
// environment or a file, so that it shows in no process list.
type GrantsDelegateCmd struct {
	TokenFile string `type:"path" help:"File with the token of the grant above; default is the environment variable MCPERMIT_TOKEN." placeholder:"FILE"`

	Subject string         `required:"" help:"Name of the agent that it is for; its id is one below yours (bot makes bot/NAME)." placeholder:"ID"`
	Type    string         `default:"agent" enum:"person,agent,workload" help:"What the subject is: agent or workload; a person only where that is the holder."`
	Group   []string       `help:"Group of the subject, one of the holder's; repeatable." placeholder:"NAME"`
	Server  []string       `help:"Server that the grant covers; repeatable. Default: those of the grant above." placeholder:"NAME"`
	Tool    []string       `help:"Tools that the grant covers, as a glob; repeatable. A call has to be covered by the grant above too." placeholder:"GLOB"`
	Class   []string       `help:"Effect class of the tools that it covers; repeatable. Default: those of the grant above." placeholder:"CLASS"`
	Policy  []string       `help:"Package policy.attachments.NAME that holds for its calls beside the others; repeatable." placeholder:"NAME"`
	Expires *time.Duration `help:"How long the grant is good for. Default: as long as the grant above." placeholder:"DURATION"`

	NotBefore   string `help:"When it becomes good: a time such as 2026-11-22T17:00:00Z, or a duration from now. Default: at once." placeholder:"TIME"`
	MaxUses     int64  `help:"How many calls of tools may be allowed under it. Default: as many as under the grant above." placeholder:"N"`
	Delegations int32  `help:"How many levels of grants its holder may make below it; fewer than the grant above leaves." placeholder:"N"`
}

// Run makes the grant.
func (c *GrantsDelegateCmd) Run(g *Globals) error {
	req, err := c.request(time.Now())
	if err != nil {
		return err
	}
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewDecisionServiceClient(conn).DelegateGrant(ctx, req)
		if err != nil {
			return err
		}
		if res.GetToken() == "" {
			return refused("%s", res.GetReason())
		}
		view := delegatedView{ID: res.GetGrantId(), Token: res.GetToken(), ExpiresAt: moment(res.GetExpiresAt())}
		return g.print(view, func() {
			g.line("Grant    %s", view.ID)
			g.line("Token    %s", view.Token)
			g.line("Expires  %s", dateText(view.ExpiresAt))
			g.line("\nThe token is not shown again. Clients send it as `Authorization: Bearer TOKEN`.")
		})
	})
}

// delegatedView is what is known of a grant that its holder has made.
type delegatedView struct {
	ID        string     `json:"id"`
	Token     string     `json:"token"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// request is what the flags ask for.
func (c *GrantsDelegateCmd) request(now time.Time) (*v1.DelegateGrantRequest, error) {
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	req := &v1.DelegateGrantRequest{
		Evidence: &v1.Evidence{BearerToken: token},
		Subject:  &v1.Subject{Id: c.Subject, Type: c.Type, Groups: c.Group},
		Servers:  c.Server, Tools: c.Tool, Classes: c.Class, Policies: c.Policy, MaxUses: c.MaxUses, Delegations: c.Delegations,
	}
	if c.Expires != nil {
		if *c.Expires == 0 {
			return nil, misuse("--expires must not be 0: leave it out for as long as the grant above")
		}
		if req.ExpiresAt, err = after(now, *c.Expires); err != nil {
			return nil, err
		}
	}
	req.NotBefore, err = parseFrom("--not-before", c.NotBefore, now)
	return req, err
}

func (c *GrantsDelegateCmd) token() (string, error) {
	token := os.Getenv("MCPERMIT_TOKEN")
	if c.TokenFile != "" {
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return "", misuse("--token-file: %w", err)
		}
		token = string(b)
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", misuse("no grant token: set MCPERMIT_TOKEN or give --token-file")
	}
	return token, nil
}
