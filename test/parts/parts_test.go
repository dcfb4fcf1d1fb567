package parts

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestNpmLockNamesNoRegistry(t *testing.T) {
	var lock struct {
		Packages map[string]struct {
			Version, Resolved, Integrity string
		}
	}
	if err := json.Unmarshal([]byte(packageLock), &lock); err != nil {
		t.Fatal(err)
	}
	if len(lock.Packages) < 10 {
		t.Fatalf("only %d packages in the lock", len(lock.Packages))
	}
	for path, pkg := range lock.Packages {
		if path == "" {
			continue
		}
		if pkg.Resolved != "" {
			t.Errorf("%s is bound to the address %s; regenerate with --omit-lockfile-registry-resolved", path, pkg.Resolved)
		}
		if pkg.Integrity == "" {
			t.Errorf("%s %s has no integrity hash", path, pkg.Version)
		}
	}
}

func TestPythonRequirementsArePinnedByHash(t *testing.T) {
	pin := regexp.MustCompile(`^[A-Za-z0-9._-]+==[A-Za-z0-9.]+ \\$`)
	lines := strings.Split(requirements+requirementsEnvoy+requirementsKMS, "\n")
	pins := 0
	for i, line := range lines {
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, " ") {
			continue
		}
		pins++
		if !pin.MatchString(line) || !strings.Contains(lines[i+1], "--hash=sha256:") {
			t.Errorf("line %d is not NAME==VERSION with hashes: %s", i+1, line)
		}
	}
	if pins < 10 {
		t.Errorf("only %d pinned packages", pins)
	}
}

func TestStampedPartIsKeptUntilItsInputsOrFilesChange(t *testing.T) {
	builds := 0
	p := part{
		name: "toy", inputs: []string{"1"}, files: []string{"file"},
		build: func(_ context.Context, dir string, _ runner) error {
			builds++
			return os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)
		},
	}
	root := t.TempDir()
	install := func(want int, why string) {
		t.Helper()
		if err := p.install(t.Context(), root, io.Discard); err != nil {
			t.Fatal(err)
		}
		if builds != want {
			t.Errorf("%s: built %d times, want %d", why, builds, want)
		}
	}
	install(1, "fresh")
	install(1, "warm")
	p.inputs = []string{"2"}
	install(2, "new pin")
	if err := os.Remove(filepath.Join(root, "toy", "file")); err != nil {
		t.Fatal(err)
	}
	install(3, "missing file")
}

func TestPartThatCannotBeHadIsNamed(t *testing.T) {
	p := part{name: "toy", needs: []string{"no-such-program"}}
	err := p.install(t.Context(), t.TempDir(), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("error %v does not name the missing program", err)
	}
	p = part{name: "toy", files: []string{"file"}, build: func(context.Context, string, runner) error { return nil }}
	err = p.install(t.Context(), t.TempDir(), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "incomplete") {
		t.Errorf("a build that makes nothing gave %v", err)
	}
}
