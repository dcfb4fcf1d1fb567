package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// TestLint runs the linter over the files of testdata/lint, each with the
// helpers beside it. A comment `# lint: CHECK` says what it finds on that line;
// what no comment says it must not find.
func TestLint(t *testing.T) {
	helpers := readEntry(t, "testdata/lint/helpers.rego")
	files, err := filepath.Glob("testdata/lint/*.rego")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, file := range files {
		if filepath.Base(file) == "helpers.rego" {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".rego"), func(t *testing.T) {
			e := readEntry(t, file)
			var got []string
			for _, f := range Lint(treeOf(t, helpers, e)) {
				if f.File != e.path || f.Message == "" {
					t.Errorf("unexpected %+v", f)
				}
				t.Log(f)
				got = append(got, fmt.Sprintf("%d %s", f.Line, f.Check))
			}
			if diff := cmp.Diff(wantedFindings(string(e.data)), got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

var wanted = regexp.MustCompile(`# lint: ([a-z-]+)$`)

func wantedFindings(source string) []string {
	var want []string
	for i, line := range strings.Split(source, "\n") {
		if m := wanted.FindStringSubmatch(line); m != nil {
			want = append(want, fmt.Sprintf("%d %s", i+1, m[1]))
		}
	}
	return want
}

func readEntry(t *testing.T, file string) entry {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return entry{path: filepath.Base(file), data: data}
}

func treeOf(t *testing.T, entries ...entry) *bundle.Bundle {
	t.Helper()
	b, err := readTree(slices.Clone(entries))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
