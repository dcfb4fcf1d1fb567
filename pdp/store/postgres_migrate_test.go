package store

import (
	"context"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/test/databases"
)

// number returns the one number that a query answers.
func number(t *testing.T, s *Postgres, query string) int {
	t.Helper()
	n, err := one(t.Context(), s, func(from row) (n int, err error) {
		err = from.Scan(&n)
		return n, err
	}, query)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func statement(t *testing.T, s *Postgres, sql string) {
	t.Helper()
	if err := s.write(t.Context(), func(ctx context.Context, tx session) error {
		_, err := tx.exec(ctx, sql)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresMigrations(t *testing.T) {
	server := databases.Postgres(t)
	empty := func(t *testing.T) *Postgres {
		s, err := OpenPostgres(t.Context(), server.Database(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		statement(t, s, `DELETE FROM schema_version`)
		return s
	}
	t.Run("ApplyOnceAndInOrder", func(t *testing.T) {
		s := empty(t)
		steps := []migration{
			{1, "one", `CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1)`},
			{2, "two", `INSERT INTO a SELECT x + 1 FROM a`},
		}
		for _, have := range []int{1, 2, 2} {
			if err := s.apply(t.Context(), steps[:have]); err != nil {
				t.Fatal(err)
			}
		}
		if sum, rows := number(t, s, `SELECT sum(x) FROM a`), number(t, s, `SELECT count(*) FROM a`); sum != 3 || rows != 2 {
			t.Errorf("sum %d of %d rows, want 3 of 2", sum, rows)
		}
		if v := number(t, s, `SELECT max(version) FROM schema_version`); v != 2 {
			t.Errorf("version %d, want 2", v)
		}
	})
	t.Run("AFailedOneChangesNothing", func(t *testing.T) {
		s := empty(t)
		good := migration{1, "good", `CREATE TABLE a (x INTEGER)`}
		bad := migration{2, "bad", `INSERT INTO a VALUES (1); CREATE TABLE a (x INTEGER)`}
		if err := s.apply(t.Context(), []migration{good}); err != nil {
			t.Fatal(err)
		}
		if err := s.apply(t.Context(), []migration{good, bad}); err == nil || !strings.Contains(err.Error(), "version 2") {
			t.Fatalf("error: %v", err)
		}
		if rows, v := number(t, s, `SELECT count(*) FROM a`), number(t, s, `SELECT max(version) FROM schema_version`); rows != 0 || v != 1 {
			t.Errorf("%d rows, version %d; want none and 1", rows, v)
		}
	})
	t.Run("ANewerDatabaseIsRefused", func(t *testing.T) {
		url := server.Database(t)
		s, err := OpenPostgres(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		statement(t, s, `INSERT INTO schema_version (version, applied_at) VALUES (1000, 0)`)
		if _, err := OpenPostgres(t.Context(), url); err == nil || !strings.Contains(err.Error(), "has version 1000 and this program knows up to") {
			t.Errorf("OpenPostgres: %v", err)
		}
	})
	t.Run("OneOfSeveralApplies", func(t *testing.T) {
		url := server.Database(t)
		const together = 8
		failed := make(chan error, together)
		for range together {
			go func() {
				s, err := OpenPostgres(t.Context(), url)
				if err == nil {
					err = s.Close()
				}
				failed <- err
			}()
		}
		for range together {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
	})
}
