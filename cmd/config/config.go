// Package config is the manual of mcpermit.yaml: one struct, read strictly,
// that `mcpermit` and `mcpermit-pep` share. It holds plain values only; the
// programs turn them into the options of the packages that they wire.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Config is one mcpermit.yaml. Unknown keys are errors. In every string value
// ${env:NAME} stands for an environment variable and ${file:PATH} for a file's
// content without its final line break; what cannot be resolved is an error.
// Relative paths are relative to the configuration file.
type Config struct {
	// Listen is where MCP clients connect, host:port. The client URL of a
	// server is http://LISTEN/mcp/NAME/. Default 127.0.0.1:8700.
	Listen string `yaml:"listen"`
	// Admin serves the console, /healthz, /readyz and /metrics, host:port. Keep
	// it off public networks. Default 127.0.0.1:8701.
	Admin string `yaml:"admin"`
	// TLS makes Listen serve https. Default: plain HTTP, for this machine or behind
	// a proxy that ends TLS.
	TLS ListenTLS `yaml:"tls"`
	// OAuth is where clients connect with access tokens of an authorization server.
	OAuth OAuth `yaml:"oauth"`
	// Certificates are client certificates that are identities by themselves.
	Certificates Certificates `yaml:"certificates"`
	// Vault is how secrets at rest are sealed.
	Vault Vault `yaml:"vault"`
	// Egress is where the decision point may go by itself.
	Egress Egress `yaml:"egress"`
	// Hosts are the names under which clients may address the proxy, beside
	// the loopback names and the host of Listen. They defeat DNS rebinding.
	Hosts []string `yaml:"hosts"`
	// Origins are the web origins ("https://chat.example") that may call the
	// proxy from a browser. Default none but those of Hosts.
	Origins []string `yaml:"origins"`

	// Policy is where the Rego comes from.
	Policy Policy `yaml:"policy"`
	// State is where grants, approvals and the rest are kept.
	State State `yaml:"state"`
	// Quota is where quotas are counted, if not where State is.
	Quota Quota `yaml:"quota"`
	// Servers are the upstream MCP servers by name: 1 to 63 of a-z, 0-9, "-".
	Servers map[string]Server `yaml:"servers"`

	// People may sign in to the console and decide on approvals. Without any
	// there is one, "operator", an admin in no group.
	People []Person `yaml:"people"`
	// Console is the web pages on Admin.
	Console Console `yaml:"console"`
	// Approvals says how calls wait for a person.
	Approvals Approvals `yaml:"approvals"`

	// PDP is the seam between PEP and PDP, where they are two processes.
	PDP PDP `yaml:"pdp"`
	// Envoy is where `mcpermit-pep envoy` listens for Envoys.
	Envoy Envoy `yaml:"envoy"`

	Limits    Limits    `yaml:"limits"`
	Timeouts  Timeouts  `yaml:"timeouts"`
	Audit     Audit     `yaml:"audit"`
	Log       Log       `yaml:"log"`
	Telemetry Telemetry `yaml:"telemetry"`
}

// Policy says where the bundle comes from and how far it is trusted. In the
// file it may be just the source.
type Policy struct {
	// Source is a directory, a bundle.tar.gz, or an https:// URL of one.
	Source string `yaml:"source"`
	// PublicKey is a PEM file. When it is set, only bundles signed with its
	// private key come into force.
	PublicKey string `yaml:"public_key"`
	// KeyID is the `keyid` that the signature must name. Required with
	// PublicKey.
	KeyID string `yaml:"key_id"`
	// Token is sent as the bearer token when Source is a URL.
	Token string `yaml:"token"`
	// Poll is how often a URL is asked; servers that know OPA's long polling
	// answer at once. Default 30s.
	Poll Duration `yaml:"poll"`
	// Deadline bounds one evaluation; a later one denies. Default 50ms.
	Deadline Duration `yaml:"deadline"`
}

// Envoy is the seam between Envoys and their enforcement point. Whoever reaches
// it can claim to be any client's Envoy.
type Envoy struct {
	// Listen is unix:///path or host:port. Default 127.0.0.1:8702.
	Listen string `yaml:"listen"`
	// TLS is required where Listen is not a socket or a loopback address.
	TLS TLS `yaml:"tls"`
	// TrustedForwarders are the principals, as Envoy names its peers (a SPIFFE
	// id, a DNS name, a subject), whose X-Forwarded-Client-Cert is believed:
	// proxies that have ended the clients' TLS themselves. Default none.
	TrustedForwarders []string `yaml:"trusted_forwarders"`
}

