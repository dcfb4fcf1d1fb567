package egress

import (
	"fmt"
	"net/netip"
)

// Networks that no request may go to because somebody named them: all that is
// not globally reachable by the special-purpose registries of RFC 6890. What
// IPv6 has outside 2000::/3 is refused without being listed.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "3fff::/20",
)

// never are the networks that are refused to trusted hosts as well. A name of the
// configuration that turns up there has been taken over: cloud metadata services
// answer there, and no issuer does. The single addresses are such services
// outside the link-local networks: of Azure, Alibaba, Oracle and AWS.
var never = prefixes(
	"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
	"::/128", "fe80::/10", "fec0::/10", "ff00::/8",
	"168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::/32",
)

var (
	globalIPv6 = netip.MustParsePrefix("2000::/3")
	nat64      = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052: the IPv4 address is at the end
	sixToFour  = netip.MustParsePrefix("2002::/16")    // RFC 3056: it follows the prefix
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// checkAddress says why nothing may be sent to the address, or nil. trusted is
// whether the configuration names the host.
func (g *guard) checkAddress(addr netip.Addr, trusted bool) error {
	for _, a := range meanings(addr) {
		switch {
		case in(a, g.allow):
		case in(a, never):
			return fmt.Errorf("%w: %s is link-local, a metadata service or no host's address", ErrRefused, addr)
		case !trusted && !global(a):
			return fmt.Errorf("%w: %s is not a public address; egress.allow lists the networks that are meant", ErrRefused, addr)
		}
	}
	return nil
}

// meanings are the addresses at which a packet to addr may arrive: itself, and the
// IPv4 address that a translator takes out of it.
func meanings(addr netip.Addr) []netip.Addr {
	addr = addr.Unmap().WithZone("")
	b := addr.As16()
	switch {
	case nat64.Contains(addr):
		// The prefix belongs to whoever runs the translator; only what is in it counts.
		return []netip.Addr{netip.AddrFrom4([4]byte(b[12:16]))}
	case sixToFour.Contains(addr):
		return []netip.Addr{addr, netip.AddrFrom4([4]byte(b[2:6]))}
	}
	return []netip.Addr{addr}
}

func global(a netip.Addr) bool {
	if a.Is6() && !globalIPv6.Contains(a) {
		return false
	}
	return !in(a, special) && !in(a, never)
}

func in(a netip.Addr, networks []netip.Prefix) bool {
	for _, p := range networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
