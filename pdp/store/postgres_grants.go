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
		_, err := tx.exec(ctx, insertGrant, values...)
		return err
	})
}

// Grant implements identity.Store.
func (s *Postgres) Grant(ctx context.Context, id string) (identity.Record, error) {
	return one(ctx, s, scanGrant, `SELECT `+grantColumns+` FROM grants WHERE id = $1`, id)
}

// Grants implements identity.Store.
func (s *Postgres) Grants(ctx context.Context, q identity.Query) ([]identity.Grant, error) {
	query, args := grantsQuery(q)
	return list(ctx, s, bareGrant, query, args...)
}

// HeldGrants implements identity.Store.
func (s *Postgres) HeldGrants(ctx context.Context, subject string, activeAt time.Time) ([]string, error) {
	return list(ctx, s, scanText, heldGrants, subject, toMicros(activeAt))
}

// RevokeGrant implements identity.Store. The rows are locked in the order of their
// ids, as everywhere, before they are changed.
func (s *Postgres) RevokeGrant(ctx context.Context, id string, at time.Time) (identity.Grant, error) {
	var g identity.Grant
	err := s.write(ctx, func(ctx context.Context, tx session) (err error) {
		if _, err := tx.exec(ctx, grantsBelow+`, locked AS (SELECT id FROM grants WHERE id IN (SELECT id FROM below) ORDER BY id FOR UPDATE)
			UPDATE grants SET revoked_at = $2 WHERE id IN (SELECT id FROM locked) AND revoked_at IS NULL`, id, toMicros(at)); err != nil {
			return err
		}
		g, err = bareGrant(tx.row(ctx, `SELECT `+grantColumns+` FROM grants WHERE id = $1`, id))
		return err
	})
	return g, err
}

// RotateGrant implements identity.Store.
func (s *Postgres) RotateGrant(ctx context.Context, id string, r identity.Rotation) (identity.Grant, error) {
	var g identity.Grant
	err := s.write(ctx, func(ctx context.Context, tx session) (err error) {
		g, err = bareGrant(tx.row(ctx, rotateGrant, id, r.TokenDigest[:], toMicros(r.At), toNullMicros(r.Until)))
		return err
	})
	return g, err
}

// SpendGrants implements identity.Store. Each row stays locked until the commit:
// who comes second sees what the first has used, also under READ COMMITTED. Rows
// are taken in the order of their ids, so that nobody waits in a circle.
func (s *Postgres) SpendGrants(ctx context.Context, spending identity.Spending) error {
	ids, err := encoded(spending.Grants)
	if err != nil {
		return err
	}
	return s.write(ctx, func(ctx context.Context, tx session) error {
		for _, id := range spending.Grants {
			if changed, err := tx.exec(ctx, spendGrant, id); err != nil || changed == 0 {
				return cmpErr(err, identity.ErrUsedUp)
			}
		}
		var b batch
		b.add(insertSpending, spending.Decision, ids, toMicros(spending.ExpiresAt))
		b.add(`DELETE FROM grant_uses WHERE decision IN
			(SELECT decision FROM grant_uses WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`, toMicros(spending.At), somePruned)
		return tx.send(ctx, &b)
	})
}

// GiveBackGrants implements identity.Store.
func (s *Postgres) GiveBackGrants(ctx context.Context, decision string) error {
	if _, err := one(ctx, s, scanSpending, findSpending, decision); err != nil {
		return unlessNone(err)
	}
	return s.write(ctx, func(ctx context.Context, tx session) error {
		ids, err := scanSpending(tx.row(ctx, takeSpending, decision))
		if err != nil {
			return unlessNone(err)
		}
		var b batch
		for _, id := range ids {
			b.add(returnGrant, id)
		}
		return tx.send(ctx, &b)
	})
}

// NoteUsage implements identity.Store.
func (s *Postgres) NoteUsage(ctx context.Context, usage []identity.Usage) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		var b batch
		for _, u := range usage { // sorted by id
			b.add(noteUsage, u.GrantID, u.Calls, u.Denials, toMicros(u.LastUsedAt))
		}
		return tx.send(ctx, &b)
	})
}
