package databases

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/rueidis"
)

// query runs statements on a connection of their own and returns the only value
// of the last one.
func query(t *testing.T, url string, statements ...string) (value int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for i, sql := range statements {
		if i < len(statements)-1 {
			_, err = conn.Exec(t.Context(), sql)
		} else {
			err = conn.QueryRow(t.Context(), sql).Scan(&value)
		}
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	return value
}

func TestPostgresKeepsItsDataAndAddress(t *testing.T) {
	s := Postgres(t)
	one, other := s.Database(t), s.Database(t)
	query(t, one, `CREATE TABLE a (x int)`, `INSERT INTO a VALUES (1) RETURNING x`)
	query(t, other, `CREATE TABLE a (x int)`, `SELECT count(*) FROM a`) // its own
	for i, end := range []func(testing.TB){s.Kill, s.Stop} {
		// Somebody is connected meanwhile.
		conn, err := pgx.Connect(t.Context(), one)
		if err != nil {
			t.Fatal(err)
		}
		end(t)
		if err := conn.Ping(t.Context()); err == nil {
			t.Error("the server answers after its end")
		}
		if _, err := pgx.Connect(t.Context(), one); err == nil {
			t.Error("connected to a server that has ended")
		}
		s.Start(t)
		if sum := query(t, one, `INSERT INTO a VALUES (1)`, `SELECT sum(x) FROM a`); sum != i+2 {
			t.Errorf("sum %d, want %d", sum, i+2)
		}
	}
}

func TestRedisKeepsItsDataAndAddress(t *testing.T) {
	s := Redis(t, "--appendfsync", "always")
	option, err := rueidis.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	count := func() (int64, error) {
		client, err := rueidis.NewClient(option)
		if err != nil {
			return 0, err
		}
		defer client.Close()
		return client.Do(t.Context(), client.B().Incr().Key("a").Build()).AsInt64()
	}
	if n, err := count(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for i, end := range []func(testing.TB){s.Kill, s.Stop} {
		end(t)
		if _, err := count(); err == nil {
			t.Error("a server that has ended counts")
		}
		s.Start(t)
		if n, err := count(); n != int64(i+2) || err != nil {
			t.Errorf("%d, %v; want %d", n, err, i+2)
		}
	}
}

func TestServersEndWithTheTest(t *testing.T) {
	var p *PostgresServer
	var r *RedisServer
	t.Run("inner", func(t *testing.T) { p, r = Postgres(t), Redis(t) })
	if p.ready() == nil || r.ready() == nil {
		t.Error("a server answers after its test")
	}
	for _, s := range []*server{p.server, r.server} {
		if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", s.dir, err)
		}
	}
}
