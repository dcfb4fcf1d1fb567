package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// GrantsListCmd is `mcpermit grants list`.
type GrantsListCmd struct {
	All     bool   `help:"Also expired and revoked ones."`
	Subject string `help:"Only those of this subject." placeholder:"ID"`
	Parent  string `help:"Only those right below this grant." placeholder:"ID"`
	Limit   int32  `default:"100" help:"At most this many." placeholder:"N"`
}

// Run lists the grants.
func (c *GrantsListCmd) Run(g *Globals) error {
	req := &v1.ListGrantsRequest{All: c.All, Subject: c.Subject, ParentId: c.Parent, Limit: c.Limit}
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewGrantServiceClient(conn).ListGrants(ctx, req)
		if err != nil {
			return err
		}
		return g.listGrants(res.GetGrants())
	})
}

func (g *Globals) listGrants(grants []*v1.Grant) error {
	t := g.table("ID", "SUBJECT", "OWNER", "SERVERS", "TOOLS", "EXPIRES", "LAST USED", "CALLS", "DENIED", "STATE")
	for _, grant := range grants {
		v := viewGrant(grant)
		t.row(v, v.ID, v.Subject.ID, v.Owner, strings.Join(v.Servers, ","), v.toolText(), v.expiryText(),
			dateText(v.LastUsedAt), strconv.FormatInt(v.Calls, 10), strconv.FormatInt(v.Denials, 10), v.State)
	}
	return t.flush()
}

// GrantsShowCmd is `mcpermit grants show`.
type GrantsShowCmd struct {
	ID string `arg:"" help:"Id of the grant."`
}

// Run shows the grant.
func (c *GrantsShowCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		grants := v1.NewGrantServiceClient(conn)
		res, err := grants.GetGrant(ctx, &v1.GetGrantRequest{Id: c.ID})
		if err != nil {
			return err
		}
		v := viewGrant(res.GetGrant())
		for parent := v.Parent; parent != ""; {
			above, err := grants.GetGrant(ctx, &v1.GetGrantRequest{Id: parent})
			if err != nil {
				return err
			}
			v.Above = append(v.Above, parent)
			if parent = above.GetGrant().GetParentId(); slices.Contains(v.Above, parent) {
				break
			}
		}
		below, err := grants.ListGrants(ctx, &v1.ListGrantsRequest{ParentId: v.ID, All: true, Limit: mostBelow})
		if err != nil {
			return err
		}
		v.Below = len(below.GetGrants())
		return g.showGrant(v)
	})
}

// mostBelow is how many grants right below another one are counted.
const mostBelow = 10_000

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
		return g.showGrant(viewGrant(res.GetGrant()))
	})
}

func (g *Globals) showGrant(v grantView) error {
	return g.print(v, func() {
		g.line("Grant    %s (%s)", v.ID, v.State)
		g.line("Subject  %s %s %s", v.Subject.Type, v.Subject.ID, strings.Join(v.Subject.Groups, ","))
		if v.Owner != "" {
			g.line("Owner    %s", v.Owner)
		}
		g.line("Covers   %s on %s", v.toolText(), strings.Join(v.Servers, ", "))
		for _, list := range []struct {
			label string
			items []string
		}{{"Classes ", v.Classes}, {"Policies", v.Policies}, {"Bound to", v.BoundTo}} {
			if len(list.items) > 0 {
				g.line("%s %s", list.label, strings.Join(list.items, ", "))
			}
		}
		for _, k := range slices.Sorted(maps.Keys(v.Labels)) {
			g.line("Label    %s=%s", k, v.Labels[k])
		}
		g.showUse(v)
		g.showFamily(v)
	})
}

// showUse says when, how often and by what the grant may be used, and was.
func (g *Globals) showUse(v grantView) {
	if v.Held {
		g.line("Held     by its subject: it has no token")
	}
	g.line("Created  %s", v.CreatedAt.Format(time.RFC3339))
	if v.NotBefore != nil {
		g.line("Good     from %s on", v.NotBefore.Format(time.RFC3339))
	}
	g.line("Expires  %s", v.expiryText())
	if v.RotatedAt != nil {
		g.line("Rotated  %s", v.RotatedAt.Format(time.RFC3339))
	}
	if v.RevokedAt != nil {
		g.line("Revoked  %s", v.RevokedAt.Format(time.RFC3339))
	}
	if v.MaxUses > 0 {
		g.line("Uses     %d of %d", v.Uses, v.MaxUses)
	}
	g.line("Used     %s, %d calls, %d denied", dateText(v.LastUsedAt), v.Calls, v.Denials)
}

// showFamily says what the grant was made from, and what from it.
func (g *Globals) showFamily(v grantView) {
	above := v.Above
	if len(above) == 0 && v.Parent != "" {
		above = []string{v.Parent}
	}
	for _, id := range above {
		g.line("Above    %s", id)
	}
	if v.Delegations > 0 || v.Below > 0 {
		g.line("Below    %d, up to %d levels", v.Below, v.Delegations)
	}
}
