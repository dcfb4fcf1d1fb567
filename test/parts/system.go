package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// program is a part that belongs to the machine and not to the parts
// directory: too large or too woven into its distribution to be pinned to one
// build. It is used where it is found, and installed with apt-get where not.
type program struct {
	name string
	// paths are names to look up on the PATH, or patterns of absolute paths.
	paths []string
	// oldest is the lowest version that is accepted, by the word with which the
	// program's own version line begins.
	oldest map[string]version
	// packages are those of Debian and its kin, in order of choice.
	packages []string
	// install puts one of the packages on the machine. Nil: apt-get alone.
	install func(run apt, pkg string) error
}

// version is a program's major and minor number.
type version struct{ major, minor int }

func (v version) before(o version) bool {
	return v.major < o.major || v.major == o.major && v.minor < o.minor
}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

var (
	postgres = program{
		name:     "postgres",
		paths:    []string{"/usr/lib/postgresql/*/bin/postgres", "postgres", "/usr/pgsql-*/bin/postgres"},
		oldest:   map[string]version{"postgres": {14, 0}},
		packages: []string{"postgresql"},
		install:  installPostgres,
	}
	redis = program{
		name:  "redis",
		paths: []string{"redis-server", "valkey-server"},
		// MCPermit asks no more of them than this.
		oldest:   map[string]version{"Redis": {6, 2}, "Valkey": {7, 2}},
		packages: []string{"redis-server", "valkey-server"},
	}
	chromium = program{
		name:     "chromium",
		paths:    []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"},
		oldest:   map[string]version{"Chromium": {120, 0}, "Google": {120, 0}},
		packages: []string{"chromium"},
	}
)

// ensure returns the program's path and installs it first where it is not
// there. The error names the part and says what to install.
func (p program) ensure(ctx context.Context, out io.Writer) (string, error) {
	path, err := p.find(ctx)
	if err == nil {
		fmt.Fprintf(out, "parts: %-8s %s\n", p.name, path)
		return path, nil
	}
	start := time.Now()
	fmt.Fprintf(out, "parts: %-8s installing …\n", p.name)
	if failed := p.get(aptGet(ctx)); failed != nil {
		return "", fmt.Errorf("part %s: %w, and it can't be installed: %w; install it (%s)", p.name, err, failed, p.advice())
	}
	if path, err = p.find(ctx); err != nil {
		return "", fmt.Errorf("part %s: %w, after it was installed; install it (%s)", p.name, err, p.advice())
	}
	fmt.Fprintf(out, "parts: %-8s installed in %.0f s\n", p.name, time.Since(start).Seconds())
	return path, nil
}

// advice is what to type.
func (p program) advice() string {
	var choices []string
	for _, pkg := range p.packages {
		choices = append(choices, "apt-get install "+pkg)
	}
	return fmt.Sprintf("%s; at least %s", strings.Join(choices, ", or "), p.oldestText())
}

func (p program) oldestText() string {
	var all []string
	for name, v := range p.oldest {
		all = append(all, name+" "+v.String())
	}
	slices.Sort(all)
	return strings.Join(all, ", or ")
}

// find returns the newest of the program's installations. Without one that is
// new enough, the error says what is there.
func (p program) find(ctx context.Context) (string, error) {
	var path string
	var best version
	failed := fmt.Errorf("there is no %s on this machine", p.name)
	for _, candidate := range p.candidates() {
		name, v, err := ask(ctx, candidate)
		if err != nil {
			failed = err
			continue
		}
		if oldest, known := p.oldest[name]; !known || v.before(oldest) {
			failed = fmt.Errorf("%s is %s %s", candidate, name, v)
			continue
		}
		if path == "" || best.before(v) {
			path, best = candidate, v
		}
	}
	if path == "" {
		return "", failed
	}
	return path, nil
}

func (p program) candidates() []string {
	var out []string
	for _, pattern := range p.paths {
		if filepath.IsAbs(pattern) {
			matches, _ := filepath.Glob(pattern) // the only error is a bad pattern
			out = append(out, matches...)
		} else if found, err := exec.LookPath(pattern); err == nil {
			out = append(out, found)
		}
	}
	return out
}

var versionLine = regexp.MustCompile(`^(\w+).*?\b[v=]*(\d+)\.(\d+)`)

// ask reads the version line, such as "postgres (PostgreSQL) 15.13 (Debian …)",
// "Redis server v=7.0.15 sha=…" or "Chromium 156.0.8078.108 built on …".
func ask(ctx context.Context, path string) (string, version, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	line, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", version{}, fmt.Errorf("%s --version: %w", path, err)
	}
	m := versionLine.FindStringSubmatch(string(line))
	if m == nil {
		return "", version{}, fmt.Errorf("%s --version says %q, which names no version", path, line)
	}
	major, _ := strconv.Atoi(m[2])
	minor, _ := strconv.Atoi(m[3])
	return m[1], version{major, minor}, nil
}

// get installs the first of the packages that apt knows.
func (p program) get(run apt) error {
	if os.Geteuid() != 0 {
		return errors.New("only root may use apt-get")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("there is no apt-get here")
	}
	// The lists of a fresh image are empty, and old ones name files that are
	// gone.
	if p.choose(run) == nil {
		return nil
	}
	if err := run("apt-get", "update"); err != nil {
		return err
	}
	return p.choose(run)
}

func (p program) choose(run apt) error {
	for _, pkg := range p.packages {
		if run("apt-cache", "show", pkg) != nil {
			continue // another distribution's name
		}
		if p.install != nil {
			return p.install(run, pkg)
		}
		return run.install(pkg)
	}
	return fmt.Errorf("apt knows no package %s", strings.Join(p.packages, " or "))
}

// apt runs one command that never asks anything.
type apt func(command ...string) error

func aptGet(ctx context.Context) apt {
	run := commands(ctx)
	return func(command ...string) error {
		_, err := run("/", []string{"DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"}, command...)
		return err
	}
}

// install waits for another apt-get that has the lock.
func (run apt) install(pkg string) error {
	return run("apt-get", "install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600", pkg)
}

// installPostgres keeps the package from making and starting a cluster of its
// own: the tests start theirs, and nothing is to be left running.
func installPostgres(run apt, pkg string) error {
	if err := run.install("postgresql-common"); err != nil {
		return err
	}
	const conf, key = "/etc/postgresql-common/createcluster.conf", "create_main_cluster"
	if err := run("pg_conftool", conf, "set", key, "off"); err != nil {
		return err
	}
	return errors.Join(run.install(pkg), run("pg_conftool", conf, "remove", key))
}
