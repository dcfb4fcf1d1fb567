package bootstrap

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

var update = flag.Bool("update", false, "write the golden files anew")

func two() Options {
	return Options{Servers: []Server{
		{Name: "payments", URL: "http://127.0.0.1:8080/mcp"},
		{Name: "crm", URL: "https://crm.example/v1/mcp?tenant=7"},
	}}
}

func build(t *testing.T, o Options) *bootstrapv3.Bootstrap {
	t.Helper()
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, o Options) string {
	t.Helper()
	text, err := YAML(build(t, o))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestGolden(t *testing.T) {
	got := write(t, two())
	path := filepath.Join("testdata", "two.yaml")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestSameOptionsAreTheSameBytes(t *testing.T) {
	first := write(t, two())
	for range 20 {
		if again := write(t, two()); again != first {
			t.Fatalf("differs:\n%s", cmp.Diff(first, again))
		}
	}
}

// all calls f with every message below m, those in an Any too.
func all(t *testing.T, m proto.Message, f func(proto.Message)) {
	t.Helper()
	f(m)
	if packed, ok := m.(*anypb.Any); ok {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		all(t, inner, f)
		return
	}
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					all(t, v.Message().Interface(), f)
					return true
				})
			}
		case fd.IsList():
			for i := 0; fd.Message() != nil && i < v.List().Len(); i++ {
				all(t, v.List().Get(i).Message().Interface(), f)
			}
		case fd.Message() != nil:
			all(t, v.Message().Interface(), f)
		}
		return true
	})
}

// found are the messages of one type.
func found[M proto.Message](t *testing.T, in proto.Message) []M {
	t.Helper()
	var out []M
	all(t, in, func(m proto.Message) {
		if m, ok := m.(M); ok {
			out = append(out, m)
		}
	})
	return out
}

func TestNothingFailsOpen_I1(t *testing.T) {
	b := build(t, two())
	questions := found[*authzv3.ExtAuthz](t, b)
	if len(questions) != 1 {
		t.Fatalf("%d ext_authz filters", len(questions))
	}
	if q := questions[0]; q.GetFailureModeAllow() || q.GetWithRequestBody().GetAllowPartialMessage() || !q.GetValidateMutations() ||
		q.GetFilterEnabled() != nil || q.GetFilterEnabledMetadata() != nil {
		t.Errorf("a request may pass undecided: %v", q)
	}
	answers := found[*procv3.ExternalProcessor](t, b)
	if len(answers) != 1 {
		t.Fatalf("%d ext_proc filters", len(answers))
	}
	if a := answers[0]; a.GetFailureModeAllow() || a.GetObservabilityMode() || a.GetAllowModeOverride() {
		t.Errorf("an answer may pass unread: %v", a)
	}
}

func TestOnlyWhatLeadsNowhereIsNotAsked_I1(t *testing.T) {
	for _, route := range build(t, two()).GetStaticResources().GetListeners() {
		for _, r := range found[*authzv3.ExtAuthzPerRoute](t, route) {
			if r.GetCheckSettings().GetContextExtensions()[ServerKey] == "" && !r.GetDisabled() {
				t.Errorf("a route names no server: %v", r)
			}
		}
	}
	text := write(t, two())
	if n := strings.Count(text, "disabled: true"); n != 1 {
		t.Errorf("%d routes are not asked about, want the one to nowhere", n)
	}
	if _, after, _ := strings.Cut(text, "name: nowhere"); !strings.Contains(after, "disabled: true") {
		t.Error("the route that is not asked about is not the last one")
	}
}

func TestEveryMessageKeepsEnvoysRules(t *testing.T) {
	o := two()
	o.TLS = TLS{Cert: "/c.pem", Key: "/k.pem", ClientCA: "/ca.pem"}
	o.Admin, o.AccessLog = "127.0.0.1:9901", "/var/log/mcp.json"
	checked := 0
	all(t, build(t, o), func(m proto.Message) {
		if m, ok := m.(interface{ ValidateAll() error }); ok {
			checked++
			if err := m.ValidateAll(); err != nil {
				t.Error(err)
			}
		}
	})
	if checked < 100 {
		t.Errorf("only %d messages were checked", checked)
	}
}

func TestClusters(t *testing.T) {
	o := two()
	o.PEP = "unix:///run/mcpermit/pep.sock"
	o.Servers = append(o.Servers, Server{Name: "six", URL: "https://[2001:db8::1]:8443"}, Server{Name: "mcpermit", URL: "http://localhost"})
	type summary struct{ name, kind, at string }
	var got []summary
	for _, c := range build(t, o).GetStaticResources().GetClusters() {
		at := c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress()
		got = append(got, summary{c.GetName(), c.GetType().String(), at.GetPipe().GetPath() + at.GetSocketAddress().GetAddress()})
	}
	want := []summary{
		{"mcpermit", "STATIC", "/run/mcpermit/pep.sock"},
		{"mcpermit_answers", "STATIC", "/run/mcpermit/pep.sock"},
		{"server_payments", "STATIC", "127.0.0.1"},
		{"server_crm", "STRICT_DNS", "crm.example"},
		{"server_six", "STATIC", "2001:db8::1"},
		{"server_mcpermit", "STRICT_DNS", "localhost"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(summary{})); diff != "" {
		t.Error(diff)
	}
}

func TestHTTPSServersAreKnownByTheirNames(t *testing.T) {
	o := Options{Servers: []Server{{Name: "a", URL: "https://crm.example/"}, {Name: "b", URL: "https://192.0.2.1/"}, {Name: "c", URL: "http://plain.example/"}}}
	clusters := build(t, o).GetStaticResources().GetClusters()
	secure := slices.DeleteFunc(slices.Clone(clusters), func(c *clusterv3.Cluster) bool { return c.GetTransportSocket() == nil })
	if len(secure) != 2 {
		t.Fatalf("%d clusters with TLS, want 2", len(secure))
	}
	text := write(t, o)
	for _, want := range []string{"sni: crm.example\n", "- san_type: DNS\n", "exact: crm.example\n", "- san_type: IP_ADDRESS\n", "exact: 192.0.2.1\n"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%d times %q, want 1", strings.Count(text, want), want)
		}
	}
}

