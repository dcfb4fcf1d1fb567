package policy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// running starts a loader that only notifications can wake, and stops it at
// the end of the test, when nothing that it started may be left.
func running(t *testing.T, location string, o LoaderOptions, so SourceOptions) *Loader {
	t.Helper()
	others := goleak.IgnoreCurrent()
	source, err := NewSource(location, so)
	if err != nil {
		t.Fatal(err)
	}
	if o.Rescan == 0 {
		o.Rescan = time.Hour
	}
	o.Log = slog.New(slog.DiscardHandler)
	l := NewLoader(source, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, others)
	})
	return l
}

// eventually waits until the status satisfies ok.
func eventually(t *testing.T, l *Loader, what string, ok func(Status) bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(l.Status()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: still %+v", what, l.Status())
		}
	}
}

func inForce(revision string) func(Status) bool {
	return func(s Status) bool { return s.Ready && s.Revision.Revision == revision && s.LastError == "" }
}

// write makes a file by way of another name, as careful editors do, or in
// place.
func write(t *testing.T, name, content string, byRename bool) {
	t.Helper()
	at := name
	if byRename {
		at = filepath.Join(filepath.Dir(name), ".tmp-"+filepath.Base(name))
	}
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	err = errors.Join(err, os.WriteFile(at, []byte(content), 0o600))
	if byRename {
		err = errors.Join(err, os.Rename(at, name))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := errors.Join(os.Symlink(target, name+".new"), os.Rename(name+".new", name)); err != nil {
		t.Fatal(err)
	}
}

func revisionFile(revision string) string { return `{"revision": "` + revision + `"}` }

const oneRule = "package policy.global.team\n\nallow contains \"x\" if input.method == \"x\"\n"

func TestWatchDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "global.rego"), oneRule, false)
	write(t, filepath.Join(dir, manifestFile), revisionFile("1"), false)
	l := running(t, dir, LoaderOptions{}, SourceOptions{})
	eventually(t, l, "start", inForce("1"))

	for i, byRename := range []bool{false, true, false, true} {
		revision := string(rune('2' + i))
		write(t, filepath.Join(dir, manifestFile), revisionFile(revision), byRename)
		eventually(t, l, "revision "+revision, inForce(revision))
	}

	more := filepath.Join(dir, "servers", "stripe", "refunds.rego")
	write(t, more, "package policy.servers.stripe\n\ndeny contains \"no\" if input.tool.name == \"x\"\n", false)
	eventually(t, l, "a file in new directories", func(s Status) bool { return s.Rules["policy.servers.stripe.deny"] == 1 })

	write(t, more, "package policy.servers.stripe\n\ndeny contains", true)
	eventually(t, l, "a broken file", func(s Status) bool { return strings.Contains(s.LastError, "refunds.rego") })
	if s := l.Status(); s.Rules["policy.servers.stripe.deny"] != 1 {
		t.Errorf("I11: the last good policy is gone: %+v", s)
	}

	if err := os.RemoveAll(filepath.Join(dir, "servers")); err != nil {
		t.Fatal(err)
	}
	eventually(t, l, "without it", func(s Status) bool { return len(s.Rules) == 1 && s.LastError == "" })
}

// TestWatchConfigMap swaps the links of a Kubernetes volume: the files are
// links through ..data, which is a link to a directory with a time stamp.
func TestWatchConfigMap(t *testing.T) {
	dir := t.TempDir()
	generation := func(name, revision string) {
		write(t, filepath.Join(dir, name, "global.rego"), oneRule, false)
		write(t, filepath.Join(dir, name, manifestFile), revisionFile(revision), false)
		write(t, filepath.Join(dir, name, "servers", "stripe.rego"),
			"package policy.servers.stripe\n\ndeny contains \"revision "+revision+"\" if input.tool.name == \"create_refund\"\n", false)
		link(t, name, filepath.Join(dir, "..data"))
	}
	generation("..2026_11_22_1", "1")
	for _, name := range []string{"global.rego", manifestFile, "servers"} {
		link(t, filepath.Join("..data", name), filepath.Join(dir, name))
	}
	l := running(t, dir, LoaderOptions{}, SourceOptions{})
	eventually(t, l, "start", inForce("1"))
	for _, revision := range []string{"2", "3", "4"} {
		generation("..2026_11_22_"+revision, revision)
		eventually(t, l, "generation "+revision, inForce(revision))
		if r := l.Current().Decide(t.Context(), anyCall()); r.Reason != "revision "+revision {
			t.Errorf("generation %s decides %+v", revision, r)
		}
	}
}

