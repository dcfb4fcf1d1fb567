package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/store"
	"github.com/mcpermit/mcpermit/test/databases"
)

// soon is far beyond what an error of a server that is away takes, and far
// below what a connection that hangs does.
const soon = 4 * time.Second

// together runs f so many times at once and returns the errors.
func together(n int, f func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// bump adds one to a counter, and returns what it is then.
func bump(ctx context.Context, s quota.Store, id string) (n int, err error) {
	now := time.Now().UTC()
	err = s.Update(ctx, now, quota.Keys{Counters: []string{id}}, func(l quota.Loaded) quota.Changes {
		n = len(l.Counters[id].State) + 1
		return quota.Changes{Counters: []quota.Counter{{
			ID: id, Quota: "q", Terms: "{}", State: []byte(strings.Repeat("x", n)), UpdatedAt: now, ExpiresAt: now.Add(time.Hour),
		}}}
	})
	return n, err
}

func TestPostgresThatWasAwayIsUsedAgain(t *testing.T) {
	server := databases.Postgres(t)
	s := openPostgres(t, server.Database(t)+"&pool_max_conns=8")
	defer s.Close()
	g, _ := createGrant(t, s)
	use := func(ctx context.Context) error {
		return together(32, func(i int) error {
			if i%2 == 0 {
				_, err := bump(ctx, s, fmt.Sprint("c", i%4))
				return err
			}
			_, err := s.Grant(ctx, g.ID)
			return err
		})
	}
	if err := use(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(testing.TB){"killed": server.Kill, "stopped": server.Stop} {
		end(t)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		for what, f := range map[string]func() error{
			"read":    func() error { _, err := s.Grant(ctx, g.ID); return err },
			"write":   func() error { _, err := s.RevokeGrant(ctx, g.ID, time.Now()); return err },
			"catalog": func() error { _, err := s.Catalog(ctx); return err },
			"quota":   func() error { _, err := bump(ctx, s, "c"); return err },
		} {
			if err := f(); err == nil || errors.Is(err, identity.ErrNotFound) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		if took := time.Since(began); took > soon {
			t.Errorf("%s: the errors took %s", name, took)
		}
		cancel()
		server.Start(t)
		if err := use(t.Context()); err != nil {
			t.Errorf("%s and started again: %v", name, err)
		}
	}
}

// What hangs because the network has lost it must not hang on when the network is
// back: neither connections that were there nor those that were begun meanwhile.
func TestPostgresIsUsedAgainSoonAfterASilence(t *testing.T) {
	server := databases.Postgres(t)
	link := server.Link(t)
	s := openPostgres(t, link.Through(t, server.Database(t))+"&pool_max_conns=4")
	defer s.Close()
	g, _ := createGrant(t, s)
	use := func() error {
		return together(8, func(int) error {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := s.Grant(ctx, g.ID)
			return errors.Join(err, s.Ping(ctx))
		})
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	link.Silence()
	began := time.Now()
	for range 3 {
		if err := use(); err == nil {
			t.Error("somebody answered over a link on which nothing arrives")
		}
	}
	if took := time.Since(began); took > soon {
		t.Errorf("the errors took %s", took)
	}
	link.Heal(t)
	began = time.Now()
	for use() != nil && time.Since(began) < time.Minute {
		time.Sleep(10 * time.Millisecond)
	}
	if took := time.Since(began); took > soon {
		t.Errorf("it was used again after %s", took)
	}
}

// Connections that somebody has cut are none of a caller's business as long as
// nothing was sent that counts.
func TestCutConnectionsAreReplaced(t *testing.T) {
	server := databases.Postgres(t)
	address := server.Database(t)
	s := openPostgres(t, address+"&pool_max_conns=8")
	defer s.Close()
	g, _ := createGrant(t, s)
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	const rounds, users = 4, 16
	for range rounds {
		if err := together(users, func(int) error { _, err := bump(t.Context(), s, "c"); return err }); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'mcpermit'`); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Grant(t.Context(), g.ID); err != nil {
			t.Error(err)
		}
	}
	if n, err := bump(t.Context(), s, "c"); err != nil || n != rounds*users+1 {
		t.Errorf("counted %d, %v; want %d", n, err, rounds*users+1)
	}
}

// TestAnAddressThatNeverAnswers has somebody listen who says nothing.
func TestAnAddressThatNeverAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := store.OpenPostgres(ctx, "postgres://u@"+l.Addr().String()+"/d?sslmode=disable"); err == nil {
		t.Error("opened")
	}
	for _, scheme := range []string{"redis", "postgres"} {
		q, err := store.OpenQuota(scheme + "://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bump(ctx, q, "c"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", scheme, err)
		}
	}
	if took := time.Since(began); took > soon {
		t.Errorf("it took %s", took)
	}
}

func TestQuotasStartWithoutTheirStore(t *testing.T) {
	redis, postgres := databases.Redis(t), databases.Postgres(t)
	database := postgres.Database(t)
	for _, c := range []struct {
		url         string
		kill, start func(testing.TB)
	}{{redis.URL(), redis.Kill, redis.Start}, {database, postgres.Kill, postgres.Start}} {
		c.kill(t)
		s, err := store.OpenQuota(c.url)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := s.Connect(t.Context()); err == nil {
			t.Error("connected to a server that is not there")
		}
		if err := together(8, func(int) error { _, err := bump(t.Context(), s, "c"); return err }); err == nil {
			t.Error("counted by a server that is not there")
		}
		if took := time.Since(began); took > soon {
			t.Errorf("the errors took %s", took)
		}
		for _, again := range []bool{false, true} {
			if again {
				c.kill(t)
			}
			c.start(t)
			if err := together(8, func(int) error { _, err := bump(t.Context(), s, fmt.Sprint("c", again)); return err }); err != nil {
				t.Errorf("%s: started, again %v: %v", c.url[:8], again, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := bump(t.Context(), s, "c"); err == nil {
			t.Error("counted by a closed store")
		}
	}
}

func TestI6_NoPasswordOfADatabaseInErrors(t *testing.T) {
	const secret = "hunter2"
	for _, address := range []string{
		"postgres://u:" + secret + "@127.0.0.1:1/d", "postgres://u:" + secret + "@127.0.0.1:x/d", "postgres://u:" + secret + "@h/d?sslmode=perhaps",
		"redis://u:" + secret + "@127.0.0.1:1/0", "redis://u:" + secret + "@127.0.0.1:x/0", "redis://u:" + secret + "@h/zero", "mysql://u:" + secret + "@h",
		"redis://u:" + secret + "%zz@h/0", "postgres://u:" + secret + "%zz@h/d",
	} {
		s, err := store.OpenQuota(address)
		if err == nil {
			err = s.Connect(t.Context())
		}
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestI7_NoAmountIsOverspentWhileTheDatabaseIsKilled has several decision
// points, many calls and a database that dies now and then: what was
// acknowledged never exceeds the limit, and everything acknowledged is counted.
func TestI7_NoAmountIsOverspentWhileTheDatabaseIsKilled(t *testing.T) {
	server := databases.Postgres(t)
	overspend(t, server.Database(t)+"&pool_max_conns=4", func() { server.Kill(t); server.Start(t) }, false)
}

// A Redis that syncs every write has lost nothing of what it answered.
func TestI7_NoCountIsOverspentWhileRedisIsKilled(t *testing.T) {
	server := databases.Redis(t, "--appendfsync", "always")
	overspend(t, server.URL(), func() { server.Kill(t); server.Start(t) }, true)
}

func overspend(t *testing.T, address string, kill func(), byCount bool) {
	const pools, users, kills, most = 3, 24, 5, 3000
	window, err := quota.ParseWindow("24h", "", "")
	if err != nil {
		t.Fatal(err)
	}
	amount := func(s string) quota.Amount {
		a, err := quota.ParseAmount(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	limits := func(cost string) []quota.Limit {
		return []quota.Limit{{Name: "q", Limit: quota.Count(most), Cost: amount(cost), Window: window, ByCount: byCount}}
	}
	type cost struct {
		text  string
		cents int64
	}
	costs := []cost{{"0.99", 99}, {"3", 300}, {"0.01", 1}, {"7.5", 750}}
	if byCount {
		costs = []cost{{"1", 100}}
	}
	connected := func() *quota.Ledger {
		s, err := store.OpenQuota(address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return quota.NewLedger(quota.Options{Amounts: s})
	}
	var ledgers []*quota.Ledger
	for range pools {
		ledgers = append(ledgers, connected())
	}
	var cents, exceeded, failed atomic.Int64
	done := make(chan struct{})
	var all sync.WaitGroup
	for u := range users {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				cost := costs[i%len(costs)]
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := ledgers[u%pools].Reserve(ctx, fmt.Sprint(u, "-", i), time.Now(), limits(cost.text))
				cancel()
				switch {
				case err == nil:
					cents.Add(cost.cents)
				case errors.Is(err, quota.ErrExceeded):
					exceeded.Add(1)
				case errors.Is(err, quota.ErrUnavailable):
					failed.Add(1)
					time.Sleep(10 * time.Millisecond)
				default:
					t.Error(err)
				}
			}
		})
	}
	for range kills {
		time.Sleep(200 * time.Millisecond)
		kill()
	}
	for deadline := time.Now().Add(time.Minute); exceeded.Load() == 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	close(done)
	all.Wait()
	if failed.Load() == 0 || exceeded.Load() == 0 {
		t.Errorf("%d calls failed and %d were refused: the test shows nothing", failed.Load(), exceeded.Load())
	}
	// Not over a connection that may still be one to the killed server.
	uses, err := connected().Peek(t.Context(), time.Now(), limits("0"))
	if err != nil {
		t.Fatal(err)
	}
	used := uses[0].Used
	acknowledged := amount(fmt.Sprintf("%d.%02d", cents.Load()/100, cents.Load()%100))
	if used.Cmp(acknowledged) < 0 || used.Cmp(quota.Count(most)) > 0 {
		t.Errorf("used %s, acknowledged %s, limit %d", used, acknowledged, most)
	}
	t.Logf("used %s, acknowledged %s; %d calls failed", used, acknowledged, failed.Load())
}

func TestTheStateDirectoryIsTakenOnce(t *testing.T) {
	dir := t.TempDir()
	lock, err := store.TakeDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	const want = "is in use by another mcpermit (process "
	if _, err := store.TakeDir(dir); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the second time: %v", err)
	}
	if _, err := store.Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the embedded store: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	closed(t, open(t, dir))
}
