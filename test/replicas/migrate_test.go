package replicas

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mcpermit/mcpermit/test/databases"
)

const migrations = "../../pdp/store/migrations/postgres"

// Three programs that find an empty database make it once, and are replicas.
func TestReplicasThatStartTogetherMakeTheDatabaseOnce(t *testing.T) {
	database := databases.Postgres(t, "-c", "fsync=off").Database(t)
	all := started(t, prepare(t, 3, database, nil))
	migrated(t, database)
	for _, r := range all {
		g, err := r.create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		settled(t, all, []*grant{g})
	}
}

// Three programs find a database that the first released version has written,
// and which is so large that to bring it forward takes longer than any call may.
func TestI9_ReplicasThatStartTogetherBringADatabaseForward(t *testing.T) {
	const (
		live    = "mcpg_arYimtGn1FfKQT1a3araIHXihBQxfPl7GGVR5jEGxFPaIcL8i1sfCUbQrwq498Qwn"
		taken   = "mcpg_Y6OVkAnT546bTcVyWtofRnrbt9gJO3mbiobUjWBytKpD0ZQYXoN5qf0uXsS0ItTya"
		pending = "JYTAY5E5IQIZQPSXW5S7WBKEOB"
		slow    = 7 * time.Second
	)
	database := databases.Postgres(t, "-c", "fsync=off").Database(t)
	conn := connected(t, database)
	for _, name := range []string{filepath.Join(migrations, "0001_first.sql"), "testdata/version1.sql"} {
		sql, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), string(sql)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	const secret = `SELECT encode(value, 'hex') FROM secrets WHERE name = 'approval-round'`
	key := ask(t, conn, secret)

	all := prepare(t, 3, database, nil)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE schema_version`); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(slow+100*time.Millisecond, func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	began := time.Now()
	started(t, all)
	if took := time.Since(began); took < slow {
		t.Errorf("they began to serve after %s, before the database was brought forward", took)
	}
	migrated(t, database)

	for i, r := range all {
		name := fmt.Sprint("replica ", i)
		r.want(t, name+", a grant", live, "look", `{}`, allow, byPolicy)
		r.want(t, name+", a revoked one", taken, "look", `{}`, deny, revoked)
		r.want(t, name+", a classified tool", live, "wipe", `{}`, hide, byPolicy)
		if list := string(r.CLI(t, "approvals", "list", "-o", "json")); !strings.Contains(list, pending) {
			t.Errorf("%s: the call that waits is not among %s", name, list)
		}
	}
	if now := ask(t, connected(t, database), secret); now != key {
		t.Error("the key of approvals is another one: what was approved counts no more")
	}
	old := &grant{id: "arYimtGn1FfKQT1a", token: live}
	if err := all[0].revoke(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	settled(t, all, []*grant{old})
}

// migrated wants every migration that there is to have been applied once.
func migrated(t *testing.T, database string) {
	t.Helper()
	steps, err := filepath.Glob(filepath.Join(migrations, "*.sql"))
	if err != nil || len(steps) == 0 {
		t.Fatalf("no migrations: %v", err)
	}
	var want []string
	for i := range steps {
		want = append(want, fmt.Sprint(i+1))
	}
	got := ask(t, connected(t, database), `SELECT string_agg(version::text, ' ' ORDER BY version) FROM schema_version`)
	if got != strings.Join(want, " ") {
		t.Errorf("versions %s, want %s", got, want)
	}
}

func connected(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// ask returns the one text that a query answers.
func ask(t *testing.T, conn *pgx.Conn, query string) (text string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query).Scan(&text); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return text
}
