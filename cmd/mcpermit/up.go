package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/cmd/serve"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// UpCmd is `mcpermit up`: decision point and proxy in one process.
type UpCmd struct{}

// Run serves until a signal.
func (*UpCmd) Run(g *Globals) error { return serveAll(context.Background(), g, true) }

// PDPCmd is `mcpermit pdp`: the decision point alone.
type PDPCmd struct{}

// Run serves until a signal.
func (*PDPCmd) Run(g *Globals) error { return serveAll(context.Background(), g, false) }

func serveAll(ctx context.Context, g *Globals, withProxy bool) error {
	cfg, err := config.Load(g.Config)
	if err != nil {
		return misuse("%w", err)
	}
	if !withProxy && cfg.PDP.Address == "" {
		return misuse("%s: pdp.address says where enforcement points connect, for instance unix:///run/mcpermit/pdp.sock", g.Config)
	}
	log := serve.NewLogger(g.Stderr, cfg.Log)
	telemetry, err := serve.NewTelemetry(ctx, cfg.Telemetry, "mcpermit")
	if err != nil {
		return misuse("%w", err)
	}
	point, err := newDecisionPoint(ctx, cfg, log)
	if err != nil {
		return err
	}
	// In the order in which they stop: first what takes in calls, last what
	// the calls need.
	services, err := listeners(ctx, g.Stderr, cfg, point, telemetry, withProxy)
	if err != nil {
		return errors.Join(err, point.close())
	}
	services = append(services,
		serve.Service{Name: "policy", Run: point.watchPolicy, Stop: func(context.Context) error { return point.close() }},
		serve.Service{Name: "telemetry", Stop: telemetry.Shutdown},
	)
	return serve.Run(ctx, log, cfg.Timeouts.Drain.Or(30*time.Second), services...)
}

// listeners opens everything that the configuration says to listen on, so that
// an address in use is an error before anything is served, and says what is
// served where.
func listeners(ctx context.Context, out io.Writer, cfg *config.Config, point *decisionPoint, telemetry *serve.Telemetry, withProxy bool) ([]serve.Service, error) {
	admin := serve.NewAdmin(cfg.Admin, telemetry.Metrics, point.console, point.ready)
	admin.RegisterOnShutdown(point.console.Close)
	services := []serve.Service{{Name: "readiness", Stop: func(context.Context) error { admin.Drain(); point.drain(); return nil }}}
	if withProxy {
		gateway, err := serve.NewGateway(cfg, point.engine, v1.Transport_TRANSPORT_HTTP, point.log)
		if err != nil {
			return nil, misuse("%w", err)
		}
		clients, err := gateway.Listen(ctx, cfg)
		if err != nil {
			return nil, err
		}
		clients.Announce(out, "mcpermit")
		announcePolicy(out, point)
		services = append(services, serve.Service{Name: "proxy", Run: clients.Serve, Stop: gateway.Shutdown})
	}
	if cfg.PDP.Address != "" {
		s, err := pepService(ctx, point, cfg)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "mcpermit: decisions for enforcement points at %s\n", cfg.PDP.Address)
		waits := serve.Service{Name: "waits for approvals", Stop: func(context.Context) error { point.engine.EndWaits(); return nil }}
		services = append(services, waits, s)
	}
	s, err := adminService(point, cfg)
	if err != nil {
		return nil, err
	}
	l, err := serve.Listen(ctx, "admin", cfg.Admin) // last: who waits for it finds everything else
	if err != nil {
		return nil, err
	}
	announceConsole(ctx, out, cfg, point)
	return append(services, s, admin.Service(l)), nil
}

func announcePolicy(out io.Writer, point *decisionPoint) {
	if s := point.policy.Status(); s.Ready {
		rules := 0
		for _, n := range s.Rules {
			rules += n
		}
		fmt.Fprintf(out, "mcpermit: policy %s %s, %d rules\n", s.Source, s.Revision.Digest, rules)
	} else {
		fmt.Fprintf(out, "mcpermit: no policy in force, everything is denied: %s\n", s.LastError)
	}
}
