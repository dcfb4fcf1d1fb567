// Package serve is what the two programs share at run time: telemetry, the
// admin listener, the gateway over a PDP, and the way to stop.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/mcpermit/mcpermit/cmd/config"
)

// NewLogger returns the program's log.
func NewLogger(w io.Writer, c config.Log) *slog.Logger {
	level := slog.LevelInfo
	if c.Level != "" {
		// config has checked the name.
		_ = level.UnmarshalText([]byte(c.Level))
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// Telemetry is the process's OpenTelemetry set-up.
type Telemetry struct {
	// Metrics serves the Prometheus exposition.
	Metrics http.Handler

	meters *metric.MeterProvider
	traces *trace.TracerProvider // nil without a collector
}

// NewTelemetry installs the global providers: metrics always, for /metrics;
// traces and metrics over OTLP where the configuration names a collector.
func NewTelemetry(ctx context.Context, c config.Telemetry, service string) (*Telemetry, error) {
	res := resource.NewSchemaless(semconv.ServiceName(service), semconv.ProcessPID(os.Getpid()))
	registry := prometheus.NewRegistry()
	exporter, err := promexporter.New(promexporter.WithRegisterer(registry))
	if err != nil {
		return nil, err
	}
	meters := []metric.Option{metric.WithResource(res), metric.WithReader(exporter)}
	var traces *trace.TracerProvider
	if c.OTLP != "" {
		// The exporters would log the address, whole, and go on without it.
		if u, err := url.Parse(c.OTLP); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, errors.New("telemetry.otlp: want http(s)://host:port without user name and password")
		}
		me, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpointURL(c.OTLP))
		if err != nil {
			return nil, fmt.Errorf("telemetry.otlp: %w", err)
		}
		te, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(c.OTLP))
		if err != nil {
			return nil, fmt.Errorf("telemetry.otlp: %w", err)
		}
		meters = append(meters, metric.WithReader(metric.NewPeriodicReader(me)))
		traces = trace.NewTracerProvider(trace.WithResource(res), trace.WithBatcher(te))
		otel.SetTracerProvider(traces)
	} else {
		// A client's trace goes through unchanged: no span of ours is in it.
		otel.SetTracerProvider(noop.NewTracerProvider())
	}
	t := &Telemetry{
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		meters:  metric.NewMeterProvider(meters...),
		traces:  traces,
	}
	otel.SetMeterProvider(t.meters)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	return t, nil
}

// Shutdown flushes what has not been exported.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	var err error
	if t.traces != nil {
		err = t.traces.Shutdown(ctx)
	}
	return errors.Join(err, t.meters.Shutdown(ctx))
}
