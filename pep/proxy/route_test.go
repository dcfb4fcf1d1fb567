package proxy

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestT17_HostsAndOrigins(t *testing.T) {
	rules, err := newHostRules([]string{"gw.example", "pinned.example:8443"}, []string{"https://chat.example", "http://dev.example:3000"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host, origin string
		want         error
	}{
		{"localhost:8700", "", nil},
		{"LOCALHOST:8700", "", nil},
		{"127.0.0.1", "", nil},
		{"[::1]:8700", "", nil},
		{"gw.example", "", nil},
		{"gw.example:1", "", nil},
		{"pinned.example:8443", "", nil},

		{"", "", errHost},
		{"evil.example", "", errHost},
		{"pinned.example", "", errHost},
		{"pinned.example:8444", "", errHost},
		{"localhost.", "", errHost},
		{"localhost.evil.example", "", errHost},
		{"localhost:8700@evil", "", errHost},
		{"localhost:", "", errHost},
		{"localhost:8700:1", "", errHost},
		{"localhost:port", "", errHost},
		{"[::1", "", errHost},
		{"[::1]8700", "", errHost},
		{"127.0.0.2", "", errHost},
		{"127.0.0.1:8700/x", "", errHost},
		{"2130706433", "", errHost},

		{"localhost:8700", "http://localhost:8700", nil},
		{"localhost:8700", "http://127.0.0.1:8700", nil},
		{"localhost:8700", "http://[::1]:8700", nil},
		{"127.0.0.1", "http://localhost", nil},
		{"gw.example", "https://gw.example", nil},
		{"gw.example:443", "https://gw.example", nil},
		{"gw.example", "https://chat.example", nil},
		{"gw.example", "https://CHAT.example:443", nil},
		{"gw.example", "http://dev.example:3000", nil},

		{"localhost:8700", "http://localhost:3000", errOrigin},
		{"localhost:8700", "http://localhost", errOrigin},
		{"gw.example", "http://chat.example", errOrigin},
		{"gw.example", "http://dev.example", errOrigin},
		{"localhost:8700", "null", errOrigin},
		{"localhost:8700", "", nil},
		{"localhost:8700", "file://", errOrigin},
		{"localhost:8700", "http://evil.example", errOrigin},
		{"localhost:8700", "http://localhost:1@evil.example", errOrigin},
		{"localhost:8700", "http://127.0.0.1.evil.example:8700", errOrigin},
		{"localhost:8700", "http://localhost:8700/", errOrigin},
		{"localhost:8700", "http://localhost:8700.evil.example", errOrigin},
		{"localhost:8700", "ftp://localhost:8700", errOrigin},
		{"localhost:8700", "//localhost:8700", errOrigin},
		{"localhost:8700", " http://localhost:8700", errOrigin},
	} {
		var origins []string
		if c.origin != "" {
			origins = []string{c.origin}
		}
		if got := rules.check(c.host, origins); !errors.Is(got, c.want) {
			t.Errorf("Host %q, Origin %q: %v, want %v", c.host, c.origin, got, c.want)
		}
	}
}

// FuzzServerName holds the router to its promise: what it accepts is the
// canonical path of a name, so that no other reader of the path can see
// another server in it.
func FuzzServerName(f *testing.F) {
	for _, s := range []string{"/mcp/a", "/mcp/a/", "/mcp/a//", "/mcp/../a", "/mcp/%61", "/mcp/a?x", "/mcp/a;b", "*", "http://x/mcp/a", "/mcp/" + strings.Repeat("a", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		name, ok := serverName(mcpPrefix, target)
		if !ok {
			return
		}
		if target != "/mcp/"+name && target != "/mcp/"+name+"/" {
			t.Errorf("%q names %q", target, name)
		}
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Path != target || u.RawQuery != "" || u.EscapedPath() != target {
			t.Errorf("%q is read as %v, %v", target, u, err)
		}
	})
}

// FuzzOrigin compares the reading of an origin with that of net/url.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"http://localhost:8700", "https://[::1]", "null", "http://localhost:1@evil.example", "http://a\\b", "http://ａ", "HTTP://A:0080"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, origin string) {
		_, at, ok := parseOrigin(origin)
		if !ok {
			return
		}
		u, err := url.Parse(origin)
		if err != nil {
			return
		}
		if u.User != nil || u.Path != "" || u.RawQuery != "" || strings.ToLower(u.Host) != strings.TrimSuffix(at.name+":"+at.port, ":") {
			t.Errorf("%q is read as %v here and as %v there", origin, at, u)
		}
	})
}

// FuzzLineScanner checks that framing lines are counted however the bytes are
// cut.
func FuzzLineScanner(f *testing.F) {
	f.Add("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n{\n}", 3)
	f.Add("content-length:\ncontent-length:\n\n", 1)
	f.Fuzz(func(t *testing.T, s string, cut int) {
		var whole, parts lineScanner
		whole.scan([]byte(s))
		if len(s) > 0 {
			cut = ((cut % len(s)) + len(s)) % len(s)
		} else {
			cut = 0
		}
		parts.scan([]byte(s[:cut]))
		parts.scan([]byte(s[cut:]))
		if whole.lengths != parts.lengths || whole.codings != parts.codings {
			t.Errorf("%q cut at %d: %d %d, whole: %d %d", s, cut, parts.lengths, parts.codings, whole.lengths, whole.codings)
		}
		lines := 0
		for line := range strings.SplitSeq(s, "\n") {
			name, _, has := strings.Cut(line, ":")
			if has && strings.EqualFold(name, "content-length") && !strings.ContainsAny(name, "\u017f\u212a") {
				lines++
			}
		}
		if whole.lengths < lines {
			t.Errorf("%q: %d lines, counted %d", s, lines, whole.lengths)
		}
	})
}
