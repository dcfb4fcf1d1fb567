package store

import (
	"context"
	"fmt"
	"time"

	"github.com/mcpermit/mcpermit/pdp/catalog"
)

// Catalog implements catalog.Store.
func (s *Postgres) Catalog(ctx context.Context) (catalog.Stored, error) {
	var stored catalog.Stored
	err := s.read(ctx, func(ctx context.Context, tx session) error {
		stored = catalog.Stored{ListedAt: map[string]time.Time{}}
		for _, part := range catalogParts(&stored) {
			if err := tx.each(ctx, part.scan, part.query); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return catalog.Stored{}, fmt.Errorf("read the catalog: %w", err)
	}
	return stored, nil
}

// CatalogVersion implements catalog.Shared.
func (s *Postgres) CatalogVersion(ctx context.Context) (int64, error) {
	return one(ctx, s, func(from row) (version int64, err error) {
		err = from.Scan(&version)
		return version, err
	}, `SELECT version FROM catalog_version`)
}

// nextVersion comes first in a transaction: it makes others wait that change the
// catalog as well, so that no two wait for each other.
const nextVersion = `UPDATE catalog_version SET version = version + 1`

// SaveListing implements catalog.Store.
func (s *Postgres) SaveListing(ctx context.Context, server string, at time.Time, put []catalog.Listed, gone []string) error {
	return s.together(ctx, func(b *batch) error {
		if len(put) > 0 || len(gone) > 0 {
			b.add(nextVersion)
		}
		b.add(`INSERT INTO listings (server, listed_at) VALUES ($1, $2)
			ON CONFLICT (server) DO UPDATE SET listed_at = excluded.listed_at`, server, toMicros(at))
		for _, l := range put {
			b.add(`INSERT INTO tools (server, name, digest, definition) VALUES ($1, $2, $3, $4)
				ON CONFLICT (server, name) DO UPDATE SET digest = excluded.digest, definition = excluded.definition`,
				server, l.Name, l.Digest[:], l.Definition)
		}
		for _, name := range gone {
			b.add(`DELETE FROM tools WHERE server = $1 AND name = $2`, server, name)
		}
		return nil
	})
}

// SavePins implements catalog.Store.
func (s *Postgres) SavePins(ctx context.Context, pins []catalog.Pin) error {
	return s.together(ctx, func(b *batch) error {
		b.add(nextVersion)
		for _, p := range pins {
			b.add(`INSERT INTO pins (server, name, digest, definition, pinned_at) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (server, name) DO UPDATE SET digest = excluded.digest, definition = excluded.definition, pinned_at = excluded.pinned_at`,
				p.Server, p.Name, p.Digest[:], p.Definition, toMicros(p.At))
		}
		return nil
	})
}

// SaveOverrides implements catalog.Store.
func (s *Postgres) SaveOverrides(ctx context.Context, overrides []catalog.Classification) error {
	return s.together(ctx, func(b *batch) error {
		b.add(nextVersion)
		for _, o := range overrides {
			if o.Class == "" {
				b.add(`DELETE FROM overrides WHERE server = $1 AND tool = $2`, o.Server, o.Tool)
				continue
			}
			traits, err := encoded(o.Traits)
			if err != nil {
				return err
			}
			b.add(`INSERT INTO overrides (server, tool, class, traits) VALUES ($1, $2, $3, $4)
				ON CONFLICT (server, tool) DO UPDATE SET class = excluded.class, traits = excluded.traits`,
				o.Server, o.Tool, o.Class, traits)
		}
		return nil
	})
}

// together runs the statements that f queues, in one transaction and one round
// trip.
func (s *Postgres) together(ctx context.Context, f func(b *batch) error) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		var b batch
		if err := f(&b); err != nil {
			return err
		}
		return tx.send(ctx, &b)
	})
}
