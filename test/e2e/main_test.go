// Package e2e runs real MCP clients against real MCP servers: first directly,
// which proves the harness, then through `mcpermit up`.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/parts"
)

// What TestMain makes for all tests.
var (
	installed parts.Parts
	binDir    string // our own programs
	scripts   = map[string]string{}
	fleet     *servers
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	var err error
	if installed, err = parts.Install(ctx, os.Stderr); err != nil {
		return 1, err
	}
	work, err := os.MkdirTemp("", "mcpermit-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(work)
	binDir = filepath.Join(work, "bin")
	if err := build(ctx, "./clients/gosdk", "./servers/mcpgo"); err != nil {
		return 1, err
	}
	for _, script := range []string{
		"clients/typescript_v1_client.mjs", "clients/typescript_v2_client.mjs", "servers/typescript_v2_server.mjs",
	} {
		placed, err := installed.PlaceScript(script)
		if err != nil {
			return 1, err
		}
		scripts[filepath.Base(script)] = placed
	}
	if fleet, err = startServers(work); err != nil {
		return 1, err
	}
	defer fleet.stop()
	return m.Run(), nil
}

// build compiles programs of this module into binDir.
func build(ctx context.Context, packages ...string) error {
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "go", append([]string{"build", "-o", binDir + "/"}, packages...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build %v: %w: %s", packages, err, out)
	}
	return nil
}

func program(name string) string { return filepath.Join(binDir, name) }
