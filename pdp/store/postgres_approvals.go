package store

import (
	"context"
	"errors"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

// OpenApproval implements approval.Store. Calls under one grant are opened one
// after the other: a lock by the grant's id holds also where there is no row
// yet that could be locked.
func (s *Postgres) OpenApproval(ctx context.Context, a approval.Approval, maxPending int) (approval.Approval, error) {
	binding := a.Binding()
	values, err := approvalValues(&a)
	if err != nil {
		return approval.Approval{}, err
	}
	var opened approval.Approval
	err = s.write(ctx, func(ctx context.Context, tx session) error {
		now := toMicros(a.CreatedAt)
		if _, err := tx.exec(ctx, `SELECT pg_advisory_xact_lock($1, hashtext($2))`, lockApprovals, a.GrantID); err != nil {
			return err
		}
		// A record whose time is over makes room for a new one of the same call.
		if _, err := tx.exec(ctx, `UPDATE approvals SET state = 'expired'
			WHERE binding = $1 AND state IN ('pending', 'approved', 'refused') AND expires_at <= $2`, binding[:], now); err != nil {
			return err
		}
		var err error
		opened, err = scanApproval(tx.row(ctx,
			`SELECT `+approvalColumns+` FROM approvals WHERE binding = $1 AND state IN ('pending', 'approved', 'refused')`, binding[:]))
		if !errors.Is(err, approval.ErrNotFound) {
			return err
		}
		var pending int
		if err := tx.row(ctx, `SELECT count(*) FROM approvals WHERE grant_id = $1 AND state = 'pending' AND expires_at > $2`,
			a.GrantID, now).Scan(&pending); err != nil {
			return err
		}
		if pending >= maxPending {
			return approval.ErrTooManyPending
		}
		opened = a
		_, err = tx.exec(ctx, `INSERT INTO approvals (`+approvalColumns+`, binding)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32)`,
			append(values, binding[:])...)
		return err
	})
	if err != nil {
		return approval.Approval{}, err
	}
	return opened, nil
}

// ChangeApproval implements approval.Store.
func (s *Postgres) ChangeApproval(ctx context.Context, id string, change func(a *approval.Approval) error) (approval.Approval, error) {
	var a approval.Approval
	err := s.write(ctx, func(ctx context.Context, tx session) (err error) {
		if a, err = scanApproval(tx.row(ctx, `SELECT `+approvalColumns+` FROM approvals WHERE id = $1 FOR UPDATE`, id)); err != nil {
			return err
		}
		if err := change(&a); err != nil {
			return err
		}
		values, err := approvalChanges(&a)
		if err != nil {
			return err
		}
		_, err = tx.exec(ctx, `UPDATE approvals SET state = $1, masked = $2, policy_revision = $3, policy_digest = $4, reason = $5, rules = $6,
			requirements = $7, votes = $8, valid_us = $9, used_by = $10, expires_at = $11, decided_at = $12, used_at = $13 WHERE id = $14`,
			append(values, id)...)
		return err
	})
	if err != nil {
		return approval.Approval{}, err
	}
	return a, nil
}

// ForgetApprovals implements approval.Store.
func (s *Postgres) ForgetApprovals(ctx context.Context, before time.Time, limit int) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		_, err := tx.exec(ctx, `DELETE FROM approvals WHERE seq IN
			(SELECT seq FROM approvals WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`, toMicros(before), limit)
		return err
	})
}

// Approval implements approval.Store.
func (s *Postgres) Approval(ctx context.Context, id string) (approval.Approval, error) {
	return one(ctx, s, scanApproval, `SELECT `+approvalColumns+` FROM approvals WHERE id = $1`, id)
}

// Approvals implements approval.Store.
func (s *Postgres) Approvals(ctx context.Context, limit int, pendingAt time.Time) ([]approval.Approval, error) {
	query, args := `SELECT `+approvalColumns+` FROM approvals`, []any{limit}
	if !pendingAt.IsZero() {
		query += ` WHERE state = 'pending' AND expires_at > $2`
		args = append(args, toMicros(pendingAt))
	}
	return list(ctx, s, scanApproval, query+` ORDER BY seq DESC LIMIT $1`, args...)
}

// Secret implements approval.Secrets.
func (s *Postgres) Secret(ctx context.Context, name string, create func() []byte) ([]byte, error) {
	var value []byte
	err := s.write(ctx, func(ctx context.Context, tx session) error {
		// Of two that insert, the second waits for the first and then reads it.
		if _, err := tx.exec(ctx, `INSERT INTO secrets (name, value, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING`,
			name, create(), toMicros(time.Now())); err != nil {
			return err
		}
		return tx.row(ctx, `SELECT value FROM secrets WHERE name = $1`, name).Scan(&value)
	})
	if err != nil {
		return nil, err
	}
	return value, nil
}
