package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

// Postgres is the store that several decision points share: a PostgreSQL
// database of their own. A write that was answered is as durable as the
// database makes a commit. It is safe for concurrent use.
//
// A database that is away makes every method fail, soon and within the
// caller's context; once it is back they work again.
type Postgres struct {
	pool  *pgxpool.Pool
	bound time.Duration // of every call whose context has none, or a later one
}

var (
	_ identity.Store   = (*Postgres)(nil)
	_ approval.Store   = (*Postgres)(nil)
	_ approval.Secrets = (*Postgres)(nil)
	_ catalog.Shared   = (*Postgres)(nil)
	_ credential.Store = (*Postgres)(nil)
	_ signin.Store     = (*Postgres)(nil)
	_ quota.Store      = (*Postgres)(nil)
)

const (
	// patience bounds every call but the one that brings the database to another
	// version.
	patience = 5 * time.Second
	// connectPatience bounds the making of a connection: one that was begun while the
	// network lost everything takes a place in the pool for so long.
	connectPatience = 3 * time.Second
	// attempts is how often a transaction is tried of which is known that
	// nothing was stored.
	attempts = 4
)

// OpenPostgres opens the store at a postgres:// URL, whose parameters may be
// those of libpq, pool_max_conns (default 4, or one for each CPU) and, behind a
// pooler that keeps no prepared statements, default_query_exec_mode=exec. It
// brings the database to the version that this program knows. A database from
// a newer program is an error.
func OpenPostgres(ctx context.Context, url string) (*Postgres, error) {
	config, err := postgresConfig(url)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	s := &Postgres{pool, patience}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database: %w", err), s.Close())
	}
	return s, nil
}

func postgresConfig(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("the address of the database: %w", err) // pgx masks the password
	}
	conn := config.ConnConfig
	if t := conn.ConnectTimeout; t <= 0 || t > connectPatience { // 0, which is the default, would be two minutes
		conn.ConnectTimeout = connectPatience
	}
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = "mcpermit"
	}
	// attempt finds out by itself that a connection is dead; see discard for what
	// the pool would do with it.
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		// A decision point whose machine is gone in the middle of a transaction
		// must not keep what it has locked. Nothing else bounds ctx.
		ctx, cancel := context.WithTimeout(ctx, connectPatience)
		defer cancel()
		_, err := conn.Exec(ctx, `SET idle_in_transaction_session_timeout = '10s'`)
		return err
	}
	return config, nil
}

// Ping says why the database does not answer, or nil.
func (s *Postgres) Ping(ctx context.Context) error {
	return s.attempt(ctx, func(ctx context.Context, conn *pgxpool.Conn) (bool, error) { return true, conn.Ping(ctx) })
}

// Close ends the use of the store when the calls under way have ended.
func (s *Postgres) Close() error {
	s.pool.Close()
	return nil
}

// write runs f in a transaction (READ COMMITTED) that is committed when write
// returns nil. It runs f again when the transaction had to give way to others,
// and when its connection turns out to have been cut before it came to commit.
// After an error nothing was stored, unless it was the commit that failed: then
// it is not known.
func (s *Postgres) write(ctx context.Context, f func(ctx context.Context, tx session) error) error {
	return s.transact(ctx, pgx.TxOptions{}, f)
}

// read runs f on one snapshot of the database.
func (s *Postgres) read(ctx context.Context, f func(ctx context.Context, tx session) error) error {
	return s.transact(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, f)
}

func (s *Postgres) transact(ctx context.Context, o pgx.TxOptions, f func(ctx context.Context, tx session) error) error {
	return s.attempt(ctx, func(ctx context.Context, conn *pgxpool.Conn) (again bool, err error) {
		tx, err := conn.BeginTx(ctx, o)
		if err != nil {
			return true, fmt.Errorf("begin: %w", err)
		}
		if err := f(ctx, session{tx}); err != nil {
			_ = tx.Rollback(ctx) // a connection on which this fails is closed, which does the same
			return true, err
		}
		if err := tx.Commit(ctx); err != nil {
			return false, fmt.Errorf("commit: %w", err)
		}
		return false, nil
	})
}

// one runs a query and scans its only result.
func one[T any](ctx context.Context, s *Postgres, scan func(from row) (T, error), sql string, args ...any) (T, error) {
	var result T
	err := s.attempt(ctx, func(ctx context.Context, conn *pgxpool.Conn) (_ bool, err error) {
		result, err = scan(session{conn}.row(ctx, sql, args...))
		return true, err
	})
	return result, err
}

// list runs a query and scans its results.
func list[T any](ctx context.Context, s *Postgres, scan func(from row) (T, error), sql string, args ...any) ([]T, error) {
	var results []T
	err := s.attempt(ctx, func(ctx context.Context, conn *pgxpool.Conn) (bool, error) {
		results = nil
		return true, session{conn}.each(ctx, func(from row) error {
			result, err := scan(from)
			results = append(results, result)
			return err
		}, sql, args...)
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// attempt gives f a connection, and another one when f says that it may be
// called again and there is a reason to.
func (s *Postgres) attempt(ctx context.Context, f func(ctx context.Context, conn *pgxpool.Conn) (again bool, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, s.bound)
	defer cancel()
	for left := attempts - 1; ; left-- {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return fmt.Errorf("connect to the database: %w", err)
		}
		again, err := f(ctx, conn)
		cut := conn.Conn().IsClosed()
		if cut {
			discard(conn)
		} else {
			conn.Release()
		}
		if err == nil || !again || left == 0 || ctx.Err() != nil || !cut && !gaveWay(err) {
			return err
		}
		if cut {
			s.pool.Reset() // the others were to the same server, and are tried only once as well
		}
	}
}

// discard makes room for another connection at once. Released, a connection that
// was given up because nothing came would keep its place in the pool until the
// goodbye that pgx sends has failed as well, 15 s later.
func discard(closed *pgxpool.Conn) { closed.Hijack() }

// gaveWay says whether the database undid a transaction for the sake of others.
func gaveWay(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code == "40001" || e.Code == "40P01" // serialization_failure, deadlock_detected
	}
	return errors.Is(err, errAgain)
}

// errAgain is returned by a transaction that found others in its way.
var errAgain = errors.New("others changed the same rows")
