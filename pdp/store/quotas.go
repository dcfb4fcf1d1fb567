package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/mcpermit/mcpermit/pdp/quota"
)

const (
	counterColumns     = `id, quota, per, terms, state, updated_at, expires_at`
	reservationColumns = `id, holds, expires_at`
)

// Update implements quota.Store: one transaction, which holds the write lock
// from its beginning.
func (s *SQLite) Update(ctx context.Context, now time.Time, keys quota.Keys, f func(quota.Loaded) quota.Changes) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		loaded, err := loadQuotas(ctx, tx, keys)
		if err != nil {
			return err
		}
		changes := f(loaded)
		if err := storeQuotas(ctx, tx, changes); err != nil {
			return err
		}
		return pruneQuotas(ctx, tx, now, len(changes.Reservations))
	})
}

func loadQuotas(ctx context.Context, from preparer, keys quota.Keys) (quota.Loaded, error) {
	loaded := quota.Loaded{Counters: map[string]quota.Counter{}, Reservations: map[string]quota.Reservation{}}
	err := eachID(ctx, from, `SELECT `+counterColumns+` FROM quota_counters WHERE id = ?`, keys.Counters, func(r row) error {
		c, err := scanCounter(r)
		loaded.Counters[c.ID] = c
		return err
	})
	if err != nil {
		return loaded, fmt.Errorf("read quota counters: %w", err)
	}
	err = eachID(ctx, from, `SELECT `+reservationColumns+` FROM quota_reservations WHERE id = ?`, keys.Reservations, func(r row) error {
		v, err := scanReservation(r)
		loaded.Reservations[v.ID] = v
		return err
	})
	if err != nil {
		return loaded, fmt.Errorf("read quota reservations: %w", err)
	}
	return loaded, nil
}

