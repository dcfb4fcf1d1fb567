package databases

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/mcpermit/mcpermit/test/parts"
)

// PostgresServer is a PostgreSQL with its defaults: a commit that was answered
// is on disk.
type PostgresServer struct {
	*server
	databases int
}

const password = "secret of the tests"

// Postgres starts a server that ends with the test. Settings are further
// arguments of the program, such as "-c", "fsync=off" where nothing depends on
// what a crash of the machine would leave.
func Postgres(t testing.TB, settings ...string) *PostgresServer {
	t.Helper()
	programs := parts.Postgres(t)
	s := &PostgresServer{server: newServer(t, "postgres")}
	s.quit = syscall.SIGINT // fast: does not wait for the clients
	s.ready = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := pgx.Connect(ctx, s.url("postgres"))
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	}
	if err := s.notRoot(); err != nil {
		t.Fatal(err)
	}
	data, secret := filepath.Join(s.dir, "data"), filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(password), 0o644); err != nil {
		t.Fatal(err)
	}
	s.run(t, filepath.Join(programs, "initdb"), "--pgdata", data, "--no-sync", "--encoding", "UTF8", "--no-locale",
		"--username", "mcpermit", "--pwfile", secret, "--auth", "scram-sha-256")
	host, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.command = append([]string{
		filepath.Join(programs, "postgres"), "-D", data, "-p", port,
		"-c", "listen_addresses=" + host, "-c", "unix_socket_directories=", "-c", "max_connections=300",
	}, settings...)
	s.Start(t)
	return s
}

// Database makes an empty database and returns its URL.
func (s *PostgresServer) Database(t testing.TB) string {
	t.Helper()
	s.databases++
	name := fmt.Sprintf("test%d", s.databases)
	conn, err := pgx.Connect(t.Context(), s.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), "CREATE DATABASE "+name)
	if err := errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return s.url(name)
}

func (s *PostgresServer) url(database string) string {
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword("mcpermit", password), Host: s.address, Path: database,
		RawQuery: "sslmode=disable",
	}).String()
}

// notRoot has the server run as somebody whom it accepts: it refuses to run as
// root.
func (s *PostgresServer) notRoot() error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return fmt.Errorf("whom to run PostgreSQL as: %w", err)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, int(uid), int(gid))
}
