// Package attacks sends frames that parsers read differently through the real
// programs to an upstream that records what it executes. The cases, and what
// must become of each, are in frames-dev.jsonl; MCPERMIT_FRAMES names another
// file of the same form.
package attacks

import (
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/attacks/frames"
	"github.com/mcpermit/mcpermit/test/gateway"
)

func newFixture(t *testing.T) *frames.Fixture {
	t.Helper()
	return frames.NewFixture(t, "policy", func(g *gateway.Gateway) { g.Up(t) })
}

// TestI2_HTTP sends every case that is not for stdio alone over a raw socket.
func TestI2_HTTP(t *testing.T) {
	f := newFixture(t)
	for _, c := range frames.Load(t, "frames-dev.jsonl") {
		if c.Transport == "stdio" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			partial, patience := c.Category == "partial", 2*time.Second
			if partial {
				patience = 20 * time.Second // the gateway's own read time-out must end it
			}
			answer := frames.Exchange(t, f.Host(), c.Request(t, f.Host(), f.Token), patience, partial)
			f.Judge(t, &c, answer, f.Trail.Next(t), f.Arrived(t))
			f.StillWorks(t)
		})
	}
}
