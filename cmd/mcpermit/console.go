package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pdp/console"
	"github.com/mcpermit/mcpermit/pdp/signin"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// ConsoleCmd is about the web pages.
type ConsoleCmd struct {
	Login ConsoleLoginCmd `cmd:"" help:"Print a link that signs a person in to the console, once."`
}

// ConsoleLoginCmd is `mcpermit console login`.
type ConsoleLoginCmd struct {
	As string `help:"Id of a person of the configuration; default the operator." placeholder:"PERSON"`
}

// Run prints the link.
func (c *ConsoleLoginCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewConsoleServiceClient(conn).CreateSignInLink(ctx, &v1.CreateSignInLinkRequest{Person: c.As})
		if err != nil {
			return err
		}
		v := struct {
			URL       string    `json:"url"`
			Person    string    `json:"person"`
			ExpiresAt time.Time `json:"expires_at"`
		}{res.GetUrl(), res.GetPerson(), res.GetExpiresAt().AsTime()}
		return g.print(v, func() {
			g.line("%s", v.URL)
			fmt.Fprintf(g.Stderr, "mcpermit: the link signs %s in, once, until %s\n", v.Person, v.ExpiresAt.Local().Format(time.TimeOnly))
		})
	})
}

// newConsole makes the console of the decision point.
func newConsole(cfg *config.Config, p *decisionPoint) (*console.Console, error) {
	people, err := consolePeople(cfg)
	if err != nil {
		return nil, err
	}
	provider, err := consoleProvider(cfg.Console.OIDC)
	if err != nil {
		return nil, err
	}
	return console.New(console.Options{
		OIDC: provider,
		URL:  cfg.ConsoleURL(), Admin: cfg.Admin, People: people, Session: cfg.Console.Session.Or(0),
		Store: p.store, Approvals: p.approvals, Grants: p.grants, Audit: p.audit, Record: p.audit,
		Servers: cfg.ServerNames(), Engine: p.engine, Policy: p.policy, Catalog: p.catalog, Quotas: p.quotas, Accounts: p.broker, Log: p.log,
	})
}

func consolePeople(cfg *config.Config) ([]signin.Person, error) {
	var people []signin.Person
	for _, p := range cfg.People {
		role, err := signin.ParseRole(p.Role)
		if err != nil {
			return nil, err
		}
		people = append(people, signin.Person{ID: p.ID, Name: p.Name, Groups: p.Groups, Role: role})
	}
	return people, nil
}

func consoleProvider(c config.OIDC) (console.OIDC, error) {
	o := console.OIDC{
		Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret, Scopes: c.Scopes,
		SubjectClaim: c.SubjectClaim, GroupsClaim: c.GroupsClaim, Roles: map[signin.Role][]string{},
	}
	for name, groups := range c.Roles {
		role, err := signin.ParseRole(name)
		if err != nil {
			return o, err
		}
		o.Roles[role] = groups
	}
	return o, nil
}

// announceConsole says where the console is, and lets the operator in.
func announceConsole(ctx context.Context, out io.Writer, cfg *config.Config, p *decisionPoint) {
	if link, l, err := p.console.NewLink(ctx, ""); err == nil {
		fmt.Fprintf(out, "mcpermit: console at %s; this link signs the operator in, once, until %s:\n  %s\n",
			cfg.ConsoleURL(), l.ExpiresAt.Local().Format(time.TimeOnly), link)
		return
	}
	fmt.Fprintf(out, "mcpermit: console at %s; sign in with `mcpermit console login --as PERSON`\n", cfg.ConsoleURL())
}
