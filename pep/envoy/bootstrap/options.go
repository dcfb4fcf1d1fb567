package bootstrap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// What Options leaves open.
const (
	DefaultListen     = "127.0.0.1:8700"
	DefaultPEP        = "127.0.0.1:8702"
	DefaultMaxBytes   = 1 << 20
	DefaultUpstreamCA = "/etc/ssl/certs/ca-certificates.crt" // Debian's, Ubuntu's, Alpine's and Envoy's own images'
)

// most is the longest frame that may be asked for: Envoy holds it in memory,
// and once more on its way to the enforcement point.
const most = 64 << 20

// Options say what Envoy stands in front of, and where.
type Options struct {
	// Listen is where MCP clients connect, IP:port. The client's URL of a
	// server is http://LISTEN/mcp/NAME/. Default [DefaultListen].
	Listen string
	// PEP is where `mcpermit-pep envoy` serves gRPC: host:port, or
	// unix:///path. Default [DefaultPEP].
	PEP string
	// Servers are the MCP servers, at least one.
	Servers []Server
	// OAuthPath is the path of the address at which clients show access tokens, such
	// as /oauth: each server is below it as well, and so is the metadata that leads
	// clients to the authorization servers. Default none.
	OAuthPath string
	// MaxBytes is the longest frame of a client. Default [DefaultMaxBytes]. The
	// enforcement point's own limit must not be higher: it is asked about one
	// byte more, and a body that Envoy cut off is known by that length.
	MaxBytes int
	// TLS is what clients are served with. The zero value is plain HTTP.
	TLS TLS
	// UpstreamCA is a PEM file with the authorities that certificates of https
	// servers are checked against. Default [DefaultUpstreamCA].
	UpstreamCA string
	// Admin is where Envoy's admin interface listens, IP:port. It can stop
	// Envoy and shows its configuration: loopback only. Default none.
	Admin string
	// AccessLog is a file, or "-" for standard output, that gets one line of
	// JSON for each request, in addition to what the enforcement point is told.
	// Default none.
	AccessLog string
}

// Server is one MCP server behind Envoy.
type Server struct {
	// Name is 1 to 63 of a-z, 0-9 and "-".
	Name string
	// URL of its streamable HTTP endpoint.
	URL string
}

// TLS names PEM files, as Envoy finds them.
type TLS struct {
	// Cert and Key are the listener's certificate and its private key.
	Cert, Key string
	// ClientCA signs the certificates that clients must show. Without it they
	// are asked for none.
	ClientCA string
}

// settled are options in which everything is decided and checked.
type settled struct {
	listen, pep, admin *corev3.Address // admin may be nil
	upstreams          []upstream
	oauthPath          string // empty for none
	maxBytes           uint32
	tls                TLS
	upstreamCA         string
	accessLog          string
}

func (o Options) settle() (*settled, error) {
	s := &settled{
		maxBytes: DefaultMaxBytes, tls: o.TLS, accessLog: o.AccessLog,
		upstreamCA: orDefault(o.UpstreamCA, DefaultUpstreamCA), oauthPath: o.OAuthPath,
	}
	var err error
	if s.listen, err = bindAddress(orDefault(o.Listen, DefaultListen)); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if s.pep, err = pepAddress(orDefault(o.PEP, DefaultPEP)); err != nil {
		return nil, fmt.Errorf("pep: %w", err)
	}
	if o.Admin != "" {
		if s.admin, err = bindAddress(o.Admin); err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
	}
	if o.MaxBytes != 0 {
		if o.MaxBytes < 1024 || o.MaxBytes > most {
			return nil, fmt.Errorf("max-bytes: %d is not between 1024 and %d", o.MaxBytes, most)
		}
		s.maxBytes = uint32(o.MaxBytes)
	}
	if !isOAuthPath(o.OAuthPath) {
		return nil, fmt.Errorf("oauth-path: %q is not a path such as /oauth, apart from /mcp", o.OAuthPath)
	}
	if err := o.TLS.check(); err != nil {
		return nil, err
	}
	if s.upstreams, err = upstreams(o.Servers); err != nil {
		return nil, err
	}
	return s, nil
}

