package envoy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
	"github.com/mcpermit/mcpermit/test/parts"
)

// validate has Envoy itself read a configuration.
func validate(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command(parts.Of(t).Envoy, "--mode", "validate", "--log-level", "warn", "-c", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("envoy does not take %s: %v\n%s", filepath.Base(path), err, out)
	}
}

func TestEnvoyTakesEveryVariant(t *testing.T) {
	ours := newAuthority(t)
	own := ours.issue(t, "localhost")
	plain := []bootstrap.Server{{Name: "pay", URL: "http://127.0.0.1:8080/mcp"}}
	for name, o := range map[string]bootstrap.Options{
		"http":         {Servers: plain},
		"two servers":  {Servers: append([]bootstrap.Server{{Name: "crm", URL: "http://crm.internal/mcp?a=b"}}, plain...)},
		"https":        {Servers: []bootstrap.Server{{Name: "crm", URL: "https://crm.example/mcp"}, {Name: "ip", URL: "https://[2001:db8::1]:8443/"}}, UpstreamCA: ours.file},
		"PEP by name":  {Servers: plain, PEP: "mcpermit-pep.internal:8702"},
		"unix socket":  {Servers: plain, PEP: "unix:///run/mcpermit/pep.sock"},
		"TLS":          {Servers: plain, TLS: bootstrap.TLS{Cert: own.cert, Key: own.key}},
		"mTLS":         {Servers: plain, TLS: bootstrap.TLS{Cert: own.cert, Key: own.key, ClientCA: ours.file}},
		"admin":        {Servers: plain, Admin: "127.0.0.1:0"},
		"log to file":  {Servers: plain, AccessLog: filepath.Join(t.TempDir(), "access.json")},
		"log to out":   {Servers: plain, AccessLog: "-"},
		"IPv6":         {Servers: plain, Listen: "[::1]:8700"},
		"long frames":  {Servers: plain, MaxBytes: 64 << 20},
		"server named": {Servers: []bootstrap.Server{{Name: "mcpermit", URL: "http://localhost"}}},
	} {
		t.Run(name, func(t *testing.T) { validate(t, configure(t, o)) })
	}
}

// parse reads a configuration as Envoy does: an unknown field is an error.
func parse(t *testing.T, path string) *bootstrapv3.Bootstrap {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Load(text, &doc); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	asJSON, err := json.Marshal(doc)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	b := new(bootstrapv3.Bootstrap)
	if err := protojson.Unmarshal(asJSON, b); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b
}

func TestCommentedExampleIsWhatTheGeneratorWrites(t *testing.T) {
	example := filepath.Join("..", "..", "deploy", "envoy", "envoy.yaml")
	validate(t, example)
	want, err := bootstrap.New(bootstrap.Options{
		Servers: []bootstrap.Server{
			{Name: "payments", URL: "http://127.0.0.1:8080/mcp"},
			{Name: "crm", URL: "https://crm.example/mcp"},
		},
		AccessLog: "-",
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, parse(t, example), protocmp.Transform()); diff != "" {
		t.Errorf("deploy/envoy/envoy.yaml differs (-generated +example):\n%s", diff)
	}
}
