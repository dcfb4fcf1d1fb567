package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

const approvalColumns = `id, state, subject_id, subject_type, subject_groups, owner, grant_id, server, method, name, tool_class, tool_risk,
	arguments, arguments_digest, responses, responses_digest, definition_digest, masked, policy_revision, policy_digest, reason, rules, requirements, votes,
	valid_us, opened_by, used_by, created_at, expires_at, decided_at, used_at`

// OpenApproval implements approval.Store.
func (s *SQLite) OpenApproval(ctx context.Context, a approval.Approval, maxPending int) (approval.Approval, error) {
	binding := a.Binding()
	var opened approval.Approval
	err := s.write(ctx, func(tx *sql.Tx) error {
		now := toMicros(a.CreatedAt)
		// A record whose time is over makes room for a new one of the same call.
		if _, err := tx.ExecContext(ctx, `UPDATE approvals SET state = 'expired'
			WHERE binding = ? AND state IN ('pending', 'approved', 'refused') AND expires_at <= ?`, binding[:], now); err != nil {
			return err
		}
		var err error
		opened, err = scanApproval(tx.QueryRowContext(ctx,
			`SELECT `+approvalColumns+` FROM approvals WHERE binding = ? AND state IN ('pending', 'approved', 'refused')`, binding[:]))
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
	values, err := approvalValues(a)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO approvals (`+approvalColumns+`, binding)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, append(values, binding[:])...)
	return err
}

// approvalValues are those of approvalColumns.
func approvalValues(a *approval.Approval) ([]any, error) {
	lists, err := encodedAll(a.Subject.Groups, a.Masked, a.Rules, a.Requirements, a.Votes)
	if err != nil {
		return nil, err
	}
	return []any{
		a.ID, a.State.String(), a.Subject.ID, a.Subject.Type, lists[0], a.Owner, a.GrantID, a.Server, a.Method, a.Name, a.ToolClass, a.ToolRisk,
		a.Arguments, a.ArgumentsDigest[:], a.Responses, a.ResponsesDigest[:], a.DefinitionDigest[:], lists[1], a.Policy.Revision, a.Policy.Digest, a.Reason, lists[2], lists[3], lists[4],
		a.Valid.Microseconds(), a.OpenedBy, a.UsedBy, toMicros(a.CreatedAt), toMicros(a.ExpiresAt), toNullMicros(a.DecidedAt), toNullMicros(a.UsedAt),
	}, nil
}

// ChangeApproval implements approval.Store. The transaction holds the
// database's only lock for writing from its beginning, so change is called once.
func (s *SQLite) ChangeApproval(ctx context.Context, id string, change func(a *approval.Approval) error) (approval.Approval, error) {
	var a approval.Approval
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		if a, err = scanApproval(tx.QueryRowContext(ctx, `SELECT `+approvalColumns+` FROM approvals WHERE id = ?`, id)); err != nil {
			return err
		}
		if err := change(&a); err != nil {
			return err
		}
		return updateApproval(ctx, tx, id, &a)
	})
	if err != nil {
		return approval.Approval{}, err
	}
	return a, nil
}

// updateApproval writes what may change of a record.
func updateApproval(ctx context.Context, tx *sql.Tx, id string, a *approval.Approval) error {
	values, err := approvalChanges(a)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE approvals SET state = ?, masked = ?, policy_revision = ?, policy_digest = ?, reason = ?, rules = ?,
		requirements = ?, votes = ?, valid_us = ?, used_by = ?, expires_at = ?, decided_at = ?, used_at = ? WHERE id = ?`, append(values, id)...)
	return err
}

// approvalChanges are the values that may change, in the order of the columns.
func approvalChanges(a *approval.Approval) ([]any, error) {
	lists, err := encodedAll(a.Masked, a.Rules, a.Requirements, a.Votes)
	if err != nil {
		return nil, err
	}
	return []any{
		a.State.String(), lists[0], a.Policy.Revision, a.Policy.Digest, a.Reason, lists[1],
		lists[2], lists[3], a.Valid.Microseconds(), a.UsedBy, toMicros(a.ExpiresAt), toNullMicros(a.DecidedAt), toNullMicros(a.UsedAt),
	}, nil
}

// ForgetApprovals implements approval.Store.
func (s *SQLite) ForgetApprovals(ctx context.Context, before time.Time, limit int) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM approvals WHERE seq IN (SELECT seq FROM approvals WHERE expires_at < ? ORDER BY expires_at LIMIT ?)`,
			toMicros(before), limit)
		return err
	})
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
	return scanList(rows, scanApproval)
}

func scanApproval(from row) (approval.Approval, error) {
	var a approval.Approval
	var state string
	var valid, createdAt, expiresAt int64
	var decidedAt, usedAt sql.NullInt64
	err := from.Scan(&a.ID, &state, &a.Subject.ID, &a.Subject.Type, asJSON(&a.Subject.Groups), &a.Owner, &a.GrantID, &a.Server, &a.Method, &a.Name, &a.ToolClass, &a.ToolRisk,
		&a.Arguments, digestColumn{&a.ArgumentsDigest}, &a.Responses, digestColumn{&a.ResponsesDigest}, digestColumn{&a.DefinitionDigest}, asJSON(&a.Masked), &a.Policy.Revision, &a.Policy.Digest, &a.Reason,
		asJSON(&a.Rules), asJSON(&a.Requirements), asJSON(&a.Votes), &valid, &a.OpenedBy, &a.UsedBy, &createdAt, &expiresAt, &decidedAt, &usedAt)
	if errors.Is(err, sql.ErrNoRows) {
		return approval.Approval{}, approval.ErrNotFound
	}
	if err != nil {
		return approval.Approval{}, fmt.Errorf("read an approval: %w", err)
	}
	a.State, a.Valid = approval.ParseState(state), time.Duration(valid)*time.Microsecond
	a.CreatedAt, a.ExpiresAt = fromMicros(createdAt), fromMicros(expiresAt)
	a.DecidedAt, a.UsedAt = fromNullMicros(decidedAt), fromNullMicros(usedAt)
	return a, nil
}
