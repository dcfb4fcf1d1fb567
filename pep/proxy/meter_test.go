package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	nometrics "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	notraces "go.opentelemetry.io/otel/trace/noop"
)

// TestT12_NothingSecretOrHiddenIsALabel runs calls with made-up names through
// the proxy and looks at all metrics and spans.
func TestT12_NothingSecretOrHiddenIsALabel(t *testing.T) {
	reader, spans := metric.NewManualReader(), tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	otel.SetTracerProvider(provider)
	t.Cleanup(func() {
		otel.SetMeterProvider(nometrics.NewMeterProvider())
		otel.SetTracerProvider(notraces.NewTracerProvider())
	})

	up := newServer(t, tools)
	pdp := &fakePDP{hidden: map[string]bool{"secret": true}}
	g := newGateway(t, up.URL, pdp)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	g.post(t, call("1", "secret", `{"amount":"a-telling-amount"}`), "Traceparent", parent)
	g.post(t, call("1", "echo", `{"amount":"a-telling-amount"}`), "Traceparent", parent)
	g.post(t, `{"jsonrpc":"2.0","id":1,"method":"made/up"}`)
	g.post(t, "{")

	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%+v", data)
	for _, want := range []string{"mcpermit.frames", "mcpermit.upstream.duration", "tools/call", "hide", "malformed", "other"} {
		if !strings.Contains(all, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	eventually(t, "the spans", func() bool { return len(spans.GetSpans()) == 4 })
	for _, s := range spans.GetSpans() {
		all += fmt.Sprintf("%+v", s)
	}
	for _, no := range []string{"secret", "echo", "made/up", "alice", "a-telling-amount"} {
		if strings.Contains(all, no) {
			t.Errorf("%q is in a metric or a span", no)
		}
	}
	first := spans.GetSpans()[0]
	if first.Parent.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || first.Name != "mcp tools/call" {
		t.Errorf("span %s under %s", first.Name, first.Parent.TraceID())
	}
	var trace string
	for _, r := range up.requests() {
		if strings.Contains(r.Body, `"name":"echo"`) && r.Method == http.MethodPost {
			trace = r.Header.Get("Traceparent")
		}
	}
	if !strings.HasPrefix(trace, "00-0af7651916cd43dd8448eb211c80319c-") || trace == parent {
		t.Errorf("the server got traceparent %q", trace)
	}
}
