// Package telemetry holds that one call is one trace, from the client's own
// span over PEP and PDP to the upstream, as a collector receives it.
package telemetry

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	metrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/mcpermit/mcpermit/test/gateway"
	"github.com/mcpermit/mcpermit/test/parts"
)

// collector is an OTLP collector that remembers what it is sent.
type collector struct {
	traces.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*tracev1.Span
	names map[string]bool // of metrics
}

func (c *collector) Export(_ context.Context, req *traces.ExportTraceServiceRequest) (*traces.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.GetResourceSpans() {
		for _, s := range r.GetScopeSpans() {
			c.spans = append(c.spans, s.GetSpans()...)
		}
	}
	return &traces.ExportTraceServiceResponse{}, nil
}

type metricCollector struct {
	metrics.UnimplementedMetricsServiceServer
	*collector
}

func (c metricCollector) Export(_ context.Context, req *metrics.ExportMetricsServiceRequest) (*metrics.ExportMetricsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.GetResourceMetrics() {
		for _, s := range r.GetScopeMetrics() {
			for _, m := range s.GetMetrics() {
				c.names[m.GetName()] = true
			}
		}
	}
	return &metrics.ExportMetricsServiceResponse{}, nil
}

// of returns the spans of a trace by name.
func (c *collector) of(traceID string) map[string]*tracev1.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]*tracev1.Span{}
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == traceID {
			out[s.GetName()] = s
		}
	}
	return out
}

// TestOneTrace calls through the proxy, and through an Envoy.
func TestOneTrace(t *testing.T) {
	t.Run("proxy", func(t *testing.T) {
		oneTrace(t, func(g *gateway.Gateway) *gateway.Process { return g.Split(t) })
	})
	t.Run("Envoy", func(t *testing.T) {
		oneTrace(t, func(g *gateway.Gateway) *gateway.Process { return g.Envoy(t, parts.Of(t).Envoy).PEP })
	})
}

// oneTrace starts the enforcement point, makes a call, and follows its trace.
func oneTrace(t *testing.T, start func(*gateway.Gateway) *gateway.Process) {
	c := &collector{names: map[string]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	traces.RegisterTraceServiceServer(server, c)
	metrics.RegisterMetricsServiceServer(server, metricCollector{collector: c})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)

	var upstreamParent string
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(string(body), "tools/call") {
			upstreamParent = r.Header.Get("Traceparent")
			fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`)
			return
		}
		w.WriteHeader(http.StatusBadRequest) // it does not list: nothing is known of its tools
	}))
	t.Cleanup(upstream.Close)

	g := gateway.Prepare(t, gateway.Config{
		Policy: "policy", Servers: map[string]any{"up": map[string]any{"url": upstream.URL}},
		Extra: map[string]any{"telemetry": map[string]any{"otlp": "http://" + l.Addr().String()}},
	})
	pep := start(g)
	_, token := g.Grant(t, "ada", "up")

	const traceID, clientSpan = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	req, err := http.NewRequest(http.MethodPost, g.Endpoint("up"), strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + token},
		"Traceparent": {"00-" + traceID + "-" + clientSpan + "-01"},
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if !strings.Contains(string(body), `"content"`) {
		t.Fatalf("not allowed: %s", body)
	}
	if !strings.HasPrefix(upstreamParent, "00-"+traceID+"-") || strings.Contains(upstreamParent, clientSpan) {
		t.Errorf("the upstream's traceparent is %q: want the client's trace and a span of ours", upstreamParent)
	}

	// Both programs flush when they end.
	for _, p := range []*gateway.Process{pep, g.Process} {
		if err := p.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(15 * time.Second); err != nil {
			t.Fatalf("%v\n%s", err, p.Output())
		}
	}
	spans := c.of(traceID)
	decide := spans["mcpermit.Decide"]
	if decide == nil {
		t.Fatalf("no span of the decision in the client's trace; there are %v", keys(spans))
	}
	// The way up from the decision must reach the client's own span.
	byID := map[string]*tracev1.Span{}
	for _, s := range c.spans {
		byID[hex.EncodeToString(s.GetSpanId())] = s
	}
	at, steps := hex.EncodeToString(decide.GetParentSpanId()), 0
	for ; at != clientSpan && byID[at] != nil && steps < 20; steps++ {
		at = hex.EncodeToString(byID[at].GetParentSpanId())
	}
	if at != clientSpan || steps < 1 {
		t.Errorf("the decision's ancestors end at %q after %d steps, want the client's span; spans %v", at, steps, keys(spans))
	}
	if !c.names["mcpermit.decisions"] {
		t.Errorf("no metric mcpermit.decisions by OTLP; there are %v", c.names)
	}
}

func keys(m map[string]*tracev1.Span) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}
