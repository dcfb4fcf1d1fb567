package proxy

import (
	"fmt"
	"net/netip"
	"syscall"
)

// unserved are networks in which no MCP server is, whatever the configuration's name
// resolves to now: what is there are the metadata services of clouds, which give
// credentials to whoever asks, and addresses of no host. Other private networks are
// where upstreams usually are. (The decision point has such a list for where it goes
// by itself, and neither side may import the other.) The single addresses are metadata services outside of
// the link-local networks.
var unserved = prefixes(
	"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/128", "fe80::/10", "ff00::/8",
	"168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::/32",
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// reachable returns a net.Dialer's Control, which sees the address that a name has
// at this very moment: a name that is checked before it is connected to can change
// in between (DNS rebinding).
func reachable(allow []netip.Prefix) func(network, address string, c syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%q is no IP address", address)
		}
		at := to.Addr().Unmap().WithZone("")
		if in(at, unserved) && !in(at, allow) {
			return fmt.Errorf("the upstream's name leads to %s, which is link-local, a metadata service or no host's; egress.allow lists the networks that are meant", at)
		}
		return nil
	}
}

func in(a netip.Addr, networks []netip.Prefix) bool {
	for _, p := range networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