// PDP is how a PEP reaches its PDP, and where a PDP listens for PEPs.
type PDP struct {
	// Address is unix:///path or host:port. `mcpermit pdp` listens there, and
	// `mcpermit up` as well if it is set; `mcpermit-pep` connects to it.
	Address string `yaml:"address"`
	// TLS is required with host:port.
	TLS TLS `yaml:"tls"`
	// Clients says which client certificates may call which services, by the
	// names (DNS, URI or common name) that the certificate carries. Default:
	// every certificate signed by the CA may call DecisionService.
	Clients []PDPClient `yaml:"clients"`
	// Deadline for one decision as the PEP waits for it. Default 250ms.
	Deadline Duration `yaml:"deadline"`
}

// PDPClient allows one certificate name some services.
type PDPClient struct {
	Name     string   `yaml:"name"`
	Services []string `yaml:"services"`
}

// Limits bound what is read.
type Limits struct {
	FrameBytes  int `yaml:"frame_bytes"`  // default 1 MiB
	FrameDepth  int `yaml:"frame_depth"`  // default 64
	FrameValues int `yaml:"frame_values"` // default 10000
	AnswerBytes int `yaml:"answer_bytes"` // one message of an upstream; default 16 MiB
}

// Timeouts bound what is waited for.
type Timeouts struct {
	Drain Duration `yaml:"drain"` // in-flight calls at SIGTERM; default 30s
}

// Audit says how the trail is kept.
type Audit struct {
	// Fsync is "always" (a call goes out only after its record is on disk, the
	// default), "interval" or "never".
	Fsync string `yaml:"fsync"`
	// FsyncInterval goes with Fsync "interval". Default 200ms.
	FsyncInterval Duration `yaml:"fsync_interval"`
}

// Log configures the structured log on standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error; default info
	Format string `yaml:"format"` // text or json; default text
}

// Telemetry configures OpenTelemetry.
type Telemetry struct {
	// OTLP is the gRPC endpoint of a collector, http(s)://host:port. Empty:
	// no export; /metrics is served all the same.
	OTLP string `yaml:"otlp"`
}

// Duration is a time.Duration written as "50ms" or "24h".
type Duration time.Duration

// UnmarshalYAML reads a Go duration.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil || v <= 0 {
		return fmt.Errorf("line %d: %q is not a duration such as 50ms or 24h", n.Line, n.Value)
	}
	*d = Duration(v)
	return nil
}

// Or returns the duration, or the default where none is set.
func (d Duration) Or(otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return time.Duration(d)
}

// UnmarshalYAML accepts a bare source in place of the mapping.
func (p *Policy) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		p.Source = n.Value
		return nil
	}
	type plain Policy
	return n.Load((*plain)(p), yaml.WithKnownFields())
}

// Load reads, resolves and checks the file. The error names the file and says
// what to do.
func Load(file string) (*Config, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no configuration at %s: name one with -c, or start from bundles/example/mcpermit.yaml", file)
	}
	if err != nil {
		return nil, err
	}
	cfg, err := parse(b, filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cfg, nil
}

func parse(b []byte, dir string) (*Config, error) {
	var doc yaml.Node
	if err := yaml.Load(b, &doc); err != nil {
		return nil, err
	}
	if err := resolve(&doc, dir); err != nil {
		return nil, err
	}
	cfg := &Config{Listen: "127.0.0.1:8700", Admin: "127.0.0.1:8701"}
	cfg.Envoy.Listen = "127.0.0.1:8702"
	if err := doc.Load(cfg, yaml.WithKnownFields()); err != nil {
		return nil, err
	}
	if cfg.State.Dir == "" {
		cfg.State.Dir = "state"
	}
	if err := cfg.checkFiles(); err != nil { // before a path is made of what is none
		return nil, err
	}
	cfg.State.Dir = within(dir, cfg.State.Dir)
	cfg.Policy.Source = within(dir, cfg.Policy.Source)
	cfg.Policy.PublicKey = within(dir, cfg.Policy.PublicKey)
	cfg.TLS.Cert, cfg.TLS.Key, cfg.TLS.ClientCA = within(dir, cfg.TLS.Cert), within(dir, cfg.TLS.Key), within(dir, cfg.TLS.ClientCA)
	for i := range cfg.OAuth.Issuers {
		issuer := &cfg.OAuth.Issuers[i]
		issuer.JWKS, issuer.CA = within(dir, issuer.JWKS), within(dir, issuer.CA)
		if path, ok := strings.CutPrefix(issuer.Token, "file:"); ok {
			issuer.Token = "file:" + within(dir, path)
		}
	}
	for _, s := range cfg.Servers {
		for _, c := range s.Credentials {
			if c.JWTBearer != nil {
				c.JWTBearer.Key = within(dir, c.JWTBearer.Key)
			}
		}
	}
	cfg.Vault.within(dir)
	for _, t := range []*TLS{&cfg.PDP.TLS, &cfg.Envoy.TLS} {
		t.Cert, t.Key, t.CA = within(dir, t.Cert), within(dir, t.Key), within(dir, t.CA)
	}
	return cfg, cfg.check()
}

