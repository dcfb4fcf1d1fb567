package main

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// GrantsRotateCmd is `mcpermit grants rotate`.
type GrantsRotateCmd struct {
	ID      string        `arg:"" help:"Id of the grant. It stays the same."`
	Overlap time.Duration `help:"How long the old token is good beside the new one. Default: it ends at once." placeholder:"DURATION"`
}

// Run rotates the token.
func (c *GrantsRotateCmd) Run(g *Globals) error {
	if c.Overlap < 0 {
		return misuse("--overlap must not be negative")
	}
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewGrantServiceClient(conn).RotateGrant(ctx, &v1.RotateGrantRequest{Id: c.ID, Overlap: durationpb.New(c.Overlap)})
		if err != nil {
			return err
		}
		return g.printNew(res.GetGrant(), res.GetToken())
	})
}

// GrantsPruneCmd is `mcpermit grants prune`.
type GrantsPruneCmd struct {
	Unused string `required:"" help:"Grants that nobody has used for so long, such as 30d, or since then. One that never was counts from its creation." placeholder:"WHEN"`
	DryRun bool   `help:"Only say which."`
	Yes    bool   `short:"y" help:"Revoke them; without, nothing is."`
}

// Run revokes what nobody uses.
func (c *GrantsPruneCmd) Run(g *Globals) error {
	since, err := parseWhen(c.Unused, time.Now())
	if err != nil {
		return misuse("--unused: %w", err)
	}
	if c.Unused == "" {
		return misuse("--unused: say for how long, such as 30d")
	}
	look := c.DryRun || !c.Yes
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewGrantServiceClient(conn).PruneGrants(ctx, &v1.PruneGrantsRequest{UnusedSince: timestamppb.New(since), DryRun: look})
		if err != nil {
			return err
		}
		if err := g.listGrants(res.GetGrants()); err != nil {
			return err
		}
		if n := len(res.GetGrants()); n > 0 && look && !c.DryRun {
			return refused("nothing was revoked; repeat with --yes to revoke these %d", n)
		}
		return nil
	})
}