// TestWatchSwappedDirectory: the policy directory is a link to a release.
func TestWatchSwappedDirectory(t *testing.T) {
	root := t.TempDir()
	for _, revision := range []string{"1", "2"} {
		write(t, filepath.Join(root, "releases", revision, "policy", "global.rego"), oneRule, false)
		write(t, filepath.Join(root, "releases", revision, "policy", manifestFile), revisionFile(revision), false)
	}
	current := filepath.Join(root, "current")
	link(t, filepath.Join("releases", "1"), current)
	l := running(t, filepath.Join(current, "policy"), LoaderOptions{}, SourceOptions{})
	eventually(t, l, "start", inForce("1"))
	link(t, filepath.Join("releases", "2"), current)
	eventually(t, l, "another release", inForce("2"))
	write(t, filepath.Join(root, "releases", "2", "policy", manifestFile), revisionFile("3"), true)
	eventually(t, l, "a change in it", inForce("3"))
}

func TestWatchArchive(t *testing.T) {
	name := filepath.Join(t.TempDir(), "later", "bundle.tar.gz")
	l := running(t, name, LoaderOptions{}, SourceOptions{})
	eventually(t, l, "no file", func(s Status) bool { return !s.Ready && s.LastError != "" })
	write(t, name, string(tarball(t, good("1")...)), true)
	eventually(t, l, "a file in a directory that was not there", inForce("1"))
	write(t, name, string(tarball(t, good("2")...)), true)
	eventually(t, l, "replaced", inForce("2"))
	write(t, name, "half a bundle", false)
	eventually(t, l, "broken", func(s Status) bool { return s.LastError != "" && s.Revision.Revision == "2" })
	write(t, name, string(tarball(t, good("3")...)), false)
	eventually(t, l, "whole again", inForce("3"))
}

// TestRescan: what no notification says is found all the same.
func TestRescan(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "real.rego")
	write(t, outside, oneRule, false)
	dir := t.TempDir()
	write(t, filepath.Join(dir, manifestFile), revisionFile("1"), false)
	if err := os.Link(outside, filepath.Join(dir, "global.rego")); err != nil {
		t.Fatal(err)
	}
	l := running(t, dir, LoaderOptions{Rescan: 20 * time.Millisecond}, SourceOptions{})
	eventually(t, l, "start", inForce("1"))
	// Written through its other name, the file tells its directory nothing.
	write(t, outside, oneRule+"\nallow contains \"y\" if input.method == \"y\"\n", false)
	eventually(t, l, "rescan", func(s Status) bool { return s.Rules["policy.global.team.allow"] == 2 })
}

func TestReadDirectory(t *testing.T) {
	read := func(dir string) (string, error) {
		entries, _, err := readDirectory(t.Context(), dir, false, Limits{}.orDefault())
		var names []string
		for _, e := range entries {
			names = append(names, e.path)
		}
		return strings.Join(names, " "), err
	}
	dir := t.TempDir()
	for _, name := range []string{
		"b.rego", "a/c.rego", "a/limits.yaml", "a/data.json", "x.yml", manifestFile,
		"a/c_test.rego", "README.md", ".hidden.rego", ".git/config.json", "a/.manifest", "a/.x/y.rego", "policy.wasm",
	} {
		write(t, filepath.Join(dir, name), "{}", false)
	}
	link(t, "b.rego", filepath.Join(dir, "link.rego"))
	link(t, "nowhere", filepath.Join(dir, "dangling"))
	got, err := read(dir)
	if want := ".manifest a/c.rego a/data.json a/limits.yaml b.rego link.rego x.yml"; err != nil || got != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}

	link(t, "nowhere", filepath.Join(dir, "gone.rego"))
	if _, err := read(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a policy file that leads nowhere: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "gone.rego")); err != nil {
		t.Fatal(err)
	}
	link(t, "..", filepath.Join(dir, "a", "up"))
	if _, err := read(dir); err == nil || !strings.Contains(err.Error(), "nest in each other") {
		t.Errorf("a loop of links: %v", err)
	}
}

// TestSignedDirectory: a directory cannot be verified, so with a key it is no
// policy.
func TestSignedDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "global.rego"), oneRule, false)
	key := ecKey(t, "prod")
	source, err := NewSource(dir, SourceOptions{PublicKey: key.PublicKey(), KeyID: "prod"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "carries no signature") {
		t.Errorf("Read: %v", err)
	}
}
