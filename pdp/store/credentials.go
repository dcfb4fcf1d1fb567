package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mcpermit/mcpermit/pdp/credential"
)

const sealedColumns = `kind, name, holder, generation, value, data_key, created_at, updated_at, expires_at`

// sealedValues are those of sealedColumns.
func sealedValues(v *credential.Sealed) []any {
	return []any{
		v.Kind, v.Name, v.Holder, v.Generation, v.Value, v.DataKey,
		toMicros(v.CreatedAt), toMicros(v.UpdatedAt), toNullMicros(v.ExpiresAt),
	}
}

func scanSealed(from row) (credential.Sealed, error) {
	var v credential.Sealed
	var createdAt, updatedAt int64
	var expiresAt sql.NullInt64
	err := from.Scan(&v.Kind, &v.Name, &v.Holder, &v.Generation, &v.Value, &v.DataKey, &createdAt, &updatedAt, &expiresAt)
	if errors.Is(err, sql.ErrNoRows) {
		return credential.Sealed{}, credential.ErrNotFound
	}
	if err != nil {
		return credential.Sealed{}, fmt.Errorf("read a credential: %w", err)
	}
	v.CreatedAt, v.UpdatedAt, v.ExpiresAt = fromMicros(createdAt), fromMicros(updatedAt), fromNullMicros(expiresAt)
	return v, nil
}

// SealedValue implements credential.Store.
func (s *SQLite) SealedValue(ctx context.Context, k credential.Key) (credential.Sealed, error) {
	return scanSealed(s.reader.QueryRowContext(ctx, `SELECT `+sealedColumns+` FROM credentials WHERE kind = ? AND name = ? AND holder = ?`,
		k.Kind, k.Name, k.Holder))
}

// SealedValues implements credential.Store.
func (s *SQLite) SealedValues(ctx context.Context, kind string) ([]credential.Sealed, error) {
	rows, err := s.reader.QueryContext(ctx, `SELECT `+sealedColumns+` FROM credentials WHERE ? IN ('', kind) ORDER BY kind, name, holder`, kind)
	if err != nil {
		return nil, err
	}
	return scanList(rows, scanSealed)
}

// PutSealed implements credential.Store.
func (s *SQLite) PutSealed(ctx context.Context, v credential.Sealed) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		if err := hasDataKey(ctx, tx, v.DataKey); err != nil {
			return err
		}
		if v.Generation == 1 {
			return changedOne(tx.ExecContext(ctx, `INSERT INTO credentials (`+sealedColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (kind, name, holder) DO NOTHING`, sealedValues(&v)...))
		}
		return changedOne(tx.ExecContext(ctx, `UPDATE credentials
			SET generation = ?, value = ?, data_key = ?, updated_at = ?, expires_at = ?, leased_by = '', leased_until = 0
			WHERE kind = ? AND name = ? AND holder = ? AND generation = ?`,
			v.Generation, v.Value, v.DataKey, toMicros(v.UpdatedAt), toNullMicros(v.ExpiresAt), v.Kind, v.Name, v.Holder, v.Generation-1))
	})
}

// ResealSealed implements credential.Store.
func (s *SQLite) ResealSealed(ctx context.Context, v credential.Sealed, was int64) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		if err := hasDataKey(ctx, tx, v.DataKey); err != nil {
			return err
		}
		err := changedOne(tx.ExecContext(ctx, `UPDATE credentials SET value = ?, data_key = ?
			WHERE kind = ? AND name = ? AND holder = ? AND generation = ? AND data_key = ?`,
			v.Value, v.DataKey, v.Kind, v.Name, v.Holder, v.Generation, was))
		return goneOr(ctx, tx, v.Key, err)
	})
}

// TakeSealed implements credential.Store.
func (s *SQLite) TakeSealed(ctx context.Context, v credential.Sealed) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		err := changedOne(tx.ExecContext(ctx, `DELETE FROM credentials
			WHERE kind = ? AND name = ? AND holder = ? AND generation = ? AND data_key = ?`,
			v.Kind, v.Name, v.Holder, v.Generation, v.DataKey))
		return goneOr(ctx, tx, v.Key, err)
	})
}

// DeleteSealed implements credential.Store.
func (s *SQLite) DeleteSealed(ctx context.Context, k credential.Key) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		err := changedOne(tx.ExecContext(ctx, `DELETE FROM credentials WHERE kind = ? AND name = ? AND holder = ?`, k.Kind, k.Name, k.Holder))
		return goneOr(ctx, tx, k, err)
	})
}

// DeleteSealedBefore implements credential.Store.
func (s *SQLite) DeleteSealedBefore(ctx context.Context, kind string, t time.Time) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM credentials WHERE kind = ? AND expires_at < ?`, kind, toMicros(t))
		return err
	})
}