// within makes a relative path relative to the configuration file. URLs and
// empty values stay as they are.
func within(dir, path string) string {
	if path == "" || filepath.IsAbs(path) || strings.Contains(path, "://") {
		return path
	}
	return filepath.Join(dir, path)
}

var reference = regexp.MustCompile(`\$\{(env|file):([^}]+)\}`)

// resolve replaces the references in every scalar of the document.
func resolve(n *yaml.Node, dir string) error {
	for _, c := range n.Content {
		if err := resolve(c, dir); err != nil {
			return err
		}
	}
	if n.Kind != yaml.ScalarNode || !strings.Contains(n.Value, "${") {
		return nil
	}
	var failed error
	n.Value = reference.ReplaceAllStringFunc(n.Value, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		v, err := lookup(m[1], m[2], dir)
		failed = errors.Join(failed, err)
		return v
	})
	if failed != nil {
		return fmt.Errorf("line %d: %w", n.Line, failed)
	}
	return nil
}

func lookup(kind, name, dir string) (string, error) {
	if kind == "env" {
		v, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("environment variable %s is not set", name)
		}
		return v, nil
	}
	b, err := os.ReadFile(within(dir, name))
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), err
}

func (c *Config) check() error {
	for _, a := range []struct{ key, value string }{{"listen", c.Listen}, {"admin", c.Admin}} {
		if _, _, err := net.SplitHostPort(a.value); err != nil {
			return fmt.Errorf("%s: %q is not host:port", a.key, a.value)
		}
	}
	for name, s := range c.Servers {
		if err := s.check(name); err != nil {
			return fmt.Errorf("servers.%s: %w", name, err)
		}
	}
	if c.Policy.PublicKey != "" && c.Policy.KeyID == "" {
		return errors.New("policy.key_id: say which key id the bundle's signature must name")
	}
	for _, o := range []struct {
		key, value string
		values     []string
	}{
		{"audit.fsync", c.Audit.Fsync, []string{"always", "interval", "never"}},
		{"log.level", c.Log.Level, []string{"debug", "info", "warn", "error"}},
		{"log.format", c.Log.Format, []string{"text", "json"}},
	} {
		if err := oneOf(o.key, o.value, o.values...); err != nil {
			return err
		}
	}
	return errors.Join(c.State.check(), c.Quota.check(), c.TLS.check(), c.OAuth.check(), c.Certificates.check(), c.Vault.check(), c.Egress.check(), c.checkPeople(), c.Console.check(), c.Approvals.check(), c.PDP.check(), c.Envoy.check())
}

func (p PDP) check() error {
	if p.Address == "" {
		return nil
	}
	network, _ := SplitAddress(p.Address)
	if network == "tcp" && (p.TLS.Cert == "" || p.TLS.Key == "" || p.TLS.CA == "") {
		return errors.New("pdp.tls: cert, key and ca are needed with a host:port address; or use unix:///path")
	}
	return nil
}

// check wants TLS where others than this machine's own Envoys could connect.
func (e Envoy) check() error {
	network, address := SplitAddress(e.Listen)
	if network == "unix" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("envoy.listen: %q is neither unix:///path nor host:port", e.Listen)
	}
	local := host == "localhost" || net.ParseIP(host).IsLoopback()
	if !local && (e.TLS.Cert == "" || e.TLS.Key == "" || e.TLS.CA == "") {
		return errors.New("envoy.tls: cert, key and ca are needed where listen is not a loopback address; or use unix:///path")
	}
	return nil
}

func oneOf(key, value string, values ...string) error {
	if value == "" || slices.Contains(values, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is not one of %s", key, value, strings.Join(values, ", "))
}

// SplitAddress takes "unix:///path" or "host:port" apart for net.Listen.
func SplitAddress(a string) (network, address string) {
	if path, ok := strings.CutPrefix(a, "unix://"); ok {
		return "unix", path
	}
	return "tcp", a
}

// ServerNames are the names of the servers, sorted.
func (c *Config) ServerNames() []string { return slices.Sorted(maps.Keys(c.Servers)) }

// Only returns the configuration with one of its servers.
func (c *Config) Only(server string) *Config {
	only := *c
	only.Servers = map[string]Server{server: c.Servers[server]}
	return &only
}
