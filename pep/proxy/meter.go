package proxy

import (
	"context"
	"net/http"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/internal/memo"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const scope = "github.com/mcpermit/mcpermit/pep/proxy"

// The attributes of spans and metrics. A tool's name is none of them: what is
// hidden from a subject must not show in a label either.
const (
	attrServer    = attribute.Key("mcpermit.server")
	attrEffect    = attribute.Key("mcpermit.effect")
	attrReason    = attribute.Key("mcpermit.reason")
	attrDirection = attribute.Key("mcpermit.direction")
	attrDecision  = attribute.Key("mcpermit.decision.id")
	attrRule      = attribute.Key("mcpermit.fault.rule")
	attrMethod    = attribute.Key("mcp.method.name")
)

// meter measures and traces.
type meter struct {
	tracer   trace.Tracer
	frames   metric.Int64Counter
	duration metric.Float64Histogram
	streams  metric.Int64UpDownCounter

	counted memo.Table[outcome, counting]
	timed   memo.Table[destination, []metric.RecordOption]
}

// outcome is what the labels of a counted frame are made of.
type outcome struct {
	server, method, direction string // method is bounded
	effect                    v1.Effect
	reason                    v1.ReasonCode
}

// counting is an outcome in the forms that spans and counters take.
type counting struct {
	attributes []attribute.KeyValue
	options    []metric.AddOption
}

// destination is what the labels of a timed request to an upstream are made of.
type destination struct{ server, method string }

func newMeter() *meter {
	m := otel.Meter(scope)
	t := &meter{tracer: otel.Tracer(scope)}
	t.frames, _ = m.Int64Counter("mcpermit.frames",
		metric.WithDescription("Frames and acts on the transport by what was decided on them."))
	t.duration, _ = m.Float64Histogram("mcpermit.upstream.duration", metric.WithUnit("s"),
		metric.WithDescription("Time to the first byte of the upstream's answer."),
		metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60))
	t.streams, _ = m.Int64UpDownCounter("mcpermit.streams", metric.WithDescription("Event streams that are open."))
	return t
}

var asServer = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}

// start begins the span of a request, under the client's trace if it names one.
func (m *meter) start(r *http.Request) (context.Context, trace.Span) {
	ctx := r.Context()
	if len(r.Header["Traceparent"]) > 0 {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	return m.tracer.Start(ctx, "mcp "+verb(r.Method), asServer...) //nolint:spancheck // act.end ends it
}

// name renames the span once the method is known.
func (m *meter) name(s trace.Span, method string) {
	if s.IsRecording() {
		method = bounded(method)
		s.SetName("mcp " + method)
		s.SetAttributes(attrMethod.String(method))
	}
}

func (m *meter) frame(ctx context.Context, server, method, direction string, d *v1.DecideResponse) {
	c := m.counted.Get(outcome{server, bounded(method), direction, d.GetEffect(), d.GetReasonCode()}, outcome.counting)
	m.frames.Add(ctx, 1, c.options...)
	if s := trace.SpanFromContext(ctx); s.IsRecording() && direction == "to_server" {
		s.SetAttributes(append(slices.Clip(c.attributes), attrDecision.String(d.GetDecisionId()))...)
	}
}

func (o outcome) counting() counting {
	attributes := []attribute.KeyValue{
		attrServer.String(o.server), attrMethod.String(o.method), attrDirection.String(o.direction),
		attrEffect.String(pep.EffectName(o.effect)), attrReason.String(pep.ReasonName(o.reason)),
	}
	// A set may reorder what it is made of.
	set := attribute.NewSet(slices.Clone(attributes)...)
	return counting{attributes, []metric.AddOption{metric.WithAttributeSet(set)}}
}

func (m *meter) upstream(ctx context.Context, server, method string, took time.Duration) {
	m.duration.Record(ctx, took.Seconds(), m.timed.Get(destination{server, bounded(method)}, destination.labels)...)
}

func (d destination) labels() []metric.RecordOption {
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attrServer.String(d.server), attrMethod.String(d.method)))}
}

func (m *meter) streamed(ctx context.Context, server string, n int64) {
	m.streams.Add(ctx, n, metric.WithAttributes(attrServer.String(server)))
}

func verb(method string) string {
	switch method {
	case http.MethodPost, http.MethodGet, http.MethodDelete:
		return method
	}
	return "other"
}

// bounded keeps the values of a label few: what clients and servers make up is
// "other".
func bounded(method string) string {
	switch method {
	case "initialize", "server/discover", "ping", "logging/setLevel",
		"tools/list", "tools/call", "prompts/list", "prompts/get",
		"resources/list", "resources/templates/list", "resources/read", "resources/subscribe", "resources/unsubscribe",
		"completion/complete", "subscriptions/listen", "tasks/get", "tasks/result", "tasks/list", "tasks/cancel", "tasks/update",
		"sampling/createMessage", "elicitation/create", "roots/list",
		"notifications/initialized", "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed",
		"notifications/resources/updated", "notifications/tasks", "notifications/tasks/status",
		"stream/open", "session/end", "":
		return method
	}
	return "other"
}
