package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/mcpermit/mcpermit/pdp/identity"
)

// somePruned is how many spendings that nobody can give back any more go with each
// new one: more than one, so that it catches up.
const somePruned = 8

const (
	// spendGrant changes no row where there is no use left.
	spendGrant     = `UPDATE grants SET uses = uses + 1 WHERE id = $1 AND uses < max_uses`
	returnGrant    = `UPDATE grants SET uses = uses - 1 WHERE id = $1 AND uses > 0`
	insertSpending = `INSERT INTO grant_uses (decision, grants, expires_at) VALUES ($1, $2, $3)`
	takeSpending   = `DELETE FROM grant_uses WHERE decision = $1 RETURNING grants`
	findSpending   = `SELECT grants FROM grant_uses WHERE decision = $1`
	noteUsage      = `UPDATE grants SET calls = calls + $2, denials = denials + $3,
		last_used_at = CASE WHEN last_used_at > CAST($4 AS BIGINT) THEN last_used_at ELSE CAST($4 AS BIGINT) END WHERE id = $1`
)

// SpendGrants implements identity.Store.
func (s *SQLite) SpendGrants(ctx context.Context, spending identity.Spending) error {
	ids, err := encoded(spending.Grants)
	if err != nil {
		return err
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, id := range spending.Grants {
			if changed, err := changedRows(tx.ExecContext(ctx, spendGrant, id)); err != nil || changed == 0 {
				return cmpErr(err, identity.ErrUsedUp)
			}
		}
		if _, err := tx.ExecContext(ctx, insertSpending, spending.Decision, ids, toMicros(spending.ExpiresAt)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM grant_uses WHERE decision IN
			(SELECT decision FROM grant_uses WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`, toMicros(spending.At), somePruned)
		return err
	})
}

// GiveBackGrants implements identity.Store. Most decisions have spent nothing:
// looking takes no transaction that writes.
func (s *SQLite) GiveBackGrants(ctx context.Context, decision string) error {
	if _, err := scanSpending(s.reader.QueryRowContext(ctx, findSpending, decision)); err != nil {
		return unlessNone(err)
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		ids, err := scanSpending(tx.QueryRowContext(ctx, takeSpending, decision))
		if err != nil {
			return unlessNone(err)
		}
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, returnGrant, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// NoteUsage implements identity.Store.
func (s *SQLite) NoteUsage(ctx context.Context, usage []identity.Usage) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, u := range usage {
			if _, err := tx.ExecContext(ctx, noteUsage, u.GrantID, u.Calls, u.Denials, toMicros(u.LastUsedAt)); err != nil {
				return err
			}
		}
		return nil
	})
}

func scanSpending(from row) (ids []string, err error) {
	err = from.Scan(asJSON(&ids))
	return slices.Sorted(slices.Values(ids)), err // the order in which rows are locked
}

// unlessNone is err, unless it says that there is no row.
func unlessNone(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// cmpErr is the first error, or else the second.
func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func changedRows(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
