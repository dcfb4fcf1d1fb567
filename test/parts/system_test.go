package parts

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// toy makes a program that says its version, below its own directory.
func toy(t *testing.T, dir, versionLine string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), dir, "toy")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+versionLine+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVersionLines(t *testing.T) {
	for line, want := range map[string]struct {
		name string
		version
	}{
		"postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)":                         {"postgres", version{15, 13}},
		"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=1":   {"Redis", version{7, 0}},
		"Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=abc": {"Valkey", version{8, 1}},
		"Chromium 156.0.8078.108 built on Debian GNU/Linux 12 (bookworm)":              {"Chromium", version{156, 0}},
		"Google Chrome 149.0.7500.10 ":                                                 {"Google", version{149, 0}},
	} {
		name, v, err := ask(t.Context(), toy(t, "bin", line))
		if err != nil || name != want.name || v != want.version {
			t.Errorf("%s: %s %s, %v", line, name, v, err)
		}
	}
	if _, _, err := ask(t.Context(), toy(t, "bin", "no number here")); err == nil {
		t.Error("a line without a version was read")
	}
}

func TestTheNewestInstallationIsTaken(t *testing.T) {
	old, newer, older := toy(t, "14", "toy 2.9"), toy(t, "15", "toy 2.10"), toy(t, "13", "toy 1.9")
	p := program{name: "toy", paths: []string{old, newer, older}, oldest: map[string]version{"toy": {2, 0}}}
	if path, err := p.find(t.Context()); err != nil || path != newer {
		t.Errorf("found %s, %v; want %s", path, err, newer)
	}
}

func TestProgramThatIsTooOldIsNamed(t *testing.T) {
	for _, c := range []struct {
		p    program
		want string
	}{
		{program{paths: []string{toy(t, "bin", "toy 1.9")}}, "is toy 1.9"},
		{program{paths: []string{toy(t, "bin", "other 3.0")}}, "is other 3.0"},
		{program{}, "there is no toy on this machine"},
	} {
		c.p.name, c.p.oldest = "toy", map[string]version{"toy": {2, 0}}
		c.p.packages = []string{"no-such-package-a", "no-such-package-b"}
		if _, err := c.p.find(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if got := c.p.advice(); got != "apt-get install no-such-package-a, or apt-get install no-such-package-b; at least toy 2.0" {
			t.Errorf("advice: %s", got)
		}
	}
}

// recorded is an apt that fails the commands that begin with one of these.
func recorded(fails ...string) (apt, *[]string) {
	var ran []string
	return func(command ...string) error {
		line := strings.Join(command, " ")
		ran = append(ran, line)
		for _, f := range fails {
			if strings.HasPrefix(line, f) {
				return errors.New(f + " failed")
			}
		}
		return nil
	}, &ran
}

func TestPackageIsChosenByWhatAptKnows(t *testing.T) {
	run, ran := recorded("apt-cache show redis-server")
	if err := redis.choose(run); err != nil {
		t.Fatal(err)
	}
	if last := (*ran)[len(*ran)-1]; !strings.HasPrefix(last, "apt-get install") || !strings.HasSuffix(last, " valkey-server") {
		t.Errorf("ran %q", *ran)
	}
	run, _ = recorded("apt-cache")
	if err := redis.choose(run); err == nil || !strings.Contains(err.Error(), "redis-server or valkey-server") {
		t.Errorf("apt knows neither: %v", err)
	}
}

// Whatever becomes of the installation, the machine's settings are put back.
func TestPostgresIsInstalledWithoutACluster(t *testing.T) {
	for _, fails := range [][]string{nil, {"apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=600 postgresql-x"}} {
		run, ran := recorded(fails...)
		if err := installPostgres(run, "postgresql-x"); (err != nil) != (fails != nil) {
			t.Errorf("fails %q: %v", fails, err)
		}
		off := slices.IndexFunc(*ran, func(s string) bool { return strings.HasSuffix(s, "set create_main_cluster off") })
		install := slices.IndexFunc(*ran, func(s string) bool { return strings.HasSuffix(s, " postgresql-x") })
		back := slices.IndexFunc(*ran, func(s string) bool { return strings.HasSuffix(s, "remove create_main_cluster") })
		if off < 0 || off > install || install > back {
			t.Errorf("ran %q", *ran)
		}
	}
}

// TestPrograms has the real ones, installed if need be.
func TestPrograms(t *testing.T) {
	for _, path := range []string{filepath.Join(Postgres(t), "initdb"), filepath.Join(Postgres(t), "postgres"), Redis(t), Chromium(t)} {
		if info, err := os.Stat(path); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s is no program: %v", path, err)
		}
	}
}

func TestProgramThatCannotBeHadIsNamed(t *testing.T) {
	t.Setenv("PATH", "")
	const want = "part redis: there is no redis on this machine, and it can't be installed: "
	_, err := redis.ensure(t.Context(), t.Output())
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "; install it ("+redis.advice()+")") {
		t.Errorf("error: %v", err)
	}
}
