package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/cmd/serve"
	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/stdio"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// process is what a command has of its surroundings.
type process struct {
	ctx    context.Context //nolint:containedctx // kong hands one value to Run
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// misuse is an error of whoever called the program.
type misuse struct{ err error }

func (m misuse) Error() string { return m.err.Error() }
func (m misuse) Unwrap() error { return m.err }

// common are the flags of every enforcement point.
type common struct {
	Config string `short:"c" default:"mcpermit.yaml" type:"path" help:"Configuration file; listen, servers, hosts, origins, limits and pdp are used of it." placeholder:"FILE"`
	PDP    string `name:"pdp" help:"Address of the decision point, unix:///path or host:port, instead of pdp.address." placeholder:"ADDR"`
}

// connect loads the configuration and reaches for its decision point.
func (c *common) connect() (*config.Config, *pep.Client, error) {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return nil, nil, misuse{err}
	}
	addr := c.PDP
	if addr == "" {
		addr = cfg.PDP.Address
	}
	if addr == "" {
		return nil, nil, misuse{fmt.Errorf("no decision point: give --pdp, or pdp.address in %s", c.Config)}
	}
	var o pep.DialOptions
	if network, _ := config.SplitAddress(addr); network != "unix" && cfg.PDP.TLS.Cert != "" {
		if o.TLS, err = cfg.PDP.TLS.Client(); err != nil {
			return nil, nil, misuse{fmt.Errorf("pdp.tls: %w", err)}
		}
	}
	client, err := pep.Dial(addr, o)
	if err != nil {
		return nil, nil, misuse{err}
	}
	return cfg, client, nil
}

// ground is what every enforcement point stands on.
type ground struct {
	cfg       *config.Config
	client    *pep.Client
	log       *slog.Logger
	telemetry *serve.Telemetry
}

func (c *common) ground(p *process) (*ground, error) {
	cfg, client, err := c.connect()
	if err != nil {
		return nil, err
	}
	g := &ground{cfg: cfg, client: client, log: serve.NewLogger(p.stderr, cfg.Log)}
	if g.telemetry, err = serve.NewTelemetry(p.ctx, cfg.Telemetry, "mcpermit-pep"); err != nil {
		client.Close()
		return nil, misuse{err}
	}
	return g, nil
}

// run serves until a signal, with the admin address beside the given services.
func (g *ground) run(p *process, services ...serve.Service) error {
	l, err := serve.Listen(p.ctx, "admin", g.cfg.Admin)
	if err != nil {
		return err
	}
	admin := serve.NewAdmin(g.cfg.Admin, g.telemetry.Metrics, nil, g.client.Ready)
	all := []serve.Service{{Name: "readiness", Stop: func(context.Context) error { admin.Drain(); return nil }}}
	all = append(append(all, services...), admin.Service(l), serve.Service{Name: "telemetry", Stop: g.telemetry.Shutdown})
	return serve.Run(p.ctx, g.log, g.cfg.Timeouts.Drain.Or(30*time.Second), all...)
}

// ProxyCmd is `mcpermit-pep proxy`.
type ProxyCmd struct{ common }

// Run serves until a signal.
func (c *ProxyCmd) Run(p *process) error {
	on, err := c.ground(p)
	if err != nil {
		return err
	}
	defer on.client.Close()
	gateway, err := serve.NewGateway(on.cfg, on.client, v1.Transport_TRANSPORT_HTTP, on.log)
	if err != nil {
		return misuse{err}
	}
	clients, err := gateway.Listen(p.ctx, on.cfg)
	if err != nil {
		return err
	}
	clients.Announce(p.stderr, "mcpermit-pep")
	return on.run(p, serve.Service{Name: "proxy", Run: clients.Serve, Stop: gateway.Shutdown})
}

// StdioCmd is `mcpermit-pep stdio`: for clients whose configuration knows only
// a command. The grant token comes from the environment, so that it shows in no
// process list.
type StdioCmd struct {
	common
	Server    string `required:"" help:"Server of the configuration that the client is connected to." placeholder:"NAME"`
	TokenFile string `type:"path" help:"File with the grant token; default is the environment variable MCPERMIT_TOKEN." placeholder:"FILE"`
}

// Run serves the client until it closes standard input.
func (c *StdioCmd) Run(p *process) error {
	on, err := c.ground(p)
	if err != nil {
		return err
	}
	defer on.client.Close()
	if _, ok := on.cfg.Servers[c.Server]; !ok {
		return misuse{fmt.Errorf("--server: %s has no server %q; it has %s", filepath.Base(c.Config), c.Server, strings.Join(on.cfg.ServerNames(), ", "))}
	}
	token, err := c.token()
	if err != nil {
		return misuse{err}
	}
	gateway, err := serve.NewGateway(on.cfg.Only(c.Server), on.client, v1.Transport_TRANSPORT_STDIO, on.log)
	if err != nil {
		return misuse{err}
	}
	bridge := stdio.Bridge{
		Handler: gateway.Proxy, Path: "/mcp/" + c.Server + "/", Token: token,
		In: p.stdin, Out: p.stdout, Logger: on.log,
	}
	return serve.Run(p.ctx, on.log, on.cfg.Timeouts.Drain.Or(30*time.Second),
		serve.Conversation("client", bridge.Run),
		serve.Service{Name: "gateway", Stop: gateway.Shutdown},
		serve.Service{Name: "telemetry", Stop: on.telemetry.Shutdown},
	)
}

func (c *StdioCmd) token() (string, error) {
	if c.TokenFile == "" {
		token := os.Getenv("MCPERMIT_TOKEN")
		if token == "" {
			return "", fmt.Errorf("no grant token: set MCPERMIT_TOKEN or give --token-file")
		}
		return token, nil
	}
	b, err := os.ReadFile(c.TokenFile)
	return strings.TrimSpace(string(b)), err
}
