package store

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step from a version of the database to the next. Steps that
// were released are never changed, and there is no way back.
type migration struct {
	version int
	name    string
	sql     string
}

// migrations returns the steps of a directory in order; their versions are 1,
// 2, 3, …
func migrations(files fs.FS, dir string) ([]migration, error) {
	names, err := fs.Glob(files, dir+"/*.sql")
	if err != nil {
		return nil, err
	}
	steps := make([]migration, 0, len(names))
	for _, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("migration %s: its name does not begin with a number", name)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, migration{version, name, string(text)})
	}
	slices.SortFunc(steps, func(a, b migration) int { return cmp.Compare(a.version, b.version) })
	for i, step := range steps {
		if step.version != i+1 {
			return nil, fmt.Errorf("migration %s: version %d was expected", step.name, i+1)
		}
	}
	return steps, nil
}

// migrate brings the database to the newest version, each step in a
// transaction of its own.
func migrate(ctx context.Context, db *sql.DB) error {
	steps, err := migrations(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	return apply(ctx, db, steps)
}

func apply(ctx context.Context, db *sql.DB, steps []migration) error {
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_version (
		version    INTEGER PRIMARY KEY,
		applied_at INTEGER NOT NULL
	) STRICT`); err != nil {
		return fmt.Errorf("read the version: %w", err)
	}
	current, err := version(ctx, db)
	if err != nil {
		return err
	}
	if current > len(steps) {
		return tooNew(current, len(steps))
	}
	for _, step := range steps[current:] {
		if err := step.apply(ctx, db); err != nil {
			return fmt.Errorf("bring the database to version %d: %w", step.version, err)
		}
	}
	return nil
}

func (m migration) apply(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, m.sql)
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO schema_version (version, applied_at) VALUES (?, ?)`, m.version, toMicros(time.Now()))
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// checkVersion holds a database that is only read to the version that this
// program knows.
func checkVersion(ctx context.Context, db *sql.DB) error {
	steps, err := migrations(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	current, err := version(ctx, db)
	switch {
	case err != nil:
		return err
	case current > len(steps):
		return tooNew(current, len(steps))
	case current < len(steps):
		return fmt.Errorf("the database has version %d and this program needs %d; start mcpermit on it once, which brings it up", current, len(steps))
	}
	return nil
}

// version returns the version of a database; 0 is an empty one.
func version(ctx context.Context, db *sql.DB) (int, error) {
	var v sql.NullInt64
	if err := db.QueryRowContext(ctx, `SELECT max(version) FROM schema_version`).Scan(&v); err != nil {
		return 0, fmt.Errorf("read the version: %w", err)
	}
	return int(v.Int64), nil
}

func tooNew(has, knows int) error {
	return fmt.Errorf("the database has version %d and this program knows up to %d; use the newer mcpermit that wrote it", has, knows)
}
