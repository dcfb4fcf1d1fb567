package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mcpermit/mcpermit/pdp/credential"
)

// SealedValue implements credential.Store.
func (s *Postgres) SealedValue(ctx context.Context, k credential.Key) (credential.Sealed, error) {
	return one(ctx, s, scanSealed, `SELECT `+sealedColumns+` FROM credentials WHERE kind = $1 AND name = $2 AND holder = $3`, k.Kind, k.Name, k.Holder)
}

// SealedValues implements credential.Store.
func (s *Postgres) SealedValues(ctx context.Context, kind string) ([]credential.Sealed, error) {
	return list(ctx, s, scanSealed, `SELECT `+sealedColumns+` FROM credentials WHERE $1 IN ('', kind) ORDER BY kind, name, holder`, kind)
}

// PutSealed implements credential.Store.
func (s *Postgres) PutSealed(ctx context.Context, v credential.Sealed) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		if err := holdDataKey(ctx, tx, v.DataKey); err != nil {
			return err
		}
		if v.Generation == 1 {
			return someChanged(tx.exec(ctx, `INSERT INTO credentials (`+sealedColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
				ON CONFLICT (kind, name, holder) DO NOTHING`, sealedValues(&v)...))
		}
		return someChanged(tx.exec(ctx, `UPDATE credentials
			SET generation = $4, value = $5, data_key = $6, updated_at = $7, expires_at = $8, leased_by = '', leased_until = 0
			WHERE kind = $1 AND name = $2 AND holder = $3 AND generation = $4 - 1`,
			v.Kind, v.Name, v.Holder, v.Generation, v.Value, v.DataKey, toMicros(v.UpdatedAt), toNullMicros(v.ExpiresAt)))
	})
}

// ResealSealed implements credential.Store.
func (s *Postgres) ResealSealed(ctx context.Context, v credential.Sealed, was int64) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		if err := holdDataKey(ctx, tx, v.DataKey); err != nil {
			return err
		}
		return absentOr(ctx, tx, v.Key)(tx.exec(ctx, `UPDATE credentials SET value = $6, data_key = $7
			WHERE kind = $1 AND name = $2 AND holder = $3 AND generation = $4 AND data_key = $5`,
			v.Kind, v.Name, v.Holder, v.Generation, was, v.Value, v.DataKey))
	})
}

// TakeSealed implements credential.Store.
func (s *Postgres) TakeSealed(ctx context.Context, v credential.Sealed) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		return absentOr(ctx, tx, v.Key)(tx.exec(ctx, `DELETE FROM credentials
			WHERE kind = $1 AND name = $2 AND holder = $3 AND generation = $4 AND data_key = $5`,
			v.Kind, v.Name, v.Holder, v.Generation, v.DataKey))
	})
}

// DeleteSealed implements credential.Store.
func (s *Postgres) DeleteSealed(ctx context.Context, k credential.Key) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		rows, err := tx.exec(ctx, `DELETE FROM credentials WHERE kind = $1 AND name = $2 AND holder = $3`, k.Kind, k.Name, k.Holder)
		if err == nil && rows == 0 {
			return credential.ErrNotFound
		}
		return err
	})
}

// DeleteSealedBefore implements credential.Store.
func (s *Postgres) DeleteSealedBefore(ctx context.Context, kind string, t time.Time) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		_, err := tx.exec(ctx, `DELETE FROM credentials WHERE kind = $1 AND expires_at < $2`, kind, toMicros(t))
		return err
	})
}

// LeaseSealed implements credential.Store.
func (s *Postgres) LeaseSealed(ctx context.Context, k credential.Key, generation int64, by string, now, until time.Time) (bool, error) {
	return leased(s.write(ctx, func(ctx context.Context, tx session) error {
		return someChanged(tx.exec(ctx, `UPDATE credentials SET leased_by = $5, leased_until = $7
			WHERE kind = $1 AND name = $2 AND holder = $3 AND generation = $4 AND (leased_by = $5 OR leased_until <= $6)`,
			k.Kind, k.Name, k.Holder, generation, by, toMicros(now), toMicros(until)))
	}))
}

// DataKeys implements credential.Store.
func (s *Postgres) DataKeys(ctx context.Context) ([]credential.DataKey, error) {
	return list(ctx, s, scanDataKey, `SELECT id, wrapped, master, created_at FROM data_keys ORDER BY id`)
}

// AddDataKey implements credential.Store.
func (s *Postgres) AddDataKey(ctx context.Context, k credential.DataKey) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		return someChanged(tx.exec(ctx, `INSERT INTO data_keys (id, wrapped, master, created_at)
			SELECT $1, $2, $3, $4 WHERE $1 = (SELECT coalesce(max(id), 0) + 1 FROM data_keys)
			ON CONFLICT (id) DO NOTHING`, k.ID, k.Wrapped, k.Master, toMicros(k.CreatedAt)))
	})
}

// RewrapDataKey implements credential.Store.
func (s *Postgres) RewrapDataKey(ctx context.Context, k credential.DataKey) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		return noDataKey(someChanged(tx.exec(ctx, `UPDATE data_keys SET wrapped = $2, master = $3 WHERE id = $1`, k.ID, k.Wrapped, k.Master)))
	})
}

// DeleteDataKey implements credential.Store.
func (s *Postgres) DeleteDataKey(ctx context.Context, id int64) error {
	err := s.write(ctx, func(ctx context.Context, tx session) error {
		err := someChanged(tx.exec(ctx, `DELETE FROM data_keys WHERE id = $1 AND id < (SELECT max(id) FROM data_keys)
			AND NOT EXISTS (SELECT 1 FROM credentials WHERE data_key = $1)`, id))
		if errors.Is(err, credential.ErrConflict) && errors.Is(holdDataKey(ctx, tx, id), credential.ErrNoDataKey) {
			return nil
		}
		return err
	})
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == "23503" { // foreign_key_violation: something was sealed with it meanwhile
		return credential.ErrConflict
	}
	return err
}

// holdDataKey keeps a key from being deleted until the transaction has ended. It
// returns ErrNoDataKey where there is no such key.
func holdDataKey(ctx context.Context, tx session, id int64) error {
	return noSuchRow(tx.row(ctx, `SELECT id FROM data_keys WHERE id = $1 FOR KEY SHARE`, id).Scan(&id), credential.ErrNoDataKey)
}

// absentOr is someChanged that tells a key that has nothing under it from a
// conflict.
func absentOr(ctx context.Context, tx session, k credential.Key) func(rows int64, err error) error {
	return func(rows int64, err error) error {
		if err = someChanged(rows, err); !errors.Is(err, credential.ErrConflict) {
			return err
		}
		var generation int64
		gone := noSuchRow(tx.row(ctx, `SELECT generation FROM credentials WHERE kind = $1 AND name = $2 AND holder = $3`,
			k.Kind, k.Name, k.Holder).Scan(&generation), credential.ErrNotFound)
		if gone != nil {
			return gone
		}
		return err
	}
}
