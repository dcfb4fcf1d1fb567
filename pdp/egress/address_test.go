package egress

import (
	"errors"
	"net/netip"
	"testing"
)

func TestAddresses(t *testing.T) {
	const public, private, never = "public", "private", "never"
	for address, want := range map[string]string{
		"8.8.8.8": public, "1.1.1.1": public, "172.15.255.255": public, "172.32.0.0": public, "100.63.255.255": public,
		"100.128.0.0": public, "9.255.255.255": public, "11.0.0.0": public, "126.255.255.255": public, "128.0.0.1": public,
		"169.253.255.255": public, "169.255.0.0": public, "192.167.255.255": public, "192.169.0.0": public,
		"198.17.255.255": public, "198.20.0.0": public, "223.255.255.255": public,
		"2606:4700:4700::1111": public, "2a00:1450:4001::200e": public, "2001:4860:4860::8888": public,

		"127.0.0.1": private, "127.255.255.254": private, "10.0.0.0": private, "10.255.255.255": private,
		"172.16.0.0": private, "172.31.255.255": private, "192.168.0.1": private, "192.168.255.255": private,
		"100.64.0.0": private, "100.127.255.255": private, "198.18.0.1": private, "198.19.255.255": private,
		"192.0.0.1": private, "192.0.2.1": private, "198.51.100.1": private, "203.0.113.1": private, "192.88.99.1": private,
		"::1": private, "fc00::1": private, "fdff::1": private, "2001:db8::1": private, "3fff::1": private,
		"2001::1": private, "2001:1ff::1": private, // Teredo and others of 2001::/23
		"100::1": private, "4000::1": private, "64:ff9b:1::7f00:1": private, "::7f00:1": private,

		"0.0.0.0": never, "0.1.2.3": never, "169.254.0.1": never, "169.254.169.254": never, "169.254.255.255": never,
		"224.0.0.1": never, "239.255.255.255": never, "240.0.0.1": never, "255.255.255.255": never,
		"::": never, "fe80::1": never, "febf::1": never, "fe80::1%eth0": never, "fec0::1": never, "ff02::1": never,
		"168.63.129.16": never, "100.100.100.200": never, "192.0.0.192": never, "fd00:ec2::254": never,

		// The same in other clothes.
		"::ffff:8.8.8.8": public, "::ffff:127.0.0.1": private, "::ffff:10.1.2.3": private, "::ffff:169.254.169.254": never, "::ffff:0.0.0.0": never,
		"64:ff9b::8.8.8.8": public, "64:ff9b::127.0.0.1": private, "64:ff9b::10.1.2.3": private, "64:ff9b::169.254.169.254": never,
		"2002:808:808::1": public, "2002:7f00:1::1": private, "2002:a01:203::1": private, "2002:6440:1::": private, "2002:a9fe:a9fe::1": never,
	} {
		addr := netip.MustParseAddr(address)
		var g guard
		if err := g.checkAddress(addr, false); (err == nil) != (want == public) || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s, which others name: %v; want %s", address, err, want)
		}
		if err := g.checkAddress(addr, true); (err == nil) != (want != never) {
			t.Errorf("%s of a trusted host: %v; want %s", address, err, want)
		}
	}
}

func TestAllowedNetworks(t *testing.T) {
	g := guard{allow: prefixes("10.1.0.0/16", "169.254.169.254/32", "fd00::/8")}
	for address, want := range map[string]bool{
		"10.1.2.3": true, "10.2.0.1": false, "::ffff:10.1.2.3": true, "64:ff9b::10.1.2.3": true, "64:ff9b::10.2.2.3": false,
		"169.254.169.254": true, "169.254.169.253": false, "fd12::1": true, "fc00::1": false, "127.0.0.1": false,
		"2002:a01:203::": true,
	} {
		if err := g.checkAddress(netip.MustParseAddr(address), false); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}
