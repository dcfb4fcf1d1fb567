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

// TestLintOfAttachments has rules of several packages: those of an attachment hold
// with one another and with all others, but others do not count on them.
func TestLintOfAttachments(t *testing.T) {
	const silent = `deny contains "over" if {
	input.tool.name == "refund"
	input.arguments.amount > 5
}
`
	const without = `deny contains "missing" if {
	input.tool.name == "refund"
	not input.arguments.amount
}
`
	const opens = `allow contains "opens" if input.tool.name == "refund"
`
	const asks = `approve contains "asks" if input.tool.name == "refund"
`
	for name, c := range map[string]struct {
		attachment, other, server string
		want                      []string // files with the finding
	}{
		"silent in the attachment":               {attachment: silent, server: opens, want: []string{"a.rego"}},
		"another rule of it speaks":              {attachment: silent + without, server: opens},
		"a rule of the server speaks":            {attachment: silent, server: opens + without},
		"another attachment speaks":              {attachment: silent, other: without, server: opens, want: []string{"a.rego"}},
		"the server does not count on it":        {attachment: without, server: opens + silent, want: []string{"s.rego"}},
		"nor on what it asks":                    {attachment: asks, server: silent},
		"what the attachment asks opens nothing": {attachment: asks + silent},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range Lint(treeOf(t,
				entry{path: "a.rego", data: []byte("package policy.attachments.a\n" + c.attachment)},
				entry{path: "b.rego", data: []byte("package policy.attachments.b\n" + c.other)},
				entry{path: "s.rego", data: []byte("package policy.servers.s\n" + c.server)},
			)) {
				if f.Check == CheckMissingArgument {
					got = append(got, f.File)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("silent without the argument (-want +got):\n%s", diff)
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
