package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

// Names of the files in a state directory.
const (
	databaseFile = "mcpermit.db"
	lockFile     = "lock"
)

// readers is how many reads may go on at a time.
const readers = 4

// ErrReadOnly says that the store was opened for reading only.
var ErrReadOnly = errors.New("the store is open for reading only")

// SQLite is the embedded store: one database file in WAL mode, with one
// connection for writing and a few for reading. A write that was answered is
// on disk (synchronous=FULL). It is safe for concurrent use.
type SQLite struct {
	dir    string
	lock   *os.File // nil when read-only
	writer *sql.DB  // nil when read-only
	reader *sql.DB
}

var (
	_ identity.Store   = (*SQLite)(nil)
	_ approval.Store   = (*SQLite)(nil)
	_ approval.Secrets = (*SQLite)(nil)
	_ credential.Store = (*SQLite)(nil)
	_ signin.Store     = (*SQLite)(nil)
	_ catalog.Store    = (*SQLite)(nil)
	_ quota.Store      = (*SQLite)(nil)
)

// Open opens the store in a state directory for this process alone, creates
// directory and database when they are not there, and brings the database to
// the version that this program knows. A directory that another process has
// open, and a database from a newer program, are errors.
func Open(ctx context.Context, dir string) (*SQLite, error) {
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &SQLite{dir: dir, lock: lock}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// OpenReadOnly opens a store for looking at it, also while another process has
// it open. Its methods that write return ErrReadOnly.
func OpenReadOnly(ctx context.Context, dir string) (*SQLite, error) {
	path := filepath.Join(dir, databaseFile)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("there is no store in %s: %w", dir, err)
	}
	s := &SQLite{dir: dir}
	var err error
	if s.reader, err = connect(path, readers, "mode=ro", "_pragma=query_only(1)"); err != nil {
		return nil, err
	}
	if err := checkVersion(ctx, s.reader); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), s.Close())
	}
	return s, nil
}

func (s *SQLite) open(ctx context.Context) error {
	path := filepath.Join(s.dir, databaseFile)
	if err := prepareFile(path); err != nil {
		return err
	}
	var err error
	// A transaction that writes takes the lock when it begins, and so cannot
	// find the database changed when it comes to write.
	s.writer, err = connect(path, 1, "_txlock=immediate",
		"_pragma=journal_mode(WAL)", "_pragma=synchronous(FULL)", "_pragma=fullfsync(1)", "_pragma=checkpoint_fullfsync(1)")
	if err != nil {
		return err
	}
	if err := migrate(ctx, s.writer); err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	s.reader, err = connect(path, readers, "_pragma=query_only(1)")
	return err
}

// connect returns a pool of at most so many connections. Options are
// parameters of the driver.
func connect(path string, connections int, options ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", path, err)
	}
	abs = filepath.ToSlash(abs)
	if !strings.HasPrefix(abs, "/") {
		abs = "/" + abs // C:/… on Windows
	}
	options = append(options, "_pragma=busy_timeout(5000)", "_pragma=trusted_schema(0)", "_pragma=foreign_keys(1)")
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: abs, RawQuery: strings.Join(options, "&")}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// Close ends the use of the store. Calls that are under way may fail.
func (s *SQLite) Close() error {
	var errs []error
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close()) // last: from here on another process may open
	}
	return errors.Join(errs...)
}

// write runs f in a transaction that is durable when write returns nil, and
// leaves no trace otherwise.
func (s *SQLite) write(ctx context.Context, f func(tx *sql.Tx) error) error {
	if s.writer == nil {
		return ErrReadOnly
	}
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing, and before one the cause is returned
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
