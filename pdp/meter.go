package pdp

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/mcpermit/mcpermit/pdp"

// meter counts decisions. Names of tools and subjects are no labels: hidden
// names must not show in metrics, and both are unbounded.
type meter struct {
	decisions metric.Int64Counter
	duration  metric.Float64Histogram
	tracer    trace.Tracer
}

func newMeter() meter {
	m := otel.Meter(scope)
	// The errors are about malformed instrument names only.
	decisions, _ := m.Int64Counter("mcpermit.decisions",
		metric.WithDescription("Decisions by effect and reason code."))
	duration, _ := m.Float64Histogram("mcpermit.decision.duration", metric.WithUnit("s"),
		metric.WithDescription("Time to decide, the audit record included."),
		metric.WithExplicitBucketBoundaries(.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1))
	return meter{decisions, duration, otel.Tracer(scope)}
}

var (
	effectKey = attribute.Key("effect")
	codeKey   = attribute.Key("reason_code")
	serverKey = attribute.Key("mcpermit.server")
	methodKey = attribute.Key("mcp.method.name")
)

func (m meter) decided(ctx context.Context, d *decision, took time.Duration) {
	set := metric.WithAttributeSet(attribute.NewSet(
		effectKey.String(lower(d.res.GetEffect().String(), "EFFECT_")),
		codeKey.String(lower(d.res.GetReasonCode().String(), "REASON_CODE_")),
	))
	m.decisions.Add(ctx, 1, set)
	m.duration.Record(ctx, took.Seconds(), set)
}