var oauthPath = regexp.MustCompile(`^(/[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)+$`)

// isOAuthPath says whether a path has one spelling only, and is nobody else's.
func isOAuthPath(path string) bool {
	return path == "" || oauthPath.MatchString(path) && path != "/mcp" && !strings.HasPrefix(path, "/mcp/")
}

func (t TLS) check() error {
	if (t.Cert == "") != (t.Key == "") {
		return errors.New("tls: a certificate and its private key go together; give both or neither")
	}
	if t.ClientCA != "" && t.Cert == "" {
		return errors.New("tls: client certificates need a listener with a certificate of its own; give it, and its key")
	}
	return nil
}

// upstream is a Server, taken apart.
type upstream struct {
	name   string
	secure bool // https
	host   string
	port   uint32
	// authority and target are what the server sees: its URL's host as it is
	// written, and its path with the query.
	authority, target string
}

func upstreams(servers []Server) ([]upstream, error) {
	if len(servers) == 0 {
		return nil, errors.New("servers: there is none; give at least one name with the URL of an MCP server")
	}
	out := make([]upstream, 0, len(servers))
	seen := make(map[string]bool, len(servers))
	for _, s := range servers {
		if !isServerName(s.Name) {
			return nil, fmt.Errorf("servers: the name %q is not 1 to 63 of a-z, 0-9 and -", s.Name)
		}
		if seen[s.Name] {
			return nil, fmt.Errorf("servers: %s is given twice; each server needs a name of its own", s.Name)
		}
		seen[s.Name] = true
		u, err := parseURL(s.URL)
		if err != nil {
			return nil, fmt.Errorf("servers: %s: %w", s.Name, err)
		}
		u.name = s.Name
		out = append(out, u)
	}
	return out, nil
}

func isServerName(s string) bool {
	return len(s) >= 1 && len(s) <= 63 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func parseURL(raw string) (upstream, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		// Without the URL: it may hold a password.
		return upstream{}, errors.New("the URL is not http(s)://host[:port]/path without user name and fragment")
	}
	up := upstream{
		secure: u.Scheme == "https", host: u.Hostname(), port: 80,
		authority: u.Host, target: u.RequestURI(),
	}
	if up.secure {
		up.port = 443
	}
	if u.Port() != "" {
		if up.port, err = parsePort(u.Port()); err != nil {
			return upstream{}, fmt.Errorf("the URL's %w", err)
		}
	}
	return up, nil
}

// bindAddress reads an address to listen at. Envoy resolves no names for that.
func bindAddress(s string) (*corev3.Address, error) {
	host, port, err := splitHostPort(s)
	if err != nil {
		return nil, err
	}
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	if !isIP(host) {
		return nil, fmt.Errorf("%q is not an IP address that Envoy could listen at; give one, such as 127.0.0.1 or 0.0.0.0", host)
	}
	return socketAddress(host, port), nil
}

// pepAddress reads an address to connect to.
func pepAddress(s string) (*corev3.Address, error) {
	path, local := strings.CutPrefix(s, "unix://")
	switch {
	case !local:
		host, port, err := splitHostPort(s)
		if err == nil && (host == "" || port == 0) {
			err = fmt.Errorf("%q says not whom to connect to; give host:port or unix:///path", s)
		}
		if err != nil {
			return nil, err
		}
		return socketAddress(host, port), nil
	case !filepath.IsAbs(path):
		return nil, fmt.Errorf("the socket's path %q is not absolute; give unix:///path", path)
	case len(path) > 107:
		return nil, fmt.Errorf("the socket's path has %d bytes, and the system takes at most 107; give a shorter one", len(path))
	}
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}, nil
}

func splitHostPort(s string) (host string, port uint32, err error) {
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not host:port", s)
	}
	port, err = parsePort(text)
	return host, port, err
}

func parsePort(s string) (uint32, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %q is not a number up to 65535", s)
	}
	return uint32(port), nil
}

func socketAddress(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
