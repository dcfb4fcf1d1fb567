package store

import (
	"context"
	"embed"
	"fmt"
	"time"
)

//go:embed migrations/postgres/*.sql
var postgresMigrations embed.FS

// Names of the locks by which decision points wait for one another, in the
// database's own space for locks of applications.
const (
	lockMigrate   int64 = 0x6d63_7065_726d_6974 // "mcpermit"
	lockApprovals int32 = 0x6d63_7001           // beside the hash of a grant's id
)

// migrationPatience is long: what has been cut short would begin from nothing at
// the next start, and never end.
const migrationPatience = 15 * time.Minute

// migrate brings the database to the newest version, in one transaction. Of
// several decision points that start together, one does, and the others wait.
func (s *Postgres) migrate(ctx context.Context) error {
	steps, err := migrations(postgresMigrations, "migrations/postgres")
	if err != nil {
		return err
	}
	patient := &Postgres{s.pool, migrationPatience}
	return patient.apply(ctx, steps)
}

func (s *Postgres) apply(ctx context.Context, steps []migration) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		if _, err := tx.exec(ctx, `SELECT pg_advisory_xact_lock($1)`, lockMigrate); err != nil {
			return err
		}
		if _, err := tx.exec(ctx, `CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL)`); err != nil {
			return fmt.Errorf("read the version: %w", err)
		}
		var current int
		if err := tx.row(ctx, `SELECT coalesce(max(version), 0) FROM schema_version`).Scan(&current); err != nil {
			return fmt.Errorf("read the version: %w", err)
		}
		if current > len(steps) {
			return tooNew(current, len(steps))
		}
		for _, step := range steps[current:] {
			_, err := tx.exec(ctx, step.sql)
			if err == nil {
				_, err = tx.exec(ctx, `INSERT INTO schema_version (version, applied_at) VALUES ($1, $2)`, step.version, toMicros(time.Now()))
			}
			if err != nil {
				return fmt.Errorf("bring the database to version %d: %w", step.version, err)
			}
		}
		return nil
	})
}
