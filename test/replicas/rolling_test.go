package replicas

import (
	"syscall"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/databases"
)

// TestI9_RollingRestart ends and starts three replicas, one after the other,
// while grants are made, used and revoked through all of them.
func TestI9_RollingRestart(t *testing.T) {
	postgres := databases.Postgres(t, "-c", "fsync=off")
	all := started(t, prepare(t, 3, postgres.Database(t), nil))
	known := newRegister(t, all, 50)
	calls := caller{all, deadline, 10 * time.Millisecond}.run(t, 3, known.pick, nil)
	changes := known.change(t, 10*time.Millisecond)

	for _, r := range all {
		time.Sleep(500 * time.Millisecond)
		if err := r.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := r.Process.Wait(enough); err != nil {
			t.Errorf("a replica that was told to end: %v", err)
		}
		time.Sleep(500 * time.Millisecond) // somebody else decides meanwhile
		began := time.Now()
		r.Up(t)
		eventually(t, "started again", enough, func() error { return r.allows(t.Context(), known.kept[0]) })
		t.Logf("it allows again %s after it was started", time.Since(began).Round(time.Millisecond))
	}
	time.Sleep(500 * time.Millisecond)
	changes()
	time.Sleep(time.Second) // what was revoked last is known to all now
	calls.stop()

	created, revoked, failed := known.counts()
	t.Logf("acknowledged: %d grants and %d revocations; %d were answered with an error", created, revoked, failed)
	t.Logf("calls: %s; the longest time without one that was allowed: %s", calls, calls.longest.Round(time.Millisecond))
	if calls.longest > 5*time.Second {
		t.Errorf("nobody allowed anything for %s", calls.longest)
	}
	settled(t, all, known.all())
}
