package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Shared is a store that other processes write to as well.
type Shared interface {
	Store
	// CatalogVersion returns a number that is another one after each change of
	// tools, pins and overrides.
	CatalogVersion(ctx context.Context) (int64, error)
}

// Follow takes over what other processes change in the store, at most this long
// after they do, until ctx ends. While the store does not answer, what was last
// known stands.
func (c *Catalog) Follow(ctx context.Context, s Shared, every time.Duration, log *slog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	known, failing := int64(-1), false
	for {
		version, err := s.CatalogVersion(ctx)
		if err == nil && version != known {
			err = c.reload(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			known, failing = version, false
		case !failing:
			failing = true
			log.Warn("the catalog may be behind what others changed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reload replaces the state by what is stored. No change of this process is
// under way meanwhile, and those before it are stored.
func (c *Catalog) reload(ctx context.Context) error {
	c.changes.Lock()
	defer c.changes.Unlock()
	stored, err := c.store.Catalog(ctx)
	if err != nil {
		return fmt.Errorf("load the catalog: %w", err)
	}
	loaded := newState(stored)
	c.state.Store(&loaded)
	return nil
}
