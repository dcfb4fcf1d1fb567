package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// invoke runs the program.
func invoke(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("no %q in:\n%s", p, text)
		}
	}
}

func TestEnvoyConfigOfFlags(t *testing.T) {
	code, out, errs := invoke(t, "envoy", "config",
		"--server", "pay=http://127.0.0.1:8080/mcp?a=b;c,d", "--server", "crm=https://crm.example/mcp",
		"--listen", "0.0.0.0:9000", "--pep", "unix:///run/pep.sock", "--max-bytes", "65536",
		"--tls-cert", "/c.pem", "--tls-key", "/k.pem", "--client-ca", "/ca.pem", "--upstream-ca", "/roots.pem",
		"--admin", "127.0.0.1:9901", "--access-log", "-")
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	contains(t, out, "path: /mcp/pay\n", "path: /mcp/crm/\n", "prefix_rewrite: /mcp?a=b;c,d\n", "port_value: 9000\n",
		"path: /run/pep.sock\n", "max_request_bytes: 65537\n", "filename: /c.pem\n", "filename: /k.pem\n", "filename: /ca.pem\n",
		"filename: /roots.pem\n", "port_value: 9901\n", "StdoutAccessLog\n")
}

func TestEnvoyConfigOfTheConfigurationFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mcpermit.yaml")
	text := "listen: 127.0.0.1:9100\nlimits: {frame_bytes: 4096}\nservers:\n  pay: {url: http://127.0.0.1:8080/mcp}\n  files: {command: [fileserver]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	written := filepath.Join(dir, "envoy.yaml")
	code, out, errs := invoke(t, "envoy", "config", "-c", file, "-o", written)
	if code != 0 || out != "" {
		t.Fatalf("exit code %d: %s%s", code, out, errs)
	}
	contains(t, errs, "left out files")
	got, err := os.ReadFile(written)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(got), "port_value: 9100\n", "max_request_bytes: 4097\n", "path: /mcp/pay\n")
	if strings.Contains(string(got), "files") {
		t.Error("a command became a route")
	}

	// A flag goes before the file.
	_, out, _ = invoke(t, "envoy", "config", "-c", file, "--listen", "127.0.0.1:9200", "--max-bytes", "8192")
	contains(t, out, "port_value: 9200\n", "max_request_bytes: 8193\n")
}

func TestEnvoyConfigMisuseSaysWhatToChange(t *testing.T) {
	dir := t.TempDir()
	commands := filepath.Join(dir, "commands.yaml")
	if err := os.WriteFile(commands, []byte("servers:\n  files: {command: [fileserver]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := []string{"--server", "a=http://127.0.0.1:8080/"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-c", filepath.Join(dir, "none.yaml")}, "no --server NAME=URL is given"},
		{[]string{"-c", commands}, "no server with a url; give --server NAME=URL"},
		{[]string{"--server", "http://127.0.0.1:8080/"}, "want NAME=URL"},
		{append(server, "--tls-cert", "c.pem"), "give both or neither"},
		{append(server, "--max-bytes", "7"), "max-bytes: 7 is not between"},
	} {
		code, out, errs := invoke(t, append([]string{"envoy", "config"}, c.args...)...)
		if code != 2 || out != "" {
			t.Errorf("%q: exit code %d, want 2; wrote %q", c.args, code, out)
		}
		contains(t, errs, c.want)
	}
}

func TestEnvoyConfigHelpTeaches(t *testing.T) {
	code, out, _ := invoke(t, "envoy", "config", "--help")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	contains(t, out, "--server=NAME=URL", "envoy --mode validate -c envoy.yaml", "Default is 127.0.0.1:8702")
}
