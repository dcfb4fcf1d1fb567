package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestUpstreamsAreNotWhereMetadataIs(t *testing.T) {
	for address, refused := range map[string]bool{
		"127.0.0.1:80": false, "10.0.0.1:80": false, "192.168.1.1:443": false, "[fd00::1]:80": false, "[::1]:80": false, "8.8.8.8:443": false,
		"169.254.169.254:80": true, "[::ffff:169.254.169.254]:80": true, "[fe80::1%eth0]:80": true, "[fd00:ec2::254]:80": true,
		"0.0.0.0:80": true, "[::]:80": true, "224.0.0.1:80": true, "[ff02::1]:80": true, "255.255.255.255:80": true,
		"168.63.129.16:80": true, "100.100.100.200:80": true, "localhost:80": true,
	} {
		if err := reachable(nil)("tcp", address, nil); (err != nil) != refused {
			t.Errorf("%s: %v", address, err)
		}
	}
	allow := []netip.Prefix{netip.MustParsePrefix("169.254.20.0/24")}
	if err := reachable(allow)("tcp", "169.254.20.10:80", nil); err != nil {
		t.Errorf("a network that is allowed: %v", err)
	}
	if reachable(allow)("tcp", "169.254.169.254:80", nil) == nil {
		t.Error("a network beside the one that is allowed is let through")
	}
}

// The address counts that is connected to, and not the name.
func TestAnUpstreamsNameThatLeadsToMetadataIsNotConnectedTo(t *testing.T) {
	transport := NewTransport(nil)
	defer transport.CloseIdleConnections()
	for _, host := range []string{"169.254.169.254", "[::ffff:a9fe:a9fe]", "0.0.0.0"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+net.JoinHostPort(strings.Trim(host, "[]"), "80")+"/mcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(req)
		if err == nil {
			res.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "egress.allow") {
			t.Errorf("%s: %v", host, err)
		}
	}
}
