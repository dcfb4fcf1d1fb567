package store

import (
	"database/sql"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func database(t *testing.T) *sql.DB {
	t.Helper()
	db, err := connect(filepath.Join(t.TempDir(), "test.db"), 1, "_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestMigrationsApplyOnceAndInOrder(t *testing.T) {
	db := database(t)
	steps := []migration{
		{1, "one", `CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1)`},
		{2, "two", `INSERT INTO a SELECT x + 1 FROM a`},
	}
	for _, have := range []int{1, 2, 2} {
		if err := apply(t.Context(), db, steps[:have]); err != nil {
			t.Fatal(err)
		}
	}
	var sum, rows int
	if err := db.QueryRowContext(t.Context(), `SELECT sum(x), count(*) FROM a`).Scan(&sum, &rows); err != nil {
		t.Fatal(err)
	}
	if sum != 3 || rows != 2 {
		t.Errorf("sum %d of %d rows, want 3 of 2", sum, rows)
	}
	if v, err := version(t.Context(), db); v != 2 || err != nil {
		t.Errorf("version %d, %v; want 2", v, err)
	}
}

func TestAFailedMigrationChangesNothing(t *testing.T) {
	db := database(t)
	good := migration{1, "good", `CREATE TABLE a (x INTEGER)`}
	bad := migration{2, "bad", `INSERT INTO a VALUES (1); CREATE TABLE a (x INTEGER)`}
	err := apply(t.Context(), db, []migration{good, bad})
	if err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Fatalf("error: %v", err)
	}
	var rows int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM a`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("%d rows, %v; want none", rows, err)
	}
	if v, err := version(t.Context(), db); v != 1 || err != nil {
		t.Errorf("version %d, %v; want 1", v, err)
	}
}

func TestOpenRefusesANewerDatabase(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.ExecContext(t.Context(), `INSERT INTO schema_version (version, applied_at) VALUES (1000, 0)`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	const want = "has version 1000 and this program knows up to"
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Open: %v", err)
	}
	if _, err := OpenReadOnly(t.Context(), dir); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("OpenReadOnly: %v", err)
	}
}

func TestReadOnlyRefusesAnOlderDatabase(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.ExecContext(t.Context(), `DELETE FROM schema_version`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReadOnly(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "start mcpermit on it once") {
		t.Errorf("OpenReadOnly: %v", err)
	}
}

func TestMigrationFilesAreNumbered(t *testing.T) {
	for dir, files := range map[string]fs.FS{"migrations": migrationFiles, "migrations/postgres": postgresMigrations} {
		if steps, err := migrations(files, dir); err != nil || len(steps) == 0 {
			t.Errorf("%s: %d steps, %v", dir, len(steps), err)
		}
	}
	for _, names := range [][]string{{"0002_b.sql"}, {"0001_a.sql", "0003_c.sql"}, {"first.sql"}, {"0001_a.sql", "01_b.sql"}} {
		files := fstest.MapFS{}
		for _, name := range names {
			files["migrations/"+name] = &fstest.MapFile{}
		}
		if _, err := migrations(files, "migrations"); err == nil {
			t.Errorf("%q: no error", names)
		}
	}
}

func TestSettingsOfTheConnections(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		db            *sql.DB
		pragma, wants string
	}{
		{s.writer, "journal_mode", "wal"},
		{s.writer, "synchronous", "2"}, // FULL
		{s.writer, "query_only", "0"},
		{s.reader, "journal_mode", "wal"},
		{s.reader, "query_only", "1"},
	} {
		var got string
		if err := c.db.QueryRowContext(t.Context(), "PRAGMA "+c.pragma).Scan(&got); err != nil || got != c.wants {
			t.Errorf("%s: %q, %v; want %q", c.pragma, got, err, c.wants)
		}
	}
}
