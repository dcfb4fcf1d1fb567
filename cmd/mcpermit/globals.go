package main

import (
	"fmt"
	"io"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mcpermit/mcpermit/cmd/config"
)

// Globals are the flags that every command has, and what they give access to.
type Globals struct {
	Config string `short:"c" default:"mcpermit.yaml" type:"path" help:"Configuration file." placeholder:"FILE"`
	Output string `short:"o" default:"text" enum:"text,json" help:"Output format: text, or json with one object a line."`
	Addr   string `help:"Address of a PDP's admin service (host:port with --cert/--key/--ca, or unix:///path) instead of the one the configuration names." placeholder:"ADDR"`
	Cert   string `type:"path" help:"Client certificate for --addr." placeholder:"FILE"`
	Key    string `type:"path" help:"Key of --cert." placeholder:"FILE"`
	CA     string `name:"ca" type:"path" help:"CA that signed the PDP's certificate." placeholder:"FILE"`

	Stdout io.Writer `kong:"-"`
	Stderr io.Writer `kong:"-"`
}

// exitError carries the exit code of a command that did what it was asked and
// came to a refusal (1), or was asked wrongly (2).
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// ExitCode implements kong's ExitCoder.
func (e *exitError) ExitCode() int { return e.code }

// refused reports a refusal or something not found: exit code 1.
func refused(format string, args ...any) error {
	return &exitError{1, fmt.Errorf(format, args...)}
}

// misuse reports a command that was asked wrongly: exit code 2.
func misuse(format string, args ...any) error {
	return &exitError{2, fmt.Errorf(format, args...)}
}

// StateDir is the directory of the embedded store that the configuration names.
func (g *Globals) StateDir() (string, error) {
	cfg, err := config.Load(g.Config)
	if err != nil {
		return "", misuse("%w", err)
	}
	return cfg.State.Dir, nil
}

// Dial connects to the admin service of the running PDP: over the socket in
// the state directory, whose file mode is the authorization, or over --addr.
// The connection is made at the first call.
func (g *Globals) Dial() (*grpc.ClientConn, error) {
	if g.Addr == "" {
		dir, err := g.StateDir()
		if err != nil {
			return nil, err
		}
		return grpc.NewClient("unix://"+filepath.Join(dir, "admin.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	if network, _ := config.SplitAddress(g.Addr); network == "unix" {
		return grpc.NewClient(g.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	tls, err := config.TLS{Cert: g.Cert, Key: g.Key, CA: g.CA}.Client()
	if err != nil {
		return nil, misuse("%w", err)
	}
	return grpc.NewClient(g.Addr, grpc.WithTransportCredentials(credentials.NewTLS(tls)))
}
