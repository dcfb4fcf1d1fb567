package replicas

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/databases"
)

// TestI9_AReplicaThatIsCutOffAllowsNothing cuts one of three replicas off from
// the database under load, while grants are revoked through the others.
func TestI9_AReplicaThatIsCutOffAllowsNothing(t *testing.T) {
	t.Parallel()
	refuse := func(l *databases.Link, t *testing.T) { l.Refuse(t) }
	silence := func(l *databases.Link, _ *testing.T) { l.Silence() }
	for _, c := range []struct {
		name string
		cut  func(*databases.Link, *testing.T)
		long time.Duration
	}{
		{"connections are refused", refuse, 10 * time.Second},
		{"packets are lost", silence, 10 * time.Second},
		{"packets are lost for a while", silence, 3 * time.Second}, // what hangs must not hang on
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // mostly, they wait
			cutOff(t, c.cut, c.long)
		})
	}
}

func cutOff(t *testing.T, cut func(*databases.Link, *testing.T), long time.Duration) {
	postgres, upstream := databases.Postgres(t, "-c", "fsync=off"), newUpstream(t)
	link, database := postgres.Link(t), postgres.Database(t)
	all := prepareServing(t, 1, link.Through(t, database), nil, upstream.config())
	all = started(t, append(all, prepareServing(t, 2, database, nil, upstream.config())...))
	live, doomed := grants(t, all, 100), grants(t, all, 100)
	known := append(append(forgeries(t, live[0]), live...), doomed...)

	var during outage
	pick := func() *grant { return anyOf(known) }
	usual := caller{all, deadline, 30 * time.Millisecond}.run(t, 3, pick, during.see)
	// Whoever waits for long learns no later that nothing is known.
	patient := caller{all[:1], 8 * time.Second, 30 * time.Millisecond}.run(t, 6, pick, during.see)
	time.Sleep(time.Second)

	during.begin()
	cut(link, t)
	client := upstream.client(t, all[0], live[0])
	revoking := make(chan struct{})
	go func() {
		defer close(revoking)
		for _, g := range doomed[:len(doomed)/2] {
			if err := anyOf(all[1:]).revoke(t.Context(), g); err != nil {
				t.Error(err)
			}
			time.Sleep(long / time.Duration(len(doomed)))
		}
	}()
	began := time.Now()
	all[0].ready(t, http.StatusServiceUnavailable)
	t.Logf("/readyz says no after %s", time.Since(began).Round(time.Millisecond))
	time.Sleep(time.Until(began.Add(time.Second)))
	for ; time.Since(began) < long; time.Sleep(100 * time.Millisecond) {
		client.refused(t, 2*time.Second)
	}
	<-revoking
	all[0].ready(t, http.StatusServiceUnavailable)
	during.end()
	link.Heal(t)

	began = time.Now()
	eventually(t, "healed", enough, func() error { return all[0].allows(t.Context(), live[1]) })
	back := time.Since(began)
	all[0].ready(t, http.StatusOK)
	time.Sleep(time.Second)
	usual.stop()
	patient.stop()
	during.report(t)
	t.Logf("it allowed again %s after the cut was healed", back.Round(time.Millisecond))
	if back > 7*time.Second {
		t.Errorf("it took %s to allow again", back)
	}
	t.Logf("calls with the usual patience: %s", usual)
	t.Logf("calls with a lot of it: %s", patient)
	settled(t, all, known)
}

// outage is the time in which the first replica is cut off from its database.
type outage struct {
	mu          sync.Mutex
	began, over time.Time

	refused int
	last    time.Duration // after the cut, that a call was allowed
	slowest time.Duration
}

func (o *outage) begin() { o.mu.Lock(); o.began = time.Now(); o.mu.Unlock() }
func (o *outage) end()   { o.mu.Lock(); o.over = time.Now(); o.mu.Unlock() }

// see says what is wrong with a yes of the first replica: after a second it knows
// nothing that it could rely on.
func (o *outage) see(a answer) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a.replica != 0 || o.began.IsZero() || !o.over.IsZero() || a.got.Before(o.began) {
		return ""
	}
	if !a.allowed {
		o.refused++
		o.slowest = max(o.slowest, a.got.Sub(a.sent))
		return ""
	}
	sent, got := a.sent.Sub(o.began), a.got.Sub(o.began)
	o.last = max(o.last, got)
	if sent > time.Second || got > 2*time.Second { // decided before, it may be read late
		return fmt.Sprintf("by a replica that was cut off %s before (and was asked %s after that)", got, sent)
	}
	return ""
}

func (o *outage) report(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	t.Logf("cut off for %s: the last call was allowed after %s; %d refused, the slowest within %s",
		o.over.Sub(o.began).Round(time.Second), o.last.Round(time.Millisecond), o.refused, o.slowest.Round(time.Millisecond))
	if o.refused == 0 {
		t.Error("nobody called meanwhile: the test shows nothing")
	}
	if o.slowest > 4*time.Second {
		t.Errorf("a refusal took %s", o.slowest)
	}
}
