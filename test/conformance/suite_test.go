package conformance

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/parts"
)

// report is what the official suite found: for each scenario its checks.
type report struct {
	// Scenarios maps a scenario to its checks, each as "STATUS id", sorted.
	Scenarios map[string][]string
	// Unscored are the scenarios that do not count for the revision:
	// extensions, and what was added after its release.
	Unscored []string

	// Failures says of each failed check why, one to a line.
	Failures string
	text     string
}

var (
	resultDir    = regexp.MustCompile(`^server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$`)
	unscoredHead = regexp.MustCompile(`^Not scored for `)
	unscoredLine = regexp.MustCompile(`^\s+[✓✗] (\S+) \(`)
)

// runSuite runs the suite's server scenarios against a URL. Arguments choose
// the scenarios.
func runSuite(t *testing.T, url string, args ...string) report {
	t.Helper()
	installed, out := parts.Of(t), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	suite := installed.NodeModule("@modelcontextprotocol/conformance", "dist/index.js")
	cmd := exec.CommandContext(ctx, installed.Node, append([]string{suite, "server", "--url", url, "-o", out}, args...)...)
	text, err := cmd.CombinedOutput() // the exit code counts unscored failures too: the checks decide
	if ctx.Err() != nil {
		t.Fatalf("the suite did not end: %v\n%s", err, text)
	}
	r := report{Scenarios: map[string][]string{}, text: string(text)}
	r.readChecks(t, out)
	r.readUnscored()
	if len(r.Scenarios) == 0 {
		t.Fatalf("the suite reported nothing: %v\n%s", err, text)
	}
	return r
}

func (r *report) readChecks(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		match := resultDir.FindStringSubmatch(entry.Name())
		if match == nil {
			t.Fatalf("the suite wrote something unknown: %s", entry.Name())
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name(), "checks.json"))
		if err != nil {
			t.Fatal(err)
		}
		var checks []struct{ ID, Status, ErrorMessage string }
		if err := json.Unmarshal(text, &checks); err != nil {
			t.Fatalf("%s: %v", entry.Name(), err)
		}
		found := []string{}
		for _, check := range checks {
			found = append(found, check.Status+" "+check.ID)
			if check.Status == "FAILURE" {
				r.Failures += match[1] + ": " + check.ID + ": " + check.ErrorMessage + "\n"
			}
		}
		slices.Sort(found)
		r.Scenarios[match[1]] = found
	}
}

func (r *report) readUnscored() {
	inside := false
	for line := range strings.Lines(r.text) {
		inside = inside || unscoredHead.MatchString(line)
		if match := unscoredLine.FindStringSubmatch(line); inside && match != nil {
			r.Unscored = append(r.Unscored, match[1])
		}
	}
	slices.Sort(r.Unscored)
}

// tally counts scenarios and checks.
type tally struct{ ScenariosPassed, Scenarios, ChecksPassed, Checks int }

// scored counts what counts for the revision. Only SUCCESS and FAILURE are
// checks; the suite also writes notes.
func (r *report) scored() tally {
	var sum tally
	for scenario, checks := range r.Scenarios {
		if slices.Contains(r.Unscored, scenario) {
			continue
		}
		passed, failed := 0, 0
		for _, check := range checks {
			switch status, _, _ := strings.Cut(check, " "); status {
			case "SUCCESS":
				passed++
			case "FAILURE":
				failed++
			}
		}
		sum.Scenarios++
		sum.ChecksPassed += passed
		sum.Checks += passed + failed
		if failed == 0 {
			sum.ScenariosPassed++
		}
	}
	return sum
}
