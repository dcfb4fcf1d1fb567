package policy

import (
	"context"
	"log/slog"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// outcome is what one reading of the source came to.
type outcome string

const (
	activated outcome = "activated"
	unchanged outcome = "unchanged"
	failed    outcome = "failed"
)

// loadMetrics are the metrics of a Loader.
type loadMetrics struct {
	loads metric.Int64Counter
	ready metric.Int64Gauge
	since metric.Int64Gauge
	rules metric.Int64Gauge
}

// newLoadMetrics ignores errors: OpenTelemetry gives a working instrument
// with each of them, and these names are constant.
func newLoadMetrics(m metric.Meter) loadMetrics {
	var l loadMetrics
	l.loads, _ = m.Int64Counter("mcpermit.policy.loads",
		metric.WithDescription("Readings of the policy source, by outcome: activated, unchanged or failed."))
	l.ready, _ = m.Int64Gauge("mcpermit.policy.ready",
		metric.WithDescription("1 while a policy is in force, 0 while everything is denied for want of one."))
	l.since, _ = m.Int64Gauge("mcpermit.policy.activation.time", metric.WithUnit("s"),
		metric.WithDescription("When the policy in force was activated, in seconds since 1970."))
	l.rules, _ = m.Int64Gauge("mcpermit.policy.rules",
		metric.WithDescription("Effect rules of the policy in force."))
	l.ready.Record(context.Background(), 0)
	return l
}

func (m loadMetrics) count(ctx context.Context, o outcome) {
	m.loads.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", string(o))))
}

// reportActivation says what is in force now. The linter runs here, when the
// new policy already decides.
func (l *Loader) reportActivation(ctx context.Context, b *bundle.Bundle, s *Snapshot) {
	now := time.Now()
	l.set(func(st *Status) {
		*st = Status{
			Ready:       true,
			Revision:    s.Revision(),
			Source:      st.Source,
			ActivatedAt: now,
			Rules:       countRules(s),
		}
	})
	findings := Lint(b)
	l.set(func(st *Status) { st.Findings = findings })

	l.metrics.count(ctx, activated)
	l.metrics.ready.Record(ctx, 1)
	l.metrics.since.Record(ctx, now.Unix())
	l.metrics.rules.Record(ctx, int64(len(s.RuleTable())))
	l.options.Log.LogAttrs(ctx, slog.LevelInfo, "policy activated",
		slog.String("source", l.source.String()),
		slog.String("revision", s.Revision().Revision),
		slog.String("digest", s.Revision().Digest),
		slog.Int("rules", len(s.RuleTable())),
		slog.Int("findings", len(findings)))
	l.changed()
}

// reportFailure says why what was read is not in force. The same failure at
// every poll is one line in the log.
func (l *Loader) reportFailure(ctx context.Context, err error) {
	var ready, again bool
	l.set(func(st *Status) {
		ready, again = st.Ready, st.LastError == err.Error()
		st.LastError, st.LastErrorAt = err.Error(), time.Now()
	})
	l.metrics.count(ctx, failed)
	level, message := slog.LevelError, "policy not activated: the last good one stays in force"
	if !ready {
		message = "policy not activated: there is none, so everything is denied"
	}
	if again {
		level = slog.LevelDebug
	}
	l.options.Log.LogAttrs(ctx, level, message,
		slog.String("source", l.source.String()), slog.String("error", err.Error()))
	l.changed()
}

// reportUnchanged notes that the source has what is in force, which ends an
// earlier failure.
func (l *Loader) reportUnchanged(ctx context.Context) {
	var news bool
	l.set(func(st *Status) {
		news = st.Kept || st.LastError != ""
		st.Kept, st.LastError, st.LastErrorAt = false, "", time.Time{}
	})
	l.metrics.count(ctx, unchanged)
	if news {
		l.options.Log.LogAttrs(ctx, slog.LevelInfo, "policy source has what is in force",
			slog.String("source", l.source.String()))
		l.changed()
	}
}
