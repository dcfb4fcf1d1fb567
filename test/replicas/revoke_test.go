package replicas

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/databases"
)

// TestI9_NobodyIsAllowedASecondAfterARevocation revokes many grants through any
// of the replicas while each of them is in use on all, and measures how long
// after the answer to the revocation the last call was allowed.
func TestI9_NobodyIsAllowedASecondAfterARevocation(t *testing.T) {
	const revocations, atOnce = 1000, 60
	postgres := databases.Postgres(t, "-c", "fsync=off")
	all := started(t, prepare(t, 3, postgres.Database(t), nil))
	live := grants(t, all, 300)
	background := caller{all, time.Second, 20 * time.Millisecond}.run(t, 2, func() *grant { return anyOf(live) }, nil)

	doomed := grants(t, all, revocations)
	lags := make([]time.Duration, revocations)
	var next atomic.Int64
	together(atOnce, func(int) {
		for i := next.Add(1) - 1; i < revocations; i = next.Add(1) - 1 {
			lags[i] = lag(t, all, doomed[i])
		}
	})
	background.stop()

	slices.Sort(lags)
	at := func(q float64) time.Duration { return lags[int(q*float64(len(lags)-1))].Round(time.Millisecond) }
	t.Logf("allowed after the revocation of %d grants was answered: p50 %s, p99 %s, max %s", len(lags), at(0.5), at(0.99), at(1))
	t.Logf("beside it, under live grants: %s", background)
	if at(1) > time.Second {
		t.Errorf("a call was allowed %s after the revocation", at(1))
	}
	together(len(all), func(i int) {
		for _, g := range doomed {
			if a := (caller{replicas: all, patience: enough}).ask(t.Context(), i, g); a.code != "REVOKED_TOKEN" {
				t.Errorf("in the end, on replica %d: allowed %t %s", i, a.allowed, a.code)
			}
		}
	})
	for i, refused := range background.refused {
		for code, n := range refused {
			if !fails(code) {
				t.Errorf("replica %d refused %d calls under live grants: %s", i, n, code)
			}
		}
	}
}

// lag uses a grant on every replica, has it revoked, and returns how much later
// than the answer to that the last call was allowed. It goes on calling for
// longer than calls may be allowed.
func lag(t *testing.T, all []replica, g *grant) time.Duration {
	t.Helper()
	callers := caller{replicas: all, patience: time.Second}
	var using, warm sync.WaitGroup
	warm.Add(len(all))
	last := make([]time.Time, len(all)) // a call was allowed
	for i := range all {
		using.Go(func() {
			warmed := sync.OnceFunc(warm.Done)
			defer warmed()
			for {
				at := g.revoked.Load()
				if at != nil && time.Since(*at) > 1500*time.Millisecond || t.Context().Err() != nil {
					return
				}
				switch a := callers.ask(t.Context(), i, g); {
				case a.allowed:
					last[i] = a.got
					warmed()
				case at == nil && !fails(a.code) && !g.doubtful.Load():
					t.Errorf("replica %d refused a live grant: %s", i, a.code)
					return
				}
				time.Sleep(30*time.Millisecond + rand.N(20*time.Millisecond))
			}
		})
	}
	warm.Wait()
	time.Sleep(rand.N(500 * time.Millisecond)) // at any age of what the replicas remember
	if err := anyOf(all).revoke(t.Context(), g); err != nil {
		t.Error(err)
		now := time.Now()
		g.revoked.Store(&now)
	}
	using.Wait()
	return max(0, slices.MaxFunc(last, time.Time.Compare).Sub(*g.revoked.Load()))
}
