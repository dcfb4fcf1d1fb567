package store

import (
	"context"
	"database/sql"
	"time"
)

// Secret implements approval.Secrets.
func (s *SQLite) Secret(ctx context.Context, name string, create func() []byte) ([]byte, error) {
	var value []byte
	err := s.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO secrets (name, value, created_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			name, create(), toMicros(time.Now())); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT value FROM secrets WHERE name = ?`, name).Scan(&value)
	})
	if err != nil {
		return nil, err
	}
	return value, nil
}
