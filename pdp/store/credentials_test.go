package store_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"gocloud.dev/secrets/localsecrets"

	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/test/databases"
)

// planted are secrets of every kind.
var planted = map[string]string{
	credential.KindSecret:       "sk_live_c4n4rysecret",
	credential.KindAccount:      `{"access_token":"c4n4ryaccess","refresh_token":"c4n4ryrefresh"}`,
	credential.KindRegistration: `{"client_secret":"c4n4ryclient"}`,
	credential.KindFlow:         `{"verifier":"c4n4ryverifier"}`,
}

// plant puts the secrets into a vault on the store, changes one and its key.
func plant(t *testing.T, s credential.Store) {
	t.Helper()
	master := credential.MasterKey{Keeper: localsecrets.NewKeeper([32]byte{1}), Name: "local:test"}
	v, err := credential.NewVault(t.Context(), credential.Options{Store: s, Master: master})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for kind, value := range planted {
			k := credential.Key{Kind: kind, Name: "name-of-" + kind, Holder: "ada"}
			if _, err := v.Set(t.Context(), k, []byte(value)); err != nil {
				t.Fatal(err)
			}
			if e, err := v.Get(t.Context(), k); err != nil || string(e.Value) != value {
				t.Fatalf("%s: %v", k, err)
			}
		}
		if err := v.Rekey(t.Context(), func(int, int) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// holdsNone looks for the secrets, in every form in which a dump shows bytes.
func holdsNone(t *testing.T, what, text string) {
	t.Helper()
	for _, form := range []string{"c4n4ry", hex.EncodeToString([]byte("c4n4ry")), base64.RawStdEncoding.EncodeToString([]byte("c4n4ry"))} {
		if strings.Contains(text, form) {
			t.Errorf("%s holds %s", what, form)
		}
	}
	for kind := range planted {
		if !strings.Contains(text, "name-of-"+kind) {
			t.Errorf("%s has no name of a %s; this test looks in the wrong place", what, kind)
		}
	}
}

func TestI6_NoCredentialInTheStateDirectory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	plant(t, s)
	look := func(when string) {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(names) < 2 {
			t.Fatalf("files %q, %v", names, err)
		}
		var all strings.Builder
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
		holdsNone(t, "the directory, "+when, all.String())
	}
	look("open")
	closed(t, s)
	look("closed")
}

func TestI6_NoCredentialInADumpOfPostgres(t *testing.T) {
	url := databases.Postgres(t, "-c", "fsync=off").Database(t)
	s := openPostgres(t, url)
	defer s.Close()
	plant(t, s)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 5 {
		t.Fatalf("tables %q, %v", tables, err)
	}
	var dump strings.Builder
	for _, table := range tables {
		if _, err := conn.PgConn().CopyTo(t.Context(), &dump, fmt.Sprintf("COPY %s TO STDOUT", pgx.Identifier{table}.Sanitize())); err != nil {
			t.Fatal(err)
		}
	}
	holdsNone(t, "the dump", dump.String())
}

// Several decision points, each with a pool of its own, rekey a database on which
// they write.
func TestPostgresIsRekeyedUnderLoad(t *testing.T) {
	url := databases.Postgres(t, "-c", "fsync=off").Database(t)
	const replicas, values = 3, 12
	var vaults [replicas]*credential.SealedVault
	for i := range vaults {
		s := openPostgres(t, url)
		defer s.Close()
		var err error
		if vaults[i], err = credential.NewVault(t.Context(), credential.Options{
			Store: s, Master: credential.MasterKey{Keeper: localsecrets.NewKeeper([32]byte{1}), Name: "local:test"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	key := func(i int) credential.Key {
		return credential.Key{Kind: credential.KindAccount, Name: "server/main", Holder: fmt.Sprint(i)}
	}
	done := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- together(values, func(i int) error {
			for g := int64(1); ; g++ {
				v := vaults[(i+int(g))%replicas]
				if err := v.Put(t.Context(), credential.Entry{Key: key(i), Generation: g, Value: fmt.Append(nil, i, ":", g)}); err != nil {
					return fmt.Errorf("put: %w", err)
				}
				e, err := vaults[i%replicas].Get(t.Context(), key(i))
				if err != nil || e.Generation != g || string(e.Value) != fmt.Sprint(i, ":", g) {
					return fmt.Errorf("generation %d is %d, %q: %w", g, e.Generation, e.Value, err)
				}
				select {
				case <-done:
					return nil
				default:
				}
			}
		})
	}()
	err := together(replicas, func(i int) error {
		time.Sleep(time.Duration(i) * 20 * time.Millisecond)
		return vaults[i].Rekey(t.Context(), func(int, int) error { return nil })
	})
	close(done)
	if work := <-ended; err != nil || work != nil {
		t.Errorf("rekey: %v; work: %v", err, work)
	}
}
