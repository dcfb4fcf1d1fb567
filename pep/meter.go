package pep

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/mcpermit/mcpermit/pep/internal/memo"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const scope = "github.com/mcpermit/mcpermit/pep"

// meter measures the way between PEP and PDP.
type meter struct {
	duration metric.Float64Histogram
	lost     metric.Int64Counter
	waiting  metric.Int64UpDownCounter
	labels   memo.Table[verdict, []metric.RecordOption]
}

// verdict is what the labels of a decision's duration are made of.
type verdict struct {
	effect v1.Effect
	reason v1.ReasonCode
}

func newMeter() *meter {
	m := otel.Meter(scope)
	d := new(meter)
	d.duration, _ = m.Float64Histogram("mcpermit.pep.decision.duration", metric.WithUnit("s"),
		metric.WithDescription("How long the PEP waited for a decision."),
		metric.WithExplicitBucketBoundaries(.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1))
	d.lost, _ = m.Int64Counter("mcpermit.pep.completions.dropped",
		metric.WithDescription("Outcomes of allowed frames that never reached the PDP."))
	d.waiting, _ = m.Int64UpDownCounter("mcpermit.pep.approvals.waiting",
		metric.WithDescription("Calls that wait for an approval."))
	return d
}

func (m *meter) decided(ctx context.Context, took time.Duration, r *v1.DecideResponse) {
	m.duration.Record(ctx, took.Seconds(), m.labels.Get(verdict{r.GetEffect(), r.GetReasonCode()}, verdict.labels)...)
}

func (v verdict) labels() []metric.RecordOption {
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(
		attribute.String("effect", EffectName(v.effect)),
		attribute.String("reason", ReasonName(v.reason))))}
}

// waits counts one call more that waits, until the returned function is called.
func (m *meter) waits() (over func()) {
	m.waiting.Add(context.Background(), 1)
	return func() { m.waiting.Add(context.Background(), -1) }
}

func (m *meter) dropped() { m.lost.Add(context.Background(), 1) }

// EffectName is an effect as the policy language writes it: "allow", "deny".
func EffectName(e v1.Effect) string {
	return strings.ToLower(strings.TrimPrefix(e.String(), "EFFECT_"))
}

// ReasonName is a reason code as answers and metrics write it: "no_match".
func ReasonName(c v1.ReasonCode) string {
	return strings.ToLower(strings.TrimPrefix(c.String(), "REASON_CODE_"))
}
