package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseResource(t *testing.T) {
	for _, want := range []resource{
		{raw: "file:///a/b", uri: "file:///a/b", scheme: "file", path: "/a/b"},
		{raw: "FILE:///a/./b/../c", uri: "file:///a/c", scheme: "file", path: "/a/c"},
		{raw: "file:///a/%2e%2E/b", uri: "file:///b", scheme: "file", path: "/b"},
		{raw: "file:///a%2fb%7e", uri: "file:///a%2Fb~", scheme: "file", path: "/a%2Fb~"},
		{raw: "file:///../../etc/passwd", uri: "file:///etc/passwd", scheme: "file", path: "/etc/passwd"},
		{raw: "file:///a/..", uri: "file:///", scheme: "file", path: "/"},
		{raw: "file:///a/.", uri: "file:///a/", scheme: "file", path: "/a/"},
		{raw: "file:///a//b", uri: "file:///a//b", scheme: "file", path: "/a//b"},
		{raw: "file:///a.b/..c/...", uri: "file:///a.b/..c/...", scheme: "file", path: "/a.b/..c/..."},
		{raw: "HTTPS://User@Example.COM:8443/a?q=%41#F", uri: "https://User@example.com:8443/a?q=A#F", scheme: "https", host: "example.com", path: "/a"},
		{raw: "https://ex%41mple.com", uri: "https://example.com", scheme: "https", host: "example.com"},
		{raw: "https://a@b@c/x", uri: "https://a@b@c/x", scheme: "https", host: "c", path: "/x"},
		{raw: "https://[2001:DB8::1]:80/x", uri: "https://[2001:db8::1]:80/x", scheme: "https", host: "[2001:db8::1]", path: "/x"},
		{raw: "file:///x?path=/../y", uri: "file:///x?path=/../y", scheme: "file", path: "/x"},
		{raw: "urn:isbn:123", uri: "urn:isbn:123", scheme: "urn", path: "isbn:123"},
		{raw: "x:/a/..//b", uri: "x:/.//b", scheme: "x", path: "//b"},
		{raw: "notes/a/../b", uri: "notes/b", path: "notes/b"},
		{raw: "1x:y", uri: "1x:y", path: "1x:y"},
		{raw: "file:///logs/{name}", uri: "file:///logs/{name}", scheme: "file", path: "/logs/{name}"},
		{raw: "file:///100%", uri: "file:///100%", scheme: "file", path: "/100%"},
		{raw: "file:///%zz", uri: "file:///%zz", scheme: "file", path: "/%zz"},
		{raw: "file:///my documents/ä", uri: "file:///my documents/ä", scheme: "file", path: "/my documents/ä"},
		{raw: "", uri: ""},
	} {
		got, err := parseResource(want.raw)
		if err != nil {
			t.Errorf("%q: %v", want.raw, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(resource{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", want.raw, diff)
		}
	}
	for _, raw := range []string{"file:///a\\b", " file:///a", "file:///a ", "file:///a\tb", "file:///a\nb", "file:///a\x00", "file:///a\x7f", "file:///a\u00a0"} {
		if got, err := parseResource(raw); err == nil {
			t.Errorf("%q was read as %+v", raw, got)
		}
	}
}

// FuzzResource normalises what is normal already, and looks for what a
// normalised path must not have.
func FuzzResource(f *testing.F) {
	for _, seed := range []string{"file:///a/../b", "a:b:c", "//h/..", "x:%2e%2e/%2e", "x://u@h:1/%41?#", "x:/..//..", "%25%32%65", "./ 0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		once, err := parseResource(raw)
		if err != nil || once.scheme == "" {
			return // what is no URI may look like another thing once it is normal
		}
		twice, err := parseResource(once.uri)
		if err != nil {
			t.Fatalf("%q became %q, which is refused: %v", raw, once.uri, err)
		}
		twice.raw = once.raw
		if diff := cmp.Diff(once, twice, cmp.AllowUnexported(resource{})); diff != "" {
			t.Fatalf("%q once (-) and twice (+):\n%s", raw, diff)
		}
		for _, segment := range strings.Split(once.path, "/") {
			if segment == "." || segment == ".." {
				t.Fatalf("%q has the path %q", raw, once.path)
			}
		}
	})
}
