package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/mcpermit/mcpermit/pdp/quota"
)

// SharedQuotas is a store of quotas that is reached over the network. It is
// connected to when it is first used, and until that succeeds once, again and
// again: a decision point starts also while it is away, and then denies only
// what has a quota.
type SharedQuotas struct {
	connect func(ctx context.Context) (quotaDatabase, error)

	mu     sync.Mutex
	trying *connecting
	closed bool
}

var _ quota.Store = (*SharedQuotas)(nil)

type quotaDatabase interface {
	quota.Store
	io.Closer
}

// connecting is one attempt, which all callers share. Its results are set when
// done is closed.
type connecting struct {
	done     chan struct{}
	database quotaDatabase
	err      error
}

var errClosed = errors.New("the store is closed")

// OpenQuota returns the store of quotas at a redis://, rediss:// or
// postgres:// URL. The error is about the URL; whether anybody answers there,
// Connect tells.
func OpenQuota(url string) (*SharedQuotas, error) {
	scheme, _, _ := strings.Cut(url, "://")
	switch scheme {
	case "redis", "rediss":
		if _, err := redisOption(url); err != nil {
			return nil, err
		}
		return &SharedQuotas{connect: func(ctx context.Context) (quotaDatabase, error) { return asQuotas(OpenRedis(ctx, url)) }}, nil
	case "postgres", "postgresql":
		if _, err := postgresConfig(url); err != nil {
			return nil, err
		}
		return &SharedQuotas{connect: func(ctx context.Context) (quotaDatabase, error) { return asQuotas(OpenPostgres(ctx, url)) }}, nil
	}
	return nil, errors.New("the address of a store of quotas: want redis://, rediss:// or postgres://")
}

func asQuotas[T quotaDatabase](db T, err error) (quotaDatabase, error) {
	if err != nil {
		return nil, err
	}
	return db, nil
}

// Connect connects now, for whoever wants to know before the first use.
func (s *SharedQuotas) Connect(ctx context.Context) error {
	_, err := s.database(ctx)
	return err
}

// Close ends the use of the store.
func (s *SharedQuotas) Close() error {
	s.mu.Lock()
	s.closed = true
	c := s.trying
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	if <-c.done; c.database == nil {
		return nil
	}
	return c.database.Close()
}

// database waits for the connection, at most as long as ctx. The attempt itself
// goes on for the next caller.
func (s *SharedQuotas) database(ctx context.Context) (quotaDatabase, error) {
	s.mu.Lock()
	c := s.trying
	if s.closed {
		s.mu.Unlock()
		return nil, errClosed
	}
	if c == nil {
		c = &connecting{done: make(chan struct{})}
		s.trying = c
		go s.try(c) //nolint:gosec // G118: it outlives the caller, for those who come after
	}
	s.mu.Unlock()
	select {
	case <-c.done:
		return c.database, c.err
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to the store of quotas: %w", ctx.Err())
	}
}

func (s *SharedQuotas) try(c *connecting) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	defer close(c.done)
	if c.database, c.err = s.connect(ctx); c.err != nil {
		s.mu.Lock()
		s.trying = nil
		s.mu.Unlock()
	}
}

// Update implements quota.Store.
func (s *SharedQuotas) Update(ctx context.Context, now time.Time, keys quota.Keys, f func(quota.Loaded) quota.Changes) error {
	db, err := s.database(ctx)
	if err != nil {
		return err
	}
	return db.Update(ctx, now, keys, f)
}

// Reservations implements quota.Store.
func (s *SharedQuotas) Reservations(ctx context.Context, ids []string) ([]quota.Reservation, error) {
	db, err := s.database(ctx)
	if err != nil {
		return nil, err
	}
	return db.Reservations(ctx, ids)
}

// Counters implements quota.Store.
func (s *SharedQuotas) Counters(ctx context.Context, ids []string) ([]quota.Counter, error) {
	db, err := s.database(ctx)
	if err != nil {
		return nil, err
	}
	return db.Counters(ctx, ids)
}

// FindCounters implements quota.Store.
func (s *SharedQuotas) FindCounters(ctx context.Context, now time.Time, f quota.Filter) ([]quota.Counter, error) {
	db, err := s.database(ctx)
	if err != nil {
		return nil, err
	}
	return db.FindCounters(ctx, now, f)
}
