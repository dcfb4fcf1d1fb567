package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/mcpermit/mcpermit/pdp/catalog"
)

// Catalog implements catalog.Store.
func (s *SQLite) Catalog(ctx context.Context) (catalog.Stored, error) {
	stored := catalog.Stored{ListedAt: map[string]time.Time{}}
	// One transaction, so that the parts belong together.
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return catalog.Stored{}, err
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	for _, part := range catalogParts(&stored) {
		if err := each(ctx, tx, part.query, part.scan); err != nil {
			return catalog.Stored{}, fmt.Errorf("read the catalog: %w", err)
		}
	}
	return stored, nil
}

// catalogPart reads one table of the catalog.
type catalogPart struct {
	query string
	scan  func(from row) error
}

// catalogParts fill stored when they are all read.
func catalogParts(stored *catalog.Stored) []catalogPart {
	return []catalogPart{
		{`SELECT server, listed_at FROM listings`, func(from row) error {
			var server string
			var at int64
			err := from.Scan(&server, &at)
			stored.ListedAt[server] = fromMicros(at)
			return err
		}},
		{`SELECT server, name, digest, definition FROM tools ORDER BY server, name`, func(from row) error {
			var l catalog.Listed
			err := from.Scan(&l.Server, &l.Name, digestColumn{&l.Digest}, &l.Definition)
			stored.Listed = append(stored.Listed, l)
			return err
		}},
		{`SELECT server, name, digest, definition, pinned_at FROM pins ORDER BY server, name`, func(from row) error {
			var p catalog.Pin
			var at int64
			err := from.Scan(&p.Server, &p.Name, digestColumn{&p.Digest}, &p.Definition, &at)
			p.At = fromMicros(at)
			stored.Pins = append(stored.Pins, p)
			return err
		}},
		{`SELECT server, tool, class, traits FROM overrides ORDER BY server, tool`, func(from row) error {
			var o catalog.Classification
			err := from.Scan(&o.Server, &o.Tool, &o.Class, asJSON(&o.Traits))
			stored.Overrides = append(stored.Overrides, o)
			return err
		}},
	}
}

func each(ctx context.Context, tx *sql.Tx, query string, scan func(from row) error) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	return scanRows(rows, scan)
}

// SaveListing implements catalog.Store.
func (s *SQLite) SaveListing(ctx context.Context, server string, at time.Time, put []catalog.Listed, gone []string) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO listings (server, listed_at) VALUES (?, ?)
			ON CONFLICT (server) DO UPDATE SET listed_at = excluded.listed_at`, server, toMicros(at)); err != nil {
			return err
		}
		for _, l := range put {
			if _, err := tx.ExecContext(ctx, `INSERT INTO tools (server, name, digest, definition) VALUES (?, ?, ?, ?)
				ON CONFLICT (server, name) DO UPDATE SET digest = excluded.digest, definition = excluded.definition`,
				server, l.Name, l.Digest[:], l.Definition); err != nil {
				return err
			}
		}
		for _, name := range gone {
			if _, err := tx.ExecContext(ctx, `DELETE FROM tools WHERE server = ? AND name = ?`, server, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// SavePins implements catalog.Store.
func (s *SQLite) SavePins(ctx context.Context, pins []catalog.Pin) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, p := range pins {
			if _, err := tx.ExecContext(ctx, `INSERT INTO pins (server, name, digest, definition, pinned_at) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (server, name) DO UPDATE SET digest = excluded.digest, definition = excluded.definition, pinned_at = excluded.pinned_at`,
				p.Server, p.Name, p.Digest[:], p.Definition, toMicros(p.At)); err != nil {
				return err
			}
		}
		return nil
	})
}

// SaveOverrides implements catalog.Store.
func (s *SQLite) SaveOverrides(ctx context.Context, overrides []catalog.Classification) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, o := range overrides {
			if o.Class == "" {
				if _, err := tx.ExecContext(ctx, `DELETE FROM overrides WHERE server = ? AND tool = ?`, o.Server, o.Tool); err != nil {
					return err
				}
				continue
			}
			traits, err := encoded(o.Traits)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO overrides (server, tool, class, traits) VALUES (?, ?, ?, ?)
				ON CONFLICT (server, tool) DO UPDATE SET class = excluded.class, traits = excluded.traits`,
				o.Server, o.Tool, o.Class, traits); err != nil {
				return err
			}
		}
		return nil
	})
}
