package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

const approvalColumns = `id, state, subject_id, subject_type, subject_groups, grant_id, server, method, name,
	arguments, arguments_digest, definition_digest, policy_revision, policy_digest, reason, rules, approvers, created_at, expires_at`

// Names of the states in the database.
const (
	statePending = "pending"
	stateExpired = "expired"
)

// OpenApproval implements approval.Store.
func (s *SQLite) OpenApproval(ctx context.Context, a approval.Approval, maxPending int) (approval.Approval, error) {
	binding := a.Binding()
	var opened approval.Approval
	err := s.write(ctx, func(tx *sql.Tx) error {
		now := toMicros(a.CreatedAt)
		// A record whose time is over makes room for a new one of the same call.
		if _, err := tx.ExecContext(ctx, `UPDATE approvals SET state = 'expired' WHERE binding = ? AND state = 'pending' AND expires_at <= ?`,
			binding[:], now); err != nil {
			return err
		}
		var err error
		opened, err = scanApproval(tx.QueryRowContext(ctx,
			`SELECT `+approvalColumns+` FROM approvals WHERE binding = ? AND state = 'pending'`, binding[:]))
		if !errors.Is(err, approval.ErrNotFound) {
			return err
		}
		var pending int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM approvals WHERE grant_id = ? AND state = 'pending' AND expires_at > ?`,
			a.GrantID, now).Scan(&pending); err != nil {
			return err
		}
		if pending >= maxPending {
			return approval.ErrTooManyPending
		}
		opened = a
		return insertApproval(ctx, tx, &a, binding)
	})
	if err != nil {
		return approval.Approval{}, err
	}
	return opened, nil
}

func insertApproval(ctx context.Context, tx *sql.Tx, a *approval.Approval, binding approval.Digest) error {
	var columns [3]string
	for i, v := range []any{a.Subject.Groups, a.Rules, a.Approvers} {
		var err error
		if columns[i], err = encoded(v); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO approvals (binding, `+approvalColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		binding[:], a.ID, statePending, a.Subject.ID, a.Subject.Type, columns[0], a.GrantID, a.Server, a.Method, a.Name,
		a.Arguments, a.ArgumentsDigest[:], a.DefinitionDigest[:], a.Policy.Revision, a.Policy.Digest,
		a.Reason, columns[1], columns[2], toMicros(a.CreatedAt), toMicros(a.ExpiresAt))
	return err
}

// Approval implements approval.Store.
func (s *SQLite) Approval(ctx context.Context, id string) (approval.Approval, error) {
	return scanApproval(s.reader.QueryRowContext(ctx, `SELECT `+approvalColumns+` FROM approvals WHERE id = ?`, id))
}

// Approvals implements approval.Store.
func (s *SQLite) Approvals(ctx context.Context, limit int, pendingAt time.Time) ([]approval.Approval, error) {
	query, args := `SELECT `+approvalColumns+` FROM approvals`, []any{}
	if !pendingAt.IsZero() {
		query += ` WHERE state = 'pending' AND expires_at > ?`
		args = append(args, toMicros(pendingAt))
	}
	rows, err := s.reader.QueryContext(ctx, query+` ORDER BY seq DESC LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []approval.Approval
	for rows.Next() {
		a, err := scanApproval(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

func scanApproval(from row) (approval.Approval, error) {
	var a approval.Approval
	var state string
	var createdAt, expiresAt int64
	err := from.Scan(&a.ID, &state, &a.Subject.ID, &a.Subject.Type, asJSON(&a.Subject.Groups), &a.GrantID, &a.Server, &a.Method, &a.Name,
		&a.Arguments, digestColumn{&a.ArgumentsDigest}, digestColumn{&a.DefinitionDigest}, &a.Policy.Revision, &a.Policy.Digest,
		&a.Reason, asJSON(&a.Rules), asJSON(&a.Approvers), &createdAt, &expiresAt)
	if errors.Is(err, sql.ErrNoRows) {
		return approval.Approval{}, approval.ErrNotFound
	}
	if err != nil {
		return approval.Approval{}, fmt.Errorf("read an approval: %w", err)
	}
	switch state {
	case statePending:
		a.State = approval.Pending
	case stateExpired:
		a.State = approval.Expired
	}
	a.CreatedAt, a.ExpiresAt = fromMicros(createdAt), fromMicros(expiresAt)
	return a, nil
}
