package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp/quota"
)

// Update implements quota.Store. Counters and reservations that are there are
// locked, in the order of their ids, until the commit: so two transactions wait
// for one another and neither overspends, also under READ COMMITTED. Those that
// are not there can't be locked: whoever inserts second finds out and starts
// over.
func (s *Postgres) Update(ctx context.Context, now time.Time, keys quota.Keys, f func(quota.Loaded) quota.Changes) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		loaded, err := loadQuotasLocked(ctx, tx, keys)
		if err != nil {
			return err
		}
		// f may do with loaded as it likes.
		known := quota.Loaded{Counters: maps.Clone(loaded.Counters), Reservations: maps.Clone(loaded.Reservations)}
		return storeQuotasLocked(ctx, tx, now, keys, known, f(loaded))
	})
}

const (
	selectCounters     = `SELECT ` + counterColumns + ` FROM quota_counters WHERE id = ANY($1) ORDER BY id`
	selectReservations = `SELECT ` + reservationColumns + ` FROM quota_reservations WHERE id = ANY($1) ORDER BY id`
)

func loadQuotasLocked(ctx context.Context, tx session, keys quota.Keys) (quota.Loaded, error) {
	loaded := quota.Loaded{Counters: map[string]quota.Counter{}, Reservations: map[string]quota.Reservation{}}
	if len(keys.Counters) > 0 {
		err := tx.each(ctx, func(from row) error {
			c, err := scanCounter(from)
			loaded.Counters[c.ID] = c
			return err
		}, selectCounters+` FOR UPDATE`, keys.Counters)
		if err != nil {
			return loaded, fmt.Errorf("read quota counters: %w", err)
		}
	}
	if len(keys.Reservations) > 0 {
		err := tx.each(ctx, func(from row) error {
			r, err := scanReservation(from)
			loaded.Reservations[r.ID] = r
			return err
		}, selectReservations+` FOR UPDATE`, keys.Reservations)
		if err != nil {
			return loaded, fmt.Errorf("read quota reservations: %w", err)
		}
	}
	return loaded, nil
}

// storeQuotasLocked sends all changes in one round trip.
func storeQuotasLocked(ctx context.Context, tx session, now time.Time, keys quota.Keys, known quota.Loaded, changes quota.Changes) error {
	var b batch
	var raced bool
	// isNew is for a row that was not there when it was looked for.
	isNew := func(inserted int64) { raced = raced || inserted == 0 }

	for _, c := range slices.SortedFunc(slices.Values(changes.Counters), func(x, y quota.Counter) int { return strings.Compare(x.ID, y.ID) }) {
		values, err := counterValues(&c)
		if err != nil {
			return err
		}
		if _, there := known.Counters[c.ID]; there {
			b.add(`UPDATE quota_counters SET quota = $2, per = $3, terms = $4, state = $5, updated_at = $6, expires_at = $7 WHERE id = $1`, values...)
			continue
		}
		b.addCounted(isNew, `INSERT INTO quota_counters (`+counterColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`, values...)
	}
	for _, r := range slices.SortedFunc(slices.Values(changes.Reservations), func(x, y quota.Reservation) int { return strings.Compare(x.ID, y.ID) }) {
		tally := func(int64) {} // one that is there stays
		if _, there := known.Reservations[r.ID]; !there && slices.Contains(keys.Reservations, r.ID) {
			tally = isNew
		}
		b.addCounted(tally, `INSERT INTO quota_reservations (`+reservationColumns+`) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
			r.ID, r.Holds, toMicros(r.ExpiresAt))
	}
	if len(changes.Released) > 0 {
		b.add(`DELETE FROM quota_reservations WHERE id = ANY($1)`, changes.Released)
	}
	// Some of what has expired: more than is added, so that it catches up, and
	// never much at once.
	some := 2*len(changes.Reservations) + 16
	for _, prune := range []string{
		`DELETE FROM quota_reservations WHERE id IN (SELECT id FROM quota_reservations WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
		`DELETE FROM quota_counters WHERE id IN (SELECT id FROM quota_counters WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
	} {
		b.add(prune, toMicros(now), some)
	}
	if err := tx.send(ctx, &b); err != nil {
		return fmt.Errorf("store quotas: %w", err)
	}
	if raced {
		return errAgain
	}
	return nil
}

// Reservations implements quota.Store.
func (s *Postgres) Reservations(ctx context.Context, ids []string) ([]quota.Reservation, error) {
	return list(ctx, s, scanReservation, selectReservations, ids)
}

// Counters implements quota.Store.
func (s *Postgres) Counters(ctx context.Context, ids []string) ([]quota.Counter, error) {
	return list(ctx, s, scanCounter, selectCounters, ids)
}

// FindCounters implements quota.Store.
func (s *Postgres) FindCounters(ctx context.Context, now time.Time, f quota.Filter) ([]quota.Counter, error) {
	query := `SELECT ` + counterColumns + ` FROM quota_counters WHERE expires_at > $1 AND (quota, id) > ($2, $3)`
	args := []any{toMicros(now), f.AfterQuota, f.AfterID, f.Limit}
	narrow := func(condition string, value any) {
		args = append(args, value)
		query += fmt.Sprintf(condition, len(args))
	}
	if f.ID != "" {
		narrow(` AND id = $%d`, f.ID)
	}
	if f.Quota != "" {
		narrow(` AND quota = $%d`, f.Quota)
	}
	if f.Of != "" {
		value, err := encoded(f.Of)
		if err != nil {
			return nil, err
		}
		// As text: PostgreSQL's own functions stumble over \u0000 in JSON. A value
		// begins with :" and ends with the next quote that is not escaped.
		narrow(` AND strpos(per::text, $%d) > 0`, ":"+value)
	}
	return list(ctx, s, scanCounter, query+` ORDER BY quota, id LIMIT $4`, args...)
}
