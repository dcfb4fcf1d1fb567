package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mcpermit/mcpermit/pdp/identity"
)

const grantColumns = `id, token_digest, subject_id, subject_type, subject_groups, owner, servers, tools, labels, created_at, expires_at, revoked_at`

// grantValues are those of grantColumns.
func grantValues(r *identity.Record) ([]any, error) {
	lists, err := encodedAll(r.Subject.Groups, r.Servers, r.Tools, r.Labels)
	if err != nil {
		return nil, err
	}
	return []any{
		r.ID, r.TokenDigest[:], r.Subject.ID, r.Subject.Type, lists[0], r.Owner, lists[1], lists[2], lists[3],
		toMicros(r.CreatedAt), toNullMicros(r.ExpiresAt), toNullMicros(r.RevokedAt),
	}, nil
}

// InsertGrant implements identity.Store.
func (s *SQLite) InsertGrant(ctx context.Context, r identity.Record) error {
	values, err := grantValues(&r)
	if err != nil {
		return err
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO grants (`+grantColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, values...)
		return err
	})
}

// Grant implements identity.Store.
func (s *SQLite) Grant(ctx context.Context, id string) (identity.Record, error) {
	return scanGrant(s.reader.QueryRowContext(ctx, `SELECT `+grantColumns+` FROM grants WHERE id = ?`, id))
}

// Grants implements identity.Store.
func (s *SQLite) Grants(ctx context.Context, limit int, activeAt time.Time) ([]identity.Grant, error) {
	query, args := `SELECT `+grantColumns+` FROM grants`, []any{}
	if !activeAt.IsZero() {
		query += ` WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)`
		args = append(args, toMicros(activeAt))
	}
	rows, err := s.reader.QueryContext(ctx, query+` ORDER BY seq DESC LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	return scanList(rows, bareGrant)
}

// RevokeGrant implements identity.Store.
func (s *SQLite) RevokeGrant(ctx context.Context, id string, at time.Time) (identity.Grant, error) {
	var r identity.Record
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		if _, err = tx.ExecContext(ctx, `UPDATE grants SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL`, toMicros(at), id); err != nil {
			return err
		}
		r, err = scanGrant(tx.QueryRowContext(ctx, `SELECT `+grantColumns+` FROM grants WHERE id = ?`, id))
		return err
	})
	return r.Grant, err
}

func scanGrant(from row) (identity.Record, error) {
	var r identity.Record
	var createdAt int64
	var expiresAt, revokedAt sql.NullInt64
	err := from.Scan(&r.ID, digestColumn{&r.TokenDigest}, &r.Subject.ID, &r.Subject.Type, asJSON(&r.Subject.Groups), &r.Owner,
		asJSON(&r.Servers), asJSON(&r.Tools), asJSON(&r.Labels), &createdAt, &expiresAt, &revokedAt)
	if errors.Is(err, sql.ErrNoRows) {
		return identity.Record{}, identity.ErrNotFound
	}
	if err != nil {
		return identity.Record{}, fmt.Errorf("read a grant: %w", err)
	}
	r.CreatedAt, r.ExpiresAt, r.RevokedAt = fromMicros(createdAt), fromNullMicros(expiresAt), fromNullMicros(revokedAt)
	return r, nil
}

// bareGrant is scanGrant without what nobody but the authenticator has to know.
func bareGrant(from row) (identity.Grant, error) {
	r, err := scanGrant(from)
	return r.Grant, err
}