// LeaseSealed implements credential.Store.
func (s *SQLite) LeaseSealed(ctx context.Context, k credential.Key, generation int64, by string, now, until time.Time) (bool, error) {
	err := s.write(ctx, func(tx *sql.Tx) error {
		return changedOne(tx.ExecContext(ctx, `UPDATE credentials SET leased_by = ?, leased_until = ?
			WHERE kind = ? AND name = ? AND holder = ? AND generation = ? AND (leased_by = ? OR leased_until <= ?)`,
			by, toMicros(until), k.Kind, k.Name, k.Holder, generation, by, toMicros(now)))
	})
	return leased(err)
}

// DataKeys implements credential.Store.
func (s *SQLite) DataKeys(ctx context.Context) ([]credential.DataKey, error) {
	rows, err := s.reader.QueryContext(ctx, `SELECT id, wrapped, master, created_at FROM data_keys ORDER BY id`)
	if err != nil {
		return nil, err
	}
	return scanList(rows, scanDataKey)
}

// AddDataKey implements credential.Store.
func (s *SQLite) AddDataKey(ctx context.Context, k credential.DataKey) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		return changedOne(tx.ExecContext(ctx, `INSERT INTO data_keys (id, wrapped, master, created_at)
			SELECT ?1, ?2, ?3, ?4 WHERE ?1 = (SELECT coalesce(max(id), 0) + 1 FROM data_keys)`,
			k.ID, k.Wrapped, k.Master, toMicros(k.CreatedAt)))
	})
}

// RewrapDataKey implements credential.Store.
func (s *SQLite) RewrapDataKey(ctx context.Context, k credential.DataKey) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		err := changedOne(tx.ExecContext(ctx, `UPDATE data_keys SET wrapped = ?, master = ? WHERE id = ?`, k.Wrapped, k.Master, k.ID))
		return noDataKey(err)
	})
}

// DeleteDataKey implements credential.Store.
func (s *SQLite) DeleteDataKey(ctx context.Context, id int64) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		err := changedOne(tx.ExecContext(ctx, `DELETE FROM data_keys WHERE id = ?1 AND id < (SELECT max(id) FROM data_keys)
			AND NOT EXISTS (SELECT 1 FROM credentials WHERE data_key = ?1)`, id))
		if errors.Is(err, credential.ErrConflict) && errors.Is(hasDataKey(ctx, tx, id), credential.ErrNoDataKey) {
			return nil
		}
		return err
	})
}

func scanDataKey(from row) (credential.DataKey, error) {
	var k credential.DataKey
	var createdAt int64
	if err := from.Scan(&k.ID, &k.Wrapped, &k.Master, &createdAt); err != nil {
		return credential.DataKey{}, fmt.Errorf("read a data key: %w", err)
	}
	k.CreatedAt = fromMicros(createdAt)
	return k, nil
}

// hasDataKey returns ErrNoDataKey where there is no such key. Nobody else writes
// until the transaction has ended.
func hasDataKey(ctx context.Context, tx *sql.Tx, id int64) error {
	return noSuchRow(tx.QueryRowContext(ctx, `SELECT id FROM data_keys WHERE id = ?`, id).Scan(&id), credential.ErrNoDataKey)
}

// goneOr tells a key that has nothing under it from a conflict.
func goneOr(ctx context.Context, tx *sql.Tx, k credential.Key, err error) error {
	if !errors.Is(err, credential.ErrConflict) {
		return err
	}
	var generation int64
	gone := noSuchRow(tx.QueryRowContext(ctx, `SELECT generation FROM credentials WHERE kind = ? AND name = ? AND holder = ?`,
		k.Kind, k.Name, k.Holder).Scan(&generation), credential.ErrNotFound)
	if gone != nil {
		return gone
	}
	return err
}

// noSuchRow turns no row into another error.
func noSuchRow(err, otherwise error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return otherwise
	}
	return err
}

// changedOne returns ErrConflict for a statement that has changed nothing.
func changedOne(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err != nil {
		return err
	}
	return someChanged(n, nil)
}

// someChanged returns ErrConflict where no row was changed.
func someChanged(rows int64, err error) error {
	if err == nil && rows == 0 {
		return credential.ErrConflict
	}
	return err
}

// noDataKey turns a conflict into ErrNoDataKey, where a key is all that can be
// missing.
func noDataKey(err error) error {
	if errors.Is(err, credential.ErrConflict) {
		return credential.ErrNoDataKey
	}
	return err
}

// leased turns a conflict into false.
func leased(err error) (bool, error) {
	if errors.Is(err, credential.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}
