package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/mcpermit/mcpermit/pdp/audit"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// acts shows what people did.
func (c *AuditQueryCmd) acts(g *Globals, f audit.Filter) error {
	filter, err := f.Acts()
	if err != nil {
		return misuse("--acts: %w", err)
	}
	t := g.table("TIME", "PERSON", "ACT", "TARGET", "RESULT", "VIA", "REASON")
	show := func(a *audit.Act) error {
		t.row(a, a.Time.Local().Format(time.DateTime), a.Person, a.Act, a.Target, a.Result, a.Via, a.Reason)
		return nil
	}
	err = g.audited(c.Dir, func(ctx context.Context, conn *connection) error {
		res, err := v1.NewAuditServiceClient(conn).QueryAudit(ctx, &v1.QueryAuditRequest{Filter: auditFilterMessage(f), Limit: c.Limit, Acts: true})
		if err != nil {
			return err
		}
		return receiveActs(res, show)
	}, func(ctx context.Context, trail *audit.Trail) error {
		return trail.Acts(ctx, filter, int(c.Limit), show)
	})
	return errors.Join(err, t.flush())
}

func receiveActs(from interface {
	Recv() (*v1.QueryAuditResponse, error)
}, show func(*audit.Act) error,
) error {
	for {
		next, err := from.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		a, err := audit.ParseAct(next.GetRecord())
		if err != nil {
			return err
		}
		if err := show(a); err != nil {
			return err
		}
	}
}