func TestBadOptionsSayWhatToChange(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Servers = nil }, "servers: there is none; give at least one"},
		{func(o *Options) { o.Servers[0].Name = "Pay_ments" }, `"Pay_ments" is not 1 to 63 of a-z, 0-9 and -`},
		{func(o *Options) { o.Servers[0].Name = strings.Repeat("a", 64) }, "is not 1 to 63"},
		{func(o *Options) { o.Servers[0].Name = "" }, "is not 1 to 63"},
		{func(o *Options) { o.Servers[1].Name = "payments" }, "payments is given twice"},
		{func(o *Options) { o.Servers[0].URL = "ftp://host/" }, "payments: the URL is not http(s)://"},
		{func(o *Options) { o.Servers[0].URL = "http:///mcp" }, "the URL is not http(s)://"},
		{func(o *Options) { o.Servers[0].URL = "http://host/#x" }, "without user name and fragment"},
		{func(o *Options) { o.Servers[0].URL = "http://host:70000/" }, `port "70000" is not a number up to 65535`},
		{func(o *Options) { o.Listen = "8700" }, `listen: "8700" is not host:port`},
		{func(o *Options) { o.Listen = "mcp.example:80" }, `listen: "mcp.example" is not an IP address`},
		{func(o *Options) { o.Admin = "127.0.0.1" }, "admin:"},
		{func(o *Options) { o.PEP = "unix://run/pep.sock" }, "pep: the socket's path \"run/pep.sock\" is not absolute"},
		{func(o *Options) { o.PEP = "unix:///" + strings.Repeat("a", 107) }, "give a shorter one"},
		{func(o *Options) { o.PEP = ":8702" }, "says not whom to connect to"},
		{func(o *Options) { o.MaxBytes = 1 << 30 }, "max-bytes: 1073741824 is not between"},
		{func(o *Options) { o.MaxBytes = -1 }, "max-bytes:"},
		{func(o *Options) { o.TLS.Cert = "c" }, "tls: a certificate and its private key go together"},
		{func(o *Options) { o.TLS.ClientCA = "ca" }, "tls: client certificates need a listener"},
	} {
		o := two()
		c.change(&o)
		b, err := New(o)
		if err == nil || !strings.Contains(err.Error(), c.want) || b != nil {
			t.Errorf("got %v, want an error with %q", err, c.want)
		}
	}
}

func TestURLWithAPasswordIsNotRepeated_I6(t *testing.T) {
	o := two()
	o.Servers[0].URL = "http://ann:s3cret@host/"
	if _, err := New(o); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}

func TestAccessLogHasNothingOfTheClientsHeaders_I6(t *testing.T) {
	o := two()
	o.AccessLog = "-"
	for line := range strings.Lines(write(t, o)) {
		if _, header, ok := strings.Cut(line, "%REQ("); ok && !strings.HasPrefix(header, ":METHOD)") && !strings.HasPrefix(header, "X-REQUEST-ID)") {
			t.Errorf("the log would show %s", line)
		}
	}
}

func TestBuffersHoldAFrame(t *testing.T) {
	o := two()
	o.MaxBytes = 8 << 20
	if got := build(t, o).GetStaticResources().GetListeners()[0].GetPerConnectionBufferLimitBytes().GetValue(); got < 8<<20 {
		t.Errorf("a connection holds %d bytes, less than a frame", got)
	}
	if !bytes.Contains([]byte(write(t, o)), []byte("max_request_bytes: 8388609\n")) {
		t.Error("the limit is not one byte more than a frame")
	}
}

func TestAccessTokensHaveRoutesOfTheirOwn(t *testing.T) {
	o := two()
	o.OAuthPath = "/oauth"
	text := write(t, o)
	for _, path := range []string{
		"/mcp/crm", "/mcp/crm/", "/oauth/mcp/crm", "/oauth/mcp/crm/",
		"/.well-known/oauth-protected-resource/oauth/mcp/crm", "/.well-known/oauth-protected-resource/oauth/mcp/payments/",
	} {
		if strings.Count(text, "path: "+path+"\n") != 1 {
			t.Errorf("no single route for %s", path)
		}
	}
	// The enforcement point is asked about all but what leads nowhere.
	if n := strings.Count(text, "disabled: true"); n != 1 {
		t.Errorf("%d routes are not asked about", n)
	}
	for _, bad := range []string{"oauth", "/oauth/", "/", "/mcp", "/mcp/x", "/a//b", "/a/../b", "/a%2fb", "/a b"} {
		o.OAuthPath = bad
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), "oauth-path") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
