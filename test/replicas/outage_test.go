package replicas

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/databases"
)

// TestI9_TheDatabaseIsRestartedUnderLoad ends the database again and again, in
// order and at once, while grants are made, used and revoked. What was
// acknowledged is so ever after, and the replicas go on by themselves.
func TestI9_TheDatabaseIsRestartedUnderLoad(t *testing.T) {
	postgres := databases.Postgres(t)
	all := started(t, prepare(t, 3, postgres.Database(t), nil))
	known := newRegister(t, all, 50)
	calls := caller{all, deadline, 10 * time.Millisecond}.run(t, 3, known.pick, nil)
	changes := known.change(t, 10*time.Millisecond)

	ends := []func(testing.TB){postgres.Stop, postgres.Kill}
	for i := range 3 * len(ends) {
		time.Sleep(700 * time.Millisecond)
		ends[i%len(ends)](t)
		time.Sleep(1200 * time.Millisecond) // longer than anything may be allowed without it
		before, _ := calls.total()
		time.Sleep(300 * time.Millisecond)
		if after, _ := calls.total(); after != before {
			t.Errorf("%d calls were allowed without a database", after-before)
		}
		postgres.Start(t)
		began := time.Now()
		together(len(all), func(i int) {
			eventually(t, "the database is back", enough, func() error { return all[i].allows(t.Context(), known.kept[0]) })
		})
		t.Logf("all replicas allow again %s after it", time.Since(began).Round(time.Millisecond))
	}
	time.Sleep(700 * time.Millisecond)
	changes()
	time.Sleep(time.Second) // what was revoked last is known to all now
	calls.stop()

	created, revoked, failed := known.counts()
	t.Logf("acknowledged: %d grants and %d revocations; %d were answered with an error", created, revoked, failed)
	t.Logf("calls: %s", calls)
	if created == 0 || revoked == 0 || failed == 0 {
		t.Error("the test shows nothing")
	}
	settled(t, all, known.all())
}

// register is what is known of grants while they are made and revoked.
type register struct {
	replicas []replica
	kept     []*grant // are never revoked

	mu     sync.Mutex
	grants []*grant // all, with the forgeries
	unsure atomic.Int64
}

func newRegister(t *testing.T, all []replica, n int) *register {
	t.Helper()
	kept := grants(t, all, n)
	return &register{replicas: all, kept: kept, grants: append(forgeries(t, kept[0]), kept...)}
}

func (r *register) pick() *grant {
	r.mu.Lock()
	defer r.mu.Unlock()
	return anyOf(r.grants)
}

func (r *register) all() []*grant {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*grant(nil), r.grants...)
}

// change makes grants, and revokes every other one after a while, through any
// replica, until it is told to stop.
func (r *register) change(t *testing.T, pause time.Duration) (stop func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			var waiting []*grant
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				case <-time.After(pause):
				}
				g, err := anyOf(r.replicas).create(t.Context())
				if err != nil {
					r.unsure.Add(1)
					continue
				}
				r.mu.Lock()
				r.grants = append(r.grants, g)
				r.mu.Unlock()
				if waiting = append(waiting, g); len(waiting) < 10 {
					continue
				}
				if anyOf(r.replicas).revoke(t.Context(), waiting[0]) != nil {
					r.unsure.Add(1)
				}
				waiting = waiting[2:]
			}
		})
	}
	stop = sync.OnceFunc(func() { close(done); all.Wait() })
	t.Cleanup(stop)
	return stop
}

// counts are how many changes were acknowledged, and how many were not.
func (r *register) counts() (created, revoked, unsure int) {
	for _, g := range r.all() {
		if !g.forged {
			created++
		}
		if g.revoked.Load() != nil {
			revoked++
		}
	}
	return created, revoked, int(r.unsure.Load())
}
