package proxy

import (
	"errors"
	"fmt"
	"strings"
)

const (
	mcpPrefix       = "/mcp/"
	wellKnownPrefix = "/.well-known/"
)

func isWellKnown(target string) bool { return strings.HasPrefix(target, wellKnownPrefix) }

// serverName takes the server's name from the raw request target: exactly
// /mcp/NAME or /mcp/NAME/, where /mcp/ is the prefix. Nothing is decoded, cleaned
// or folded: what is not its canonical form byte for byte names no server.
func serverName(prefix, target string) (name string, ok bool) {
	name, ok = strings.CutPrefix(target, prefix)
	name = strings.TrimSuffix(name, "/")
	return name, ok && isServerName(name)
}

func isServerName(s string) bool {
	if len(s) == 0 || len(s) > 63 {
		return false
	}
	for _, c := range []byte(s) {
		if c != '-' && (c < '0' || '9' < c) && (c < 'a' || 'z' < c) {
			return false
		}
	}
	return true
}

// hostRules are the names under which the proxy may be addressed, and the web
// origins that may address it. They defeat DNS rebinding.
type hostRules struct {
	hosts   map[authority]bool // an empty port stands for any
	origins map[string]bool
}

func newHostRules(hosts, origins []string) (hostRules, error) {
	rules := hostRules{hosts: map[authority]bool{}, origins: map[string]bool{}}
	for _, h := range hosts {
		a, ok := parseAuthority(h)
		if !ok {
			return rules, fmt.Errorf("proxy: allowed host %q is neither name nor name:port", h)
		}
		rules.hosts[a] = true
	}
	for _, o := range origins {
		scheme, a, ok := parseOrigin(o)
		if !ok {
			return rules, fmt.Errorf("proxy: allowed origin %q is not of the form https://name or https://name:port", o)
		}
		rules.origins[a.origin(scheme)] = true
	}
	return rules, nil
}

var (
	errHost   = errors.New("this Host is not served here; add it to the allowed hosts")
	errOrigin = errors.New("this Origin may not call the gateway; add it to the allowed origins")
)

// check says whether a request with this Host and these Origin headers may
// come in.
func (r hostRules) check(host string, origins []string) error {
	at, ok := parseAuthority(host)
	if !ok || !at.isLoopback() && !r.hosts[at] && !r.hosts[authority{name: at.name}] {
		return errHost
	}
	if len(origins) == 0 {
		return nil
	}
	scheme, from, ok := parseOrigin(origins[0])
	switch {
	case !ok || len(origins) > 1:
		return errOrigin
	case r.origins[from.origin(scheme)]:
		return nil
	case from.effectivePort(scheme) != at.effectivePort(scheme):
		return errOrigin
	case from.name == at.name, from.isLoopback() && at.isLoopback():
		return nil
	}
	return errOrigin
}

// authority is a host with its port as a Host header or an origin writes it;
// the name is in lower case, an IPv6 address keeps its brackets.
type authority struct{ name, port string }

func (a authority) isLoopback() bool {
	return a.name == "localhost" || a.name == "127.0.0.1" || a.name == "[::1]"
}

func (a authority) effectivePort(scheme string) string {
	switch {
	case a.port != "":
		return a.port
	case scheme == "https":
		return "443"
	}
	return "80"
}

func (a authority) origin(scheme string) string {
	return scheme + "://" + a.name + ":" + a.effectivePort(scheme)
}

// parseAuthority reads "name", "name:port" or the same with an IPv6 address in
// brackets, and nothing else: no user, no path, no blank.
func parseAuthority(s string) (a authority, ok bool) {
	end := strings.IndexByte(s, ']') + 1
	if !strings.HasPrefix(s, "[") {
		end = len(s)
		if i := strings.IndexByte(s, ':'); i >= 0 {
			end = i
		}
	}
	a.name = strings.ToLower(s[:end])
	rest, hasPort := strings.CutPrefix(s[end:], ":")
	if hasPort {
		a.port = rest
	}
	if a.name == "" || rest != a.port || hasPort && !isPort(a.port) {
		return authority{}, false
	}
	for _, c := range []byte(strings.Trim(a.name, "[]")) {
		if c != '-' && c != '.' && c != ':' && c != '_' && (c < '0' || '9' < c) && (c < 'a' || 'z' < c) {
			return authority{}, false
		}
	}
	return a, true
}

func isPort(s string) bool {
	if len(s) == 0 || len(s) > 5 {
		return false
	}
	for _, c := range []byte(s) {
		if c < '0' || '9' < c {
			return false
		}
	}
	return true
}

func parseOrigin(s string) (scheme string, a authority, ok bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "http" && scheme != "https" {
		return "", authority{}, false
	}
	a, ok = parseAuthority(rest)
	return scheme, a, ok
}
