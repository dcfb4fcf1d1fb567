// Package cases holds the ways to a decision against one another: one corpus,
// *.yaml, goes through the engine in process, the decision point over gRPC, the
// standalone proxy and a real Envoy, and what becomes of it must be the same.
// README.md says how the files are written, differences_test.go in what the
// ways may differ.
package cases

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden/*.txt anew")

// TestParity_I1_I2_I3_I5 runs the corpus.
func TestParity_I1_I2_I3_I5(t *testing.T) {
	files, cases := loadCorpus(t)
	wd := &world{cases: cases, people: loadPeople(t), policy: writePolicies(t, files)}
	for _, f := range files {
		wd.secrets = append(wd.secrets, f.Secrets...)
	}
	began := time.Now()
	var ways []*way
	for _, start := range []func(*testing.T) *way{wd.proxy, wd.engine, wd.grpc, wd.envoy} {
		ways = append(ways, start(t))
		t.Logf("%s: %v", ways[len(ways)-1].name, elapsed(began))
	}
	<-time.After(time.Until(time.Now().Add(shortLived))) // the last of them expires
	t.Logf("%d cases, all ways started after %v", len(cases), elapsed(began))

	texts := runAll(t, ways, cases)
	for _, w := range ways[1:] {
		if w.policy != ways[0].policy {
			t.Errorf("%s has policy %s, the proxy %s", w.name, w.policy, ways[0].policy)
		}
	}
	for name := range differences {
		if !slices.ContainsFunc(cases, func(c *testCase) bool { return c.Differs["envoy"] == name }) {
			t.Errorf("no case differs by %q: take it out of differences_test.go", name)
		}
	}
	golden := readGolden(t, cases)
	fresh := map[string]string{}
	for _, c := range cases {
		t.Run(c.file+"/"+c.Name, func(t *testing.T) {
			reference := texts["proxy"][c.Name]
			for _, w := range ways[1:] {
				compare(t, c, w.name, reference, texts[w.name][c.Name])
			}
			want := reference
			if c.Differs["envoy"] != "" {
				want += "--- with Envoy: " + c.Differs["envoy"] + "\n" + texts["envoy"][c.Name]
			}
			if fresh[c.Name] = want; !*update {
				if diff := cmp.Diff(golden[c.Name], want); diff != "" {
					t.Errorf("golden (-), now (+); -update writes it anew:\n%s", diff)
				}
			}
		})
	}
	if *update {
		writeGolden(t, cases, fresh)
	}
}

// runAll performs all cases on all ways at once, and returns what became of
// them by way and case.
func runAll(t *testing.T, ways []*way, cases []*testCase) map[string]map[string]string {
	t.Helper()
	texts := map[string]map[string]string{}
	for _, w := range ways {
		texts[w.name] = map[string]string{}
	}
	t.Run("ways", func(t *testing.T) {
		for _, w := range ways {
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				w.runAll(t, cases, texts[w.name])
			})
		}
	})
	return texts
}

// runAll performs all cases on the way, one after the other.
func (w *way) runAll(t *testing.T, cases []*testCase, texts map[string]string) {
	began := time.Now()
	results := make([]*result, len(cases))
	var allowed []string
	for i, c := range cases {
		results[i] = w.run(t, c)
		allowed = append(allowed, results[i].allowed()...)
		for _, wrong := range results[i].wrong {
			t.Errorf("%s/%s: %s", c.file, c.Name, wrong)
		}
	}
	w.trail.await(t, allowed)
	for i, c := range cases {
		texts[c.Name] = results[i].text(t, w, c)
	}
	t.Logf("%s: %d decisions allowed, %v", w.name, len(allowed), elapsed(began))
}

// compare holds what became of a case on a way against the proxy.
func compare(t *testing.T, c *testCase, way, reference, got string) {
	t.Helper()
	name := c.Differs[way]
	switch diff := cmp.Diff(reference, got); {
	case diff != "" && name == "":
		t.Errorf("%s: proxy (-), %s (+):\n%s", c.Why, way, diff)
	case diff == "" && name != "":
		t.Errorf("%s does not differ from the proxy any more: take %q out of the case", way, name)
	}
}

const heading = "=== "

func goldenFile(file string) string { return filepath.Join("golden", file+".txt") }

// readGolden returns the golden texts by case. One of a case that is not there
// any more is an error.
func readGolden(t *testing.T, cases []*testCase) map[string]string {
	t.Helper()
	out, of := map[string]string{}, map[string]string{}
	for _, c := range cases {
		of[c.Name] = c.file
	}
	names, err := filepath.Glob(goldenFile("*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range names {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for text := range strings.SplitSeq("\n"+string(b), "\n"+heading) {
			name, text, _ := strings.Cut(text, "\n")
			if out[name] = strings.TrimSuffix(text, "\n") + "\n"; name != "" && goldenFile(of[name]) != file && !*update {
				t.Errorf("%s: there is no case %s", file, name)
			}
		}
	}
	return out
}

func writeGolden(t *testing.T, cases []*testCase, texts map[string]string) {
	t.Helper()
	files := map[string]*strings.Builder{}
	for _, c := range cases {
		if files[c.file] == nil {
			files[c.file] = new(strings.Builder)
		}
		files[c.file].WriteString(heading + c.Name + "\n" + texts[c.Name])
	}
	for name, b := range files {
		if err := os.WriteFile(goldenFile(name), []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
