package store

import (
	"context"
	"time"

	"github.com/mcpermit/mcpermit/pdp/identity"
)

// InsertGrant implements identity.Store.
func (s *Postgres) InsertGrant(ctx context.Context, r identity.Record) error {
	values, err := grantValues(&r)
	if err != nil {
		return err
	}
	return s.write(ctx, func(ctx context.Context, tx session) error {
		_, err := tx.exec(ctx, `INSERT INTO grants (`+grantColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`, values...)
		return err
	})
}

// Grant implements identity.Store.
func (s *Postgres) Grant(ctx context.Context, id string) (identity.Record, error) {
	return one(ctx, s, scanGrant, `SELECT `+grantColumns+` FROM grants WHERE id = $1`, id)
}

// Grants implements identity.Store.
func (s *Postgres) Grants(ctx context.Context, limit int, activeAt time.Time) ([]identity.Grant, error) {
	query, args := `SELECT `+grantColumns+` FROM grants`, []any{limit}
	if !activeAt.IsZero() {
		query += ` WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)`
		args = append(args, toMicros(activeAt))
	}
	return list(ctx, s, bareGrant, query+` ORDER BY seq DESC LIMIT $1`, args...)
}

// RevokeGrant implements identity.Store.
func (s *Postgres) RevokeGrant(ctx context.Context, id string, at time.Time) (identity.Grant, error) {
	var r identity.Record
	err := s.write(ctx, func(ctx context.Context, tx session) (err error) {
		r, err = scanGrant(tx.row(ctx, `UPDATE grants SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING `+grantColumns, id, toMicros(at)))
		return err
	})
	if err != nil {
		return identity.Grant{}, err
	}
	return r.Grant, nil
}
