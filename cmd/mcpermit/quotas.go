package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp/audit"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// QuotasCmd shows what of the quotas is used. The quotas themselves are written
// in policy.
type QuotasCmd struct {
	List  QuotasListCmd  `cmd:"" help:"List what is used of the quotas, by quota and counter."`
	Show  QuotasShowCmd  `cmd:"" help:"Show one counter."`
	Reset QuotasResetCmd `cmd:"" help:"Set a counter back to nothing used."`
}

// QuotasListCmd is `mcpermit quotas list`.
type QuotasListCmd struct {
	Quota string `help:"Only this quota." placeholder:"NAME"`
	Of    string `help:"Only what is counted per this: the id of a subject, a grant, a key, …" placeholder:"VALUE"`
	Limit int32  `default:"100" help:"At most this many." placeholder:"N"`
}

// Run lists the counters.
func (c *QuotasListCmd) Run(g *Globals) error {
	return g.counters(&v1.ListQuotasRequest{Quota: c.Quota, Of: c.Of, Limit: c.Limit}, func(counters []*v1.QuotaCounter) error {
		t := g.table("ID", "QUOTA", "PER", "USED", "LIMIT", "WINDOW", "RESET")
		for _, counter := range counters {
			v := viewCounter(counter)
			t.row(v, v.ID, v.Quota, v.perText(), v.usedText(), v.Limit, v.Window, v.resetText())
		}
		return t.flush()
	})
}

// QuotasShowCmd is `mcpermit quotas show`.
type QuotasShowCmd struct {
	ID string `arg:"" help:"Id of the counter, as list shows it."`
}

// Run shows the counter.
func (c *QuotasShowCmd) Run(g *Globals) error {
	return g.counters(&v1.ListQuotasRequest{Id: c.ID, Limit: 1}, func(counters []*v1.QuotaCounter) error {
		if c.ID == "" || len(counters) == 0 {
			return refused("there is no counter of the id %q; `mcpermit quotas list` shows those that there are", c.ID)
		}
		v := viewCounter(counters[0])
		return g.print(v, func() {
			g.line("Counter    %s", v.ID)
			g.line("Quota      %s", v.Quota)
			for _, name := range slices.Sorted(maps.Keys(v.Per)) {
				g.line("Per        %s %s", name, v.Per[name])
			}
			if v.Fault != "" {
				g.line("Fault      %s", v.Fault)
			} else {
				g.line("Used       %s of %s, %s left (%s)", v.Used, v.Limit, v.Remaining, v.Window)
				g.line("Reset      %s", v.resetText())
			}
			g.line("Changed    %s", v.UpdatedAt.Local().Format(time.DateTime))
		})
	})
}

// QuotasResetCmd is `mcpermit quotas reset`.
type QuotasResetCmd struct {
	ID    string `arg:"" optional:"" help:"Id of the counter, as list shows it."`
	Quota string `help:"In place of an id: the counter of this quota." placeholder:"NAME"`
	Of    string `help:"With --quota: only what is counted per this." placeholder:"VALUE"`
	All   bool   `help:"With --quota: also when it is more than one counter."`
}

// Run resets one counter, or all that match when that was said.
func (c *QuotasResetCmd) Run(g *Globals) error {
	switch {
	case (c.ID == "") == (c.Quota == ""):
		return misuse("say which: the id of a counter, or --quota NAME")
	case c.ID != "" && (c.Of != "" || c.All):
		return misuse("--of and --all go with --quota")
	}
	req := &v1.ResetQuotaRequest{Id: c.ID, Quota: c.Quota, Of: c.Of}
	return g.call(func(ctx context.Context, conn *connection) error {
		service := v1.NewQuotaServiceClient(conn)
		if c.Quota != "" && !c.All {
			found, err := service.ListQuotas(ctx, &v1.ListQuotasRequest{Quota: c.Quota, Of: c.Of, Limit: 2})
			if err != nil {
				return err
			}
			switch list := found.GetCounters(); len(list) {
			case 0: // the service says it
			case 1:
				req = &v1.ResetQuotaRequest{Id: list[0].GetId()}
			default:
				return refused("more than one counter matches: name one by its id, narrow with --of, or say --all")
			}
		}
		res, err := service.ResetQuota(ctx, req)
		if err != nil {
			return err
		}
		return g.print(map[string]int32{"reset": res.GetReset_()}, func() { g.line("%d reset", res.GetReset_()) })
	})
}

func (g *Globals) counters(req *v1.ListQuotasRequest, show func([]*v1.QuotaCounter) error) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewQuotaServiceClient(conn).ListQuotas(ctx, req)
		if err != nil {
			return err
		}
		return show(res.GetCounters())
	})
}

// counterView is a counter as the command line shows it. Amounts are exact
// decimals.
type counterView struct {
	ID        string            `json:"id"`
	Quota     string            `json:"quota"`
	Per       map[string]string `json:"per,omitempty"`
	Limit     string            `json:"limit,omitempty"`
	Used      string            `json:"used,omitempty"`
	Remaining string            `json:"remaining,omitempty"`
	Window    string            `json:"window,omitempty"`
	ResetAt   *time.Time        `json:"reset_at,omitempty"`
	UpdatedAt time.Time         `json:"updated_at"`
	Fault     string            `json:"fault,omitempty"`
}

func viewCounter(c *v1.QuotaCounter) counterView {
	return counterView{
		ID: c.GetId(), Quota: c.GetQuota(), Per: c.GetPer(), Limit: c.GetLimit(), Used: c.GetUsed(), Remaining: c.GetRemaining(),
		Window: c.GetWindow(), ResetAt: moment(c.GetResetAt()), UpdatedAt: c.GetUpdatedAt().AsTime(), Fault: c.GetFault(),
	}
}

func (v counterView) perText() string {
	if len(v.Per) == 0 {
		return "all"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(v.Per)) {
		parts = append(parts, name+"="+v.Per[name])
	}
	return strings.Join(parts, ",")
}

func (v counterView) usedText() string {
	if v.Fault != "" {
		return "unreadable"
	}
	return v.Used
}

func (v counterView) resetText() string {
	if v.ResetAt == nil {
		return "-"
	}
	return v.ResetAt.Local().Format(time.DateTime)
}

// recordReset puts the reset of a quota on the audit trail.
func (p *decisionPoint) recordReset(ctx context.Context, target string) error {
	return p.audit.Act(ctx, by(ctx, audit.Act{Act: "reset", Target: target}))
}
