package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/store"
	"github.com/mcpermit/mcpermit/pdp/store/storetest"
)

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Database {
		dir := t.TempDir()
		return func(t *testing.T) storetest.Store {
			t.Helper()
			return open(t, dir)
		}
	})
}

func open(t *testing.T, dir string) *store.SQLite {
	t.Helper()
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t *testing.T, s *store.SQLite) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func createGrant(t *testing.T, s identity.Store) (identity.Grant, string) {
	t.Helper()
	g, token, err := identity.NewAuthenticator(s, identity.Options{}).Create(t.Context(), identity.Grant{
		Subject: identity.Subject{ID: "agent"}, Servers: []string{"*"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, token
}

// What is in the state directory is its owner's alone, whatever the umask.
func TestI6_StateFilesAreNotReadableByOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "state")
	s := open(t, dir)
	createGrant(t, s) // so that there is a write-ahead log
	defer closed(t, s)

	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if perm := info.Mode().Perm(); perm&0o077 != 0 {
			t.Errorf("%s has mode %04o", path, perm)
		}
		files = append(files, entry.Name())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(files, " "); got != "state lock mcpermit.db mcpermit.db-shm mcpermit.db-wal" {
		t.Errorf("files: %s", got)
	}
}

func TestOpenTakesFromOthersWhatTheyMayDoWithTheDatabase(t *testing.T) {
	dir := t.TempDir()
	closed(t, open(t, dir))
	db := filepath.Join(dir, "mcpermit.db")
	if err := os.Chmod(db, 0o644); err != nil {
		t.Fatal(err)
	}
	closed(t, open(t, dir))
	info, err := os.Stat(db)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o, want 0600", info.Mode().Perm())
	}
}

func TestOpenRefusesADirectoryThatOthersMayWriteTo(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), dir)
	if err == nil {
		closed(t, s)
		t.Fatal("opened")
	}
	if !strings.Contains(err.Error(), "others may write to") {
		t.Errorf("error: %v", err)
	}
}

// The token's digest is in the database, and the token nowhere.
func TestI6_NoTokenInTheStateDirectory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	g, token := createGrant(t, s)
	secret := token[len("mcpg_")+len(g.ID):]
	look := func(when string) {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(names) < 2 {
			t.Fatalf("%s: files %q, %v", when, names, err)
		}
		foundID := false
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), secret) || strings.Contains(string(b), secret[:20]) {
				t.Errorf("%s: the token's secret is in %s", when, name)
			}
			foundID = foundID || strings.Contains(string(b), g.ID)
		}
		if !foundID {
			t.Errorf("%s: the grant's id is in no file; this test looks in the wrong place", when)
		}
	}
	look("open")
	closed(t, s)
	look("closed")
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := store.Open(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "is in use by another mcpermit (process ") {
		t.Errorf("second open: %v", err)
	}
	createGrant(t, s) // the first one still works
	closed(t, s)
	closed(t, open(t, dir)) // and makes room
}

func TestReadOnlyBesideTheOwner(t *testing.T) {
	dir := t.TempDir()
	if _, err := store.OpenReadOnly(t.Context(), dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no store yet: %v", err)
	}
	s := open(t, dir)
	defer closed(t, s)
	first, _ := createGrant(t, s)

	r, err := store.OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, r)
	second, _ := createGrant(t, s)
	for _, g := range []identity.Grant{first, second} {
		if _, err := r.Grant(t.Context(), g.ID); err != nil {
			t.Errorf("read: %v", err)
		}
	}
	if _, err := r.RevokeGrant(t.Context(), first.ID, time.Now()); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("write: %v, want ErrReadOnly", err)
	}
	if got, err := s.Grant(t.Context(), first.ID); err != nil || !got.RevokedAt.IsZero() {
		t.Errorf("the grant was revoked through a store that is read-only: %v", err)
	}
}

func TestReadOnlyAfterTheOwner(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	g, _ := createGrant(t, s)
	closed(t, s)
	r, err := store.OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, r)
	if _, err := r.Grant(t.Context(), g.ID); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesWhatIsNoDatabase(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mcpermit.db"), []byte(strings.Repeat("not a database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := store.Open(t.Context(), dir); err == nil {
		closed(t, s)
		t.Error("opened")
	}
	if err := os.Remove(filepath.Join(dir, "mcpermit.db")); err != nil {
		t.Fatal(err)
	}
	closed(t, open(t, dir)) // the failure left no lock behind
}

func TestPathsWithSpecialCharacters(t *testing.T) {
	for _, name := range []string{"with space", "100%25", "a?b=c", "#x", "ünï"} {
		dir := filepath.Join(t.TempDir(), name)
		closed(t, open(t, dir))
		if _, err := os.Stat(filepath.Join(dir, "mcpermit.db")); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := open(t, t.TempDir())
	createGrant(t, s)
	closed(t, s)
}
