package store

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/test/databases"
)

const grantBefore = `INSERT INTO grants
	(id, token_digest, subject_id, subject_type, subject_groups, owner, servers, tools, labels, created_at, expires_at, revoked_at)
	VALUES ('g1', $1, 'agent:1', 'agent', '["ops"]', 'olga', '["*"]', 'null', '{"a":"b"}', 1, NULL, NULL)`

// keepsGrant expects the grant as it was, without limits, and with a use that is
// known from now on only: it must not be taken for one that nobody uses.
func keepsGrant(t *testing.T, s identity.Store, before time.Time) {
	t.Helper()
	got, err := s.Grant(t.Context(), "g1")
	if err != nil {
		t.Fatal(err)
	}
	want := identity.Record{
		Grant: identity.Grant{
			ID: "g1", Subject: identity.Subject{ID: "agent:1", Type: "agent", Groups: []string{"ops"}}, Owner: "olga",
			Servers: []string{"*"}, Labels: map[string]string{"a": "b"}, CreatedAt: fromMicros(1),
		},
		TokenDigest: [32]byte(bytes.Repeat([]byte{1}, 32)),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the grant (-want +got):\n%s", diff)
	}
	for since, unused := range map[time.Time]int{before: 0, time.Now().Add(time.Hour): 1} {
		list, err := s.Grants(t.Context(), identity.Query{Limit: 9, UnusedSince: since})
		if err != nil || len(list) != unused {
			t.Errorf("unused since %v: %d, %v; want %d", since, len(list), err, unused)
		}
	}
}

func TestGrantsOfVersion4AreKept(t *testing.T) {
	dir := t.TempDir()
	if err := prepareDir(dir); err != nil {
		t.Fatal(err)
	}
	db, err := connect(filepath.Join(dir, databaseFile), 1)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := migrations(migrationFiles, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	if err := apply(t.Context(), db, steps[:4]); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), grantBefore, bytes.Repeat([]byte{1}, 32)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Second)
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	keepsGrant(t, s, before)
}

func TestPostgresGrantsOfVersion1AreKept(t *testing.T) {
	server := databases.Postgres(t, "-c", "fsync=off")
	url := server.Database(t)
	config, err := postgresConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := migrations(postgresMigrations, "migrations/postgres")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	old := &Postgres{pool, patience}
	defer old.Close()
	if err := old.apply(t.Context(), steps[:1]); err != nil {
		t.Fatal(err)
	}
	if err := old.write(t.Context(), func(ctx context.Context, tx session) error {
		_, err := tx.exec(ctx, grantBefore, bytes.Repeat([]byte{1}, 32))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Second)
	s, err := OpenPostgres(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	keepsGrant(t, s, before)
}
