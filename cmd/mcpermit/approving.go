package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/approval/webhook"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/console"
)

// operator is the person on a decision point whose configuration names none.
const operator = console.Operator

func approvalOptions(cfg *config.Config, trail *audit.Log, hooks *webhook.Sender, log *slog.Logger) approval.Options {
	return approval.Options{
		Open: cfg.Approvals.Open.Or(0), Valid: cfg.Approvals.Valid.Or(0),
		Record: recordedActs{trail}, Notify: hooks.Tell, Mask: audit.Mask, Log: log,
	}
}

func newWebhooks(cfg *config.Config, log *slog.Logger) (*webhook.Sender, error) {
	o := webhook.Options{
		Link: func(id string) string { return cfg.ConsoleURL() + "/approvals/" + id }, Mask: audit.Mask, Log: log,
	}
	for _, w := range cfg.Approvals.Webhooks {
		o.Targets = append(o.Targets, webhook.Target{URL: w.URL, Secret: w.Secret, Format: webhook.Format(w.Format)})
	}
	return webhook.New(o)
}

// webhookFlush is how long a shutdown waits for receivers.
const webhookFlush = 3 * time.Second

func flushWebhooks(s *webhook.Sender) error {
	ctx, cancel := context.WithTimeout(context.Background(), webhookFlush)
	defer cancel()
	return s.Close(ctx)
}

// recordedActs puts what people do about approvals on the audit trail.
type recordedActs struct{ trail *audit.Log }

func (r recordedActs) Act(ctx context.Context, a approval.Act) error {
	return r.trail.Act(ctx, audit.Act{
		Time: a.At, Person: a.Person, Via: a.Via, Act: a.Act, Target: a.Approval, Result: a.Result, Reason: a.Reason,
	})
}
