package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp/identity"
)

const (
	// grantStored are the columns that InsertGrant writes.
	grantStored = `id, token_digest, subject_id, subject_type, subject_groups, owner, servers, tools, labels, created_at, expires_at, revoked_at,
		not_before, max_uses, classes, policies, bound_to, held, parent_id, delegations, rotated_at, previous_digest, previous_until`
	insertGrant = `INSERT INTO grants (` + grantStored + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)`
	grantColumns = grantStored + `, uses, calls, denials, last_used_at`
	// grantUsed is when a grant was last used, or could first have been as far as
	// is known.
	grantUsed = `coalesce(last_used_at, CASE WHEN not_before > created_at AND not_before > known_from THEN not_before
		WHEN known_from > created_at THEN known_from ELSE created_at END)`
	// grantsBelow are the ids of a grant and of all that were made from it.
	grantsBelow = `WITH RECURSIVE below (id) AS (
		SELECT id FROM grants WHERE id = $1 UNION SELECT g.id FROM grants g JOIN below ON g.parent_id = below.id AND g.parent_id <> '')`
	// maxHeld bounds the grants that one subject holds.
	maxHeld = 1000
)

// grantValues are those of grantStored.
func grantValues(r *identity.Record) ([]any, error) {
	lists, err := encodedAll(r.Subject.Groups, r.Servers, r.Tools, r.Labels, r.Classes, r.Policies, r.BoundTo)
	if err != nil {
		return nil, err
	}
	return []any{
		r.ID, r.TokenDigest[:], r.Subject.ID, r.Subject.Type, lists[0], r.Owner, lists[1], lists[2], lists[3],
		toMicros(r.CreatedAt), toNullMicros(r.ExpiresAt), toNullMicros(r.RevokedAt),
		toNullMicros(r.NotBefore), r.MaxUses, lists[4], lists[5], lists[6], r.Held, r.Parent, r.Delegations,
		toNullMicros(r.RotatedAt), toNullDigest(r.PreviousDigest), toNullMicros(r.PreviousUntil),
	}, nil
}

// toNullDigest keeps the zero digest as NULL.
func toNullDigest(d [sha256.Size]byte) []byte {
	if d == [sha256.Size]byte{} {
		return nil
	}
	return d[:]
}

// grantsQuery is the text and the arguments of a query for grants.
func grantsQuery(q identity.Query) (text string, args []any) {
	where := []string{"true"}
	and := func(condition string, value any) {
		args = append(args, value)
		where = append(where, strings.ReplaceAll(condition, "$", fmt.Sprint("$", len(args))))
	}
	if !q.ActiveAt.IsZero() {
		and(`revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $)`, toMicros(q.ActiveAt))
	}
	if !q.UnusedSince.IsZero() {
		and(grantUsed+` < $`, toMicros(q.UnusedSince))
	}
	if q.Subject != "" {
		and(`subject_id = $`, q.Subject)
	}
	if q.Parent != "" {
		and(`parent_id = $ AND parent_id <> ''`, q.Parent)
	}
	args = append(args, q.Limit)
	return fmt.Sprint(`SELECT `, grantColumns, ` FROM grants WHERE `, strings.Join(where, " AND "), ` ORDER BY seq DESC LIMIT $`, len(args)), args
}

var heldGrants = fmt.Sprint(`SELECT id FROM grants WHERE subject_id = $1 AND held
	AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) ORDER BY seq DESC LIMIT `, maxHeld)

func scanGrant(from row) (identity.Record, error) {
	var r identity.Record
	var createdAt int64
	var expiresAt, revokedAt, notBefore, rotatedAt, previousUntil, lastUsedAt sql.NullInt64
	err := from.Scan(&r.ID, digestColumn{&r.TokenDigest}, &r.Subject.ID, &r.Subject.Type, asJSON(&r.Subject.Groups), &r.Owner,
		asJSON(&r.Servers), asJSON(&r.Tools), asJSON(&r.Labels), &createdAt, &expiresAt, &revokedAt,
		&notBefore, &r.MaxUses, asJSON(&r.Classes), asJSON(&r.Policies), asJSON(&r.BoundTo), &r.Held, &r.Parent, &r.Delegations,
		&rotatedAt, nullDigestColumn{&r.PreviousDigest}, &previousUntil, &r.Uses, &r.Calls, &r.Denials, &lastUsedAt)
	if errors.Is(err, sql.ErrNoRows) {
		return identity.Record{}, identity.ErrNotFound
	}
	if err != nil {
		return identity.Record{}, fmt.Errorf("read a grant: %w", err)
	}
	r.CreatedAt, r.ExpiresAt, r.RevokedAt = fromMicros(createdAt), fromNullMicros(expiresAt), fromNullMicros(revokedAt)
	r.NotBefore, r.RotatedAt = fromNullMicros(notBefore), fromNullMicros(rotatedAt)
	r.PreviousUntil, r.LastUsedAt = fromNullMicros(previousUntil), fromNullMicros(lastUsedAt)
	return r, nil
}

// bareGrant is scanGrant without what nobody but the authenticator has to know.
func bareGrant(from row) (identity.Grant, error) {
	r, err := scanGrant(from)
	return r.Grant, err
}

func scanText(from row) (s string, err error) {
	err = from.Scan(&s)
	return s, err
}

// InsertGrant implements identity.Store.
func (s *SQLite) InsertGrant(ctx context.Context, r identity.Record) error {
	values, err := grantValues(&r)
	if err != nil {
		return err
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, insertGrant, values...)
		return err
	})
}

// Grant implements identity.Store.
func (s *SQLite) Grant(ctx context.Context, id string) (identity.Record, error) {
	return scanGrant(s.reader.QueryRowContext(ctx, `SELECT `+grantColumns+` FROM grants WHERE id = $1`, id))
}

// Grants implements identity.Store.
func (s *SQLite) Grants(ctx context.Context, q identity.Query) ([]identity.Grant, error) {
	query, args := grantsQuery(q)
	rows, err := s.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return scanList(rows, bareGrant)
}

// HeldGrants implements identity.Store.
func (s *SQLite) HeldGrants(ctx context.Context, subject string, activeAt time.Time) ([]string, error) {
	rows, err := s.reader.QueryContext(ctx, heldGrants, subject, toMicros(activeAt))
	if err != nil {
		return nil, err
	}
	return scanList(rows, scanText)
}

// RevokeGrant implements identity.Store.
func (s *SQLite) RevokeGrant(ctx context.Context, id string, at time.Time) (identity.Grant, error) {
	return s.changeGrant(ctx, id, grantsBelow+` UPDATE grants SET revoked_at = $2 WHERE id IN (SELECT id FROM below) AND revoked_at IS NULL`, toMicros(at))
}

// RotateGrant implements identity.Store.
func (s *SQLite) RotateGrant(ctx context.Context, id string, r identity.Rotation) (identity.Grant, error) {
	var g identity.Grant
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		g, err = bareGrant(tx.QueryRowContext(ctx, rotateGrant, id, r.TokenDigest[:], toMicros(r.At), toNullMicros(r.Until)))
		return err
	})
	return g, err
}

// rotateGrant keeps the old token only where the new one says for how long.
const rotateGrant = `UPDATE grants SET previous_digest = CASE WHEN CAST($4 AS BIGINT) IS NULL THEN NULL ELSE token_digest END, previous_until = $4,
	token_digest = $2, rotated_at = $3 WHERE id = $1 AND revoked_at IS NULL AND NOT held RETURNING ` + grantColumns

// changeGrant runs a statement whose first argument is the grant's id, and returns
// the grant after it.
func (s *SQLite) changeGrant(ctx context.Context, id, statement string, args ...any) (identity.Grant, error) {
	var g identity.Grant
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		if _, err = tx.ExecContext(ctx, statement, append([]any{id}, args...)...); err != nil {
			return err
		}
		g, err = bareGrant(tx.QueryRowContext(ctx, `SELECT `+grantColumns+` FROM grants WHERE id = $1`, id))
		return err
	})
	return g, err
}
