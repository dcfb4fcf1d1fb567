package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/signin"
	"github.com/mcpermit/mcpermit/pdp/store"
)

// database keeps everything but the audit trail.
type database interface {
	identity.Store
	approval.Store
	approval.Secrets
	catalog.Store
	credential.Store
	signin.Store
	quota.Store
	io.Closer
}

// stores are where a decision point keeps its state.
type stores struct {
	database
	amounts quota.Store
	counts  quota.Store

	opened []io.Closer
}

// openStores takes the state directory for this process alone, also where the
// database is elsewhere. Without its database a decision point does not start;
// without a store that is for quotas alone it does, and denies what has one.
func openStores(ctx context.Context, cfg *config.Config, log *slog.Logger) (_ *stores, err error) {
	s := &stores{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.database, err = s.openDatabase(ctx, cfg.State); err != nil {
		return nil, err
	}
	s.amounts = s.database
	if cfg.Quota.Amounts != "" && cfg.Quota.Amounts != cfg.State.Database {
		if s.amounts, err = s.openQuota(ctx, cfg.Quota.Amounts, "amounts", log); err != nil {
			return nil, misuse("quota.amounts: %w", err)
		}
	}
	s.counts = s.amounts
	if cfg.Quota.Counts != "" {
		if s.counts, err = s.openQuota(ctx, cfg.Quota.Counts, "counts", log); err != nil {
			return nil, misuse("quota.counts: %w", err)
		}
	}
	return s, nil
}

func (s *stores) openDatabase(ctx context.Context, c config.State) (database, error) {
	if c.Database == "" {
		db, err := store.Open(ctx, c.Dir)
		return opened(s, db, err)
	}
	dir, err := store.TakeDir(c.Dir)
	if _, err := opened(s, dir, err); err != nil {
		return nil, err
	}
	db, err := store.OpenPostgres(ctx, c.Database)
	if err != nil {
		return nil, refused("state.database: %w", err)
	}
	return opened(s, db, nil)
}

func (s *stores) openQuota(ctx context.Context, url, of string, log *slog.Logger) (quota.Store, error) {
	q, err := store.OpenQuota(url)
	if err != nil {
		return nil, err
	}
	if err := q.Connect(ctx); err != nil {
		log.Warn("the store of quotas does not answer; calls with a quota are denied until it does", "of", of, "error", err)
	}
	return opened(s, q, nil)
}

// opened notes what is to be closed.
func opened[T io.Closer](s *stores, c T, err error) (T, error) {
	if err == nil {
		s.opened = append(s.opened, c)
	}
	return c, err
}

// Close closes what was opened, the last first.
func (s *stores) Close() error {
	var errs []error
	for _, c := range slices.Backward(s.opened) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
