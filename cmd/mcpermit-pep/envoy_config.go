package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
)

// EnvoyCmd is `mcpermit-pep envoy`.
type EnvoyCmd struct {
	Serve  EnvoyServeCmd  `cmd:"" default:"withargs" help:"Decide for Envoys: serve their ext_authz, ext_proc and access log filters. The default."`
	Config EnvoyConfigCmd `cmd:"" help:"Print a configuration for Envoy 1.40 that asks this enforcement point about every request."`
}

// EnvoyConfigCmd is `mcpermit-pep envoy config`.
type EnvoyConfigCmd struct {
	Server     []string `sep:"none" help:"An MCP server and the name under which clients reach it, at /mcp/NAME/. May be given several times; default are the servers of the configuration file that have a URL." placeholder:"NAME=URL"`
	Config     string   `short:"c" default:"mcpermit.yaml" type:"path" help:"Configuration file, read when no --server is given; listen, servers, oauth.url and limits.frame_bytes are used of it." placeholder:"FILE"`
	Listen     string   `help:"Where MCP clients connect to Envoy. Default is listen of the configuration file, or 127.0.0.1:8700." placeholder:"IP:PORT"`
	PEP        string   `name:"pep" help:"Where 'mcpermit-pep envoy' serves gRPC, unix:///path or host:port. Default is 127.0.0.1:8702." placeholder:"ADDR"`
	MaxBytes   int      `help:"The longest frame of a client; not less than the enforcement point accepts. Default is limits.frame_bytes of the configuration file, or 1048576." placeholder:"N"`
	OAuthPath  string   `name:"oauth-path" help:"Path of the address at which clients show access tokens, such as /oauth. Default is the path of oauth.url of the configuration file, or none." placeholder:"PATH"`
	TLSCert    string   `name:"tls-cert" help:"Serve clients with this certificate, a PEM file where Envoy finds it." placeholder:"FILE"`
	TLSKey     string   `name:"tls-key" help:"The certificate's private key." placeholder:"FILE"`
	ClientCA   string   `name:"client-ca" help:"Demand a certificate of clients, signed by an authority of this PEM file." placeholder:"FILE"`
	UpstreamCA string   `name:"upstream-ca" help:"Authorities, in PEM, that certificates of https servers are checked against. Default is /etc/ssl/certs/ca-certificates.crt." placeholder:"FILE"`
	Admin      string   `help:"Where Envoy's admin interface listens; keep it on loopback. Default is none." placeholder:"IP:PORT"`
	AccessLog  string   `help:"Write a line of JSON for each request to this file, or to standard output with '-'. Default is none." placeholder:"FILE"`
	Output     string   `short:"o" type:"path" help:"Write to this file instead of standard output." placeholder:"FILE"`
}

// Help is shown below the flags' synopsis by --help.
func (*EnvoyConfigCmd) Help() string {
	return `One server, tried out on this machine:

  mcpermit-pep envoy config --server demo=http://127.0.0.1:8080/mcp -o envoy.yaml
  envoy --mode validate -c envoy.yaml
  envoy -c envoy.yaml

Clients then use http://127.0.0.1:8700/mcp/demo/. Envoy refuses every request
while the enforcement point at --pep does not answer.`
}

// Run prints the configuration.
func (c *EnvoyConfigCmd) Run(p *process) error {
	o, err := c.options(p)
	if err != nil {
		return misuse{err}
	}
	b, err := bootstrap.New(o)
	if err != nil {
		return misuse{err}
	}
	text, err := bootstrap.YAML(b)
	if err != nil {
		return err
	}
	if c.Output != "" {
		return os.WriteFile(c.Output, text, 0o644) //nolint:gosec // it holds no secrets, and Envoy runs as somebody else
	}
	_, err = p.stdout.Write(text)
	return err
}

func (c *EnvoyConfigCmd) options(p *process) (bootstrap.Options, error) {
	o := bootstrap.Options{
		Listen: c.Listen, PEP: c.PEP, MaxBytes: c.MaxBytes, OAuthPath: c.OAuthPath,
		TLS:        bootstrap.TLS{Cert: c.TLSCert, Key: c.TLSKey, ClientCA: c.ClientCA},
		UpstreamCA: c.UpstreamCA, Admin: c.Admin, AccessLog: c.AccessLog,
	}
	if len(c.Server) == 0 {
		return o, c.fromFile(p, &o)
	}
	for _, s := range c.Server {
		name, at, ok := strings.Cut(s, "=")
		if !ok {
			return o, errors.New("--server: want NAME=URL, as in demo=http://127.0.0.1:8080/mcp")
		}
		o.Servers = append(o.Servers, bootstrap.Server{Name: name, URL: at})
	}
	return o, nil
}

// fromFile takes the servers from the configuration file, and from there what
// no flag says.
func (c *EnvoyConfigCmd) fromFile(p *process, o *bootstrap.Options) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return fmt.Errorf("no --server NAME=URL is given, and %w", err)
	}
	if o.Listen == "" {
		o.Listen = cfg.Listen
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = cfg.Limits.FrameBytes
	}
	if o.OAuthPath == "" {
		o.OAuthPath = oauthPath(cfg.OAuth)
	}
	for _, name := range cfg.ServerNames() {
		at := cfg.Servers[name].URL
		if at == "" {
			fmt.Fprintf(p.stderr, "mcpermit-pep: left out %s: it is a command, which Envoy cannot start\n", name)
			continue
		}
		o.Servers = append(o.Servers, bootstrap.Server{Name: name, URL: at})
	}
	if len(o.Servers) == 0 {
		return fmt.Errorf("%s has no server with a url; give --server NAME=URL", filepath.Base(c.Config))
	}
	return nil
}

// oauthPath is the path below which clients show access tokens, "" where there is
// none.
func oauthPath(o config.OAuth) string {
	u, err := url.Parse(o.URL)
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}