func storeQuotas(ctx context.Context, tx *sql.Tx, changes quota.Changes) error {
	counters, reservations := make([][]any, 0, len(changes.Counters)), make([][]any, 0, len(changes.Reservations))
	for i := range changes.Counters {
		values, err := counterValues(&changes.Counters[i])
		if err != nil {
			return err
		}
		counters = append(counters, values)
	}
	for _, r := range changes.Reservations {
		reservations = append(reservations, []any{r.ID, r.Holds, toMicros(r.ExpiresAt)})
	}
	released := make([][]any, 0, len(changes.Released))
	for _, id := range changes.Released {
		released = append(released, []any{id})
	}
	for _, w := range []struct {
		statement string
		rows      [][]any
	}{
		{`INSERT OR REPLACE INTO quota_counters (` + counterColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?)`, counters},
		{`INSERT OR IGNORE INTO quota_reservations (` + reservationColumns + `) VALUES (?, ?, ?)`, reservations},
		{`DELETE FROM quota_reservations WHERE id = ?`, released},
	} {
		if err := execEach(ctx, tx, w.statement, w.rows); err != nil {
			return fmt.Errorf("store quotas: %w", err)
		}
	}
	return nil
}

func execEach(ctx context.Context, tx *sql.Tx, statement string, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	prepared, err := tx.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	defer prepared.Close()
	for _, columns := range rows {
		if _, err := prepared.ExecContext(ctx, columns...); err != nil {
			return err
		}
	}
	return nil
}

// pruneQuotas deletes some of what has expired: more than is added, so that it
// catches up, and never much at once.
func pruneQuotas(ctx context.Context, tx *sql.Tx, now time.Time, added int) error {
	for _, statement := range []string{
		`DELETE FROM quota_reservations WHERE id IN (SELECT id FROM quota_reservations WHERE expires_at < ? ORDER BY expires_at LIMIT ?)`,
		`DELETE FROM quota_counters WHERE id IN (SELECT id FROM quota_counters WHERE expires_at < ? ORDER BY expires_at LIMIT ?)`,
	} {
		if _, err := tx.ExecContext(ctx, statement, toMicros(now), 2*added+16); err != nil {
			return fmt.Errorf("prune quotas: %w", err)
		}
	}
	return nil
}

// Reservations implements quota.Store.
func (s *SQLite) Reservations(ctx context.Context, ids []string) ([]quota.Reservation, error) {
	loaded, err := loadQuotas(ctx, s.reader, quota.Keys{Reservations: ids})
	list := make([]quota.Reservation, 0, len(loaded.Reservations))
	for _, r := range loaded.Reservations {
		list = append(list, r)
	}
	return list, err
}

// Counters implements quota.Store.
func (s *SQLite) Counters(ctx context.Context, ids []string) ([]quota.Counter, error) {
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // one moment for all
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	loaded, err := loadQuotas(ctx, tx, quota.Keys{Counters: ids})
	list := make([]quota.Counter, 0, len(loaded.Counters))
	for _, c := range loaded.Counters {
		list = append(list, c)
	}
	return list, err
}

// FindCounters implements quota.Store.
func (s *SQLite) FindCounters(ctx context.Context, now time.Time, f quota.Filter) ([]quota.Counter, error) {
	rows, err := s.reader.QueryContext(ctx, `SELECT `+counterColumns+` FROM quota_counters
		WHERE expires_at > ?1 AND (quota, id) > (?2, ?3) AND (?4 = '' OR id = ?4) AND (?5 = '' OR quota = ?5)
			AND (?6 = '' OR EXISTS (SELECT 1 FROM json_each(per) WHERE value = ?6))
		ORDER BY quota, id LIMIT ?7`, toMicros(now), f.AfterQuota, f.AfterID, f.ID, f.Quota, f.Of, f.Limit)
	if err != nil {
		return nil, err
	}
	return scanList(rows, scanCounter)
}

// preparer is a database or a transaction.
type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// eachID asks a query for each id, and scans what it finds.
func eachID(ctx context.Context, from preparer, query string, ids []string, scan func(row) error) error {
	if len(ids) == 0 {
		return nil
	}
	prepared, err := from.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer prepared.Close()
	for _, id := range ids {
		rows, err := prepared.QueryContext(ctx, id)
		if err != nil {
			return err
		}
		if err := scanRows(rows, scan); err != nil {
			return err
		}
	}
	return nil
}

// counterValues are those of counterColumns.
func counterValues(c *quota.Counter) ([]any, error) {
	per, err := encoded(partsColumn(c.Per))
	if err != nil {
		return nil, err
	}
	return []any{c.ID, c.Quota, per, c.Terms, c.State, toMicros(c.UpdatedAt), toMicros(c.ExpiresAt)}, nil
}

func scanCounter(from row) (quota.Counter, error) {
	var c quota.Counter
	var per map[string]string
	var updatedAt, expiresAt int64
	err := from.Scan(&c.ID, &c.Quota, asJSON(&per), &c.Terms, &c.State, &updatedAt, &expiresAt)
	if err != nil {
		return quota.Counter{}, fmt.Errorf("read a quota counter: %w", err)
	}
	c.Per = partsOf(per)
	c.UpdatedAt, c.ExpiresAt = fromMicros(updatedAt), fromMicros(expiresAt)
	return c, nil
}

func scanReservation(from row) (quota.Reservation, error) {
	var r quota.Reservation
	var expiresAt int64
	if err := from.Scan(&r.ID, &r.Holds, &expiresAt); err != nil {
		return quota.Reservation{}, fmt.Errorf("read a quota reservation: %w", err)
	}
	r.ExpiresAt = fromMicros(expiresAt)
	return r, nil
}

// Parts are kept as one JSON object, for people who look into the database.

func partsColumn(parts []quota.Part) map[string]string {
	m := make(map[string]string, len(parts))
	for _, p := range parts {
		m[p.Name] = p.Value
	}
	return m
}

func partsOf(m map[string]string) []quota.Part {
	parts := make([]quota.Part, 0, len(m))
	for name, value := range m {
		parts = append(parts, quota.Part{Name: name, Value: value})
	}
	slices.SortFunc(parts, func(a, b quota.Part) int { return cmp.Compare(a.Name, b.Name) })
	return parts
}
