package faults

import (
	"syscall"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// Somebody who watches the trail does not hold up the end of the program.
func TestAStreamDoesNotHoldUpTheEnd(t *testing.T) {
	g := prepare(t, newUpstream(t), nil)
	g.Up(t)
	tail := gateway.Run(t, gateway.Program(t, "mcpermit"), "-c", g.ConfigFile, "audit", "tail")
	_, token := g.Grant(t, "ada", "up")
	c := newClient(g, token)
	for deadline := time.Now().Add(20 * time.Second); tail.Output() == ""; { // until it watches
		if _, body := c.call("first", "echo"); !done(body) || time.Now().After(deadline) {
			t.Fatalf("nothing is shown of %s", body)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := g.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := g.Process.Wait(15 * time.Second); err != nil {
		t.Errorf("with somebody who watches: %v", err)
	}
}
