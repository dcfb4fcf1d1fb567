package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/mcpermit/mcpermit/pdp/policy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const capModule = `package policy.servers.stripe

# METADATA
# custom: {id: refund-cap}
deny contains "Refund exceeds the policy limit." if {
	input.tool.name == "create_refund"
	not input.arguments.amount <= 50000
}

allow contains "Reading is free" if input.tool.class == "read"
`

const refundDocument = `{"server": {"name": "stripe"}, "method": "tools/call", "context": {"direction": "to_server"},
	"tool": {"name": "create_refund", "class": "read"}, "arguments": {"amount": 500000}}`

// policyPDP serves PolicyService for a directory, and returns it, its address
// and what makes it read the directory again.
func policyPDP(t *testing.T) (dir, addr string, reload func() error) {
	t.Helper()
	dir = t.TempDir()
	source, err := policy.NewSource(filepath.Join(dir, "policy"), policy.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	loader := policy.NewLoader(source, policy.LoaderOptions{})
	l, err := net.Listen("unix", filepath.Join(dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	v1.RegisterPolicyServiceServer(s, policy.NewService(loader))
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return filepath.Join(dir, "policy"), "unix://" + l.Addr().String(), func() error { return loader.Reload(context.Background()) }
}

// command runs the command line.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestPolicyStatusAndRemoteExplain(t *testing.T) {
	dir, addr, reload := policyPDP(t)
	input := filepath.Join(t.TempDir(), "refund.json")
	writeFile(t, input, refundDocument)

	if reload() == nil {
		t.Fatal("a policy that is not there loads")
	}
	if code, out, errs := command(t, "policy", "status", "--addr", addr); code != 1 || !strings.Contains(out, "Last error") || !strings.Contains(errs, "no policy is in force") {
		t.Errorf("without a policy: %d\n%s%s", code, out, errs)
	}
	if code, _, errs := command(t, "policy", "explain", "--addr", addr, "-f", input); code != 1 || !strings.Contains(errs, "no policy is in force") {
		t.Errorf("explained without a policy: %d, %s", code, errs)
	}

	writeFile(t, filepath.Join(dir, "stripe.rego"), capModule)
	writeFile(t, filepath.Join(dir, ".manifest"), `{"revision": "7"}`)
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	code, out, errs := command(t, "policy", "status", "--addr", addr)
	for _, want := range []string{"Revision    7\n", "Digest      sha256:", "policy.servers.stripe.deny 1\n", "(no-id)\n"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("status: %d, no %q in\n%s%s", code, want, out, errs)
		}
	}
	var view policyStatusView
	if code, out, _ := command(t, "policy", "status", "--addr", addr, "-o", "json"); code != 0 || json.Unmarshal([]byte(out), &view) != nil ||
		!view.Ready || view.Revision != "7" || view.Rules["policy.servers.stripe.allow"] != 1 || strings.Count(out, "\n") != 1 {
		t.Errorf("status as JSON: %d, %s", code, out)
	}

	// The PDP and this machine explain alike.
	code, remote, errs := command(t, "policy", "explain", "--addr", addr, "-f", input)
	if code != 0 || !strings.HasPrefix(remote, "DENY  Refund exceeds the policy limit.\n") || !strings.Contains(remote, "Policy 7 sha256:") {
		t.Errorf("explain: %d\n%s%s", code, remote, errs)
	}
	if _, local, _ := command(t, "policy", "explain", "-f", input, dir); local != remote {
		t.Errorf("explained here:\n%s\nand there:\n%s", local, remote)
	}
	if code, _, errs := command(t, "policy", "explain", "--addr", addr, "--decision", "d1"); code != 1 || !strings.Contains(errs, "send the input itself") {
		t.Errorf("explained a decision: %d, %s", code, errs)
	}
	if code, _, _ := command(t, "policy", "explain", "--addr", addr, "--decision", "d1", "-f", input); code != 2 {
		t.Errorf("both: %d", code)
	}
}

// TestPolicyBuildSigns: what it signs, a PDP with the public key accepts.
func TestPolicyBuildSigns(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "policy", "stripe.rego"), capModule)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, out := filepath.Join(dir, "key.pem"), filepath.Join(dir, "bundle.tar.gz")
	writeFile(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	code, text, errs := command(t, "policy", "build", filepath.Join(dir, "policy"), "-O", out, "--revision", "8", "--signing-key", key, "--key-id", "prod")
	if code != 0 || !strings.Contains(text, "Signed    prod\n") {
		t.Fatalf("build: %d\n%s%s", code, text, errs)
	}
	if der, err = x509.MarshalPKIXPublicKey(public); err != nil {
		t.Fatal(err)
	}
	source, err := policy.NewSource(out, policy.SourceOptions{
		PublicKey: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), KeyID: "prod",
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := source.Read(t.Context())
	if err != nil || b.Manifest.Revision != "8" || !strings.Contains(text, policy.Digest(b)) {
		t.Errorf("read back: %v, %+v", err, b)
	}
	if code, _, errs := command(t, "policy", "build", filepath.Join(dir, "policy"), "-O", out, "--signing-key", out, "--key-id", "prod"); code != 2 || !strings.Contains(errs, "no PEM") {
		t.Errorf("a key that is none: %d, %s", code, errs)
	}
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
