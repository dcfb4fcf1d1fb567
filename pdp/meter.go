package pdp

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const scope = "github.com/mcpermit/mcpermit/pdp"

// meter counts decisions. Names of tools and subjects are no labels: hidden
// names must not show in metrics, and both are unbounded.
type meter struct {
	decisions metric.Int64Counter
	duration  metric.Float64Histogram
	tracer    trace.Tracer
	labels    map[verdict]labels
}

// verdict is what a decision is counted by. There are few, so that the labels
// of all are made at the start.
type verdict struct {
	effect v1.Effect
	code   v1.ReasonCode
}

type labels struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

func newMeter() meter {
	m := otel.Meter(scope)
	// The errors are about malformed instrument names only.
	decisions, _ := m.Int64Counter("mcpermit.decisions",
		metric.WithDescription("Decisions by effect and reason code."))
	duration, _ := m.Float64Histogram("mcpermit.decision.duration", metric.WithUnit("s"),
		metric.WithDescription("Time to decide, the audit record included."),
		metric.WithExplicitBucketBoundaries(.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1))
	all := map[verdict]labels{}
	for effect := range v1.Effect_name {
		for code := range v1.ReasonCode_name {
			v := verdict{v1.Effect(effect), v1.ReasonCode(code)}
			set := metric.WithAttributeSet(attribute.NewSet(
				effectKey.String(lower(v.effect.String(), "EFFECT_")),
				codeKey.String(lower(v.code.String(), "REASON_CODE_")),
			))
			all[v] = labels{[]metric.AddOption{set}, []metric.RecordOption{set}}
		}
	}
	return meter{decisions, duration, otel.Tracer(scope), all}
}

var (
	effectKey = attribute.Key("effect")
	codeKey   = attribute.Key("reason_code")
	serverKey = attribute.Key("mcpermit.server")
	methodKey = attribute.Key("mcp.method.name")
)

func (m *meter) decided(ctx context.Context, d *decision, took time.Duration) {
	l := m.labels[verdict{d.res.GetEffect(), d.res.GetReasonCode()}]
	m.decisions.Add(ctx, 1, l.add...)
	m.duration.Record(ctx, took.Seconds(), l.record...)
}
