package databases

import (
	"context"
	"os"
	"testing"
	"time"

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

func TestALinkThatIsCut(t *testing.T) {
	s := Postgres(t)
	link := s.Link(t)
	address := link.Through(t, s.Database(t))
	connected := func() *pgx.Conn {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		return conn
	}
	fails := func(what string, f func(ctx context.Context) error) (late bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := f(ctx); err == nil {
			t.Errorf("%s: no error", what)
		}
		return ctx.Err() != nil
	}
	connect := func(ctx context.Context) error { _, err := pgx.Connect(ctx, address); return err }

	old := connected()
	link.Silence()
	if !fails("a connection while nothing arrives", old.Ping) || !fails("a new one", connect) {
		t.Error("somebody answered over a link on which nothing arrives")
	}
	link.Heal(t)
	if err := connected().Ping(t.Context()); err != nil {
		t.Error("healed:", err)
	}
	idle := connected()
	link.Silence()
	link.Heal(t)
	if err := idle.Ping(t.Context()); err != nil {
		t.Error("nothing was said while nothing arrived:", err)
	}

	old = connected()
	link.Refuse(t)
	if fails("a connection that was reset", old.Ping) || fails("one that is refused", connect) {
		t.Error("a refusal was waited for")
	}
	link.Heal(t)
	if err := connected().Ping(t.Context()); err != nil {
		t.Error("healed:", err)
	}
}
