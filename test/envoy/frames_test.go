package envoy

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/attacks/frames"
	"github.com/mcpermit/mcpermit/test/gateway"
	"github.com/mcpermit/mcpermit/test/parts"
)

const framesFile = "../attacks/frames-dev.jsonl"

// attack is the attack fixture behind an Envoy, with count of what Envoy
// answered by itself.
type attack struct {
	*frames.Fixture
	envoy *gateway.Envoy
	asked int            // by Envoy, before the case
	own   map[string]int // Envoy's own answers, by category and status
	cases map[string]int // by category
}

func newAttack(t *testing.T) *attack {
	a := &attack{own: map[string]int{}, cases: map[string]int{}}
	a.Fixture = frames.NewFixture(t, "../attacks/policy", func(g *gateway.Gateway) { a.envoy = g.Envoy(t, parts.Of(t).Envoy) })
	a.Own = func(c *frames.Case, last []byte, records int) bool {
		status, _, _ := bytes.Cut(bytes.TrimPrefix(last, []byte("HTTP/1.1 ")), []byte("\r\n"))
		switch {
		case len(last) == 0: // the connection or the stream was just closed
			status = []byte("closed")
		case !slices.Contains([]string{"400", "404", "408", "413", "426", "431", "501"}, string(status[:min(3, len(status))])):
			return false
		}
		if a.envoy.Asked(t)-a.asked != records {
			return false
		}
		a.own[c.Category+": "+string(status)]++
		return true
	}
	return a
}

// judge judges one case that was sent after before was called.
func (a *attack) judge(t *testing.T, c *frames.Case, answer []byte) {
	t.Helper()
	a.cases[c.Category]++
	a.Judge(t, c, answer, a.Trail.Next(t), a.Arrived(t))
	a.StillWorks(t)
}

func (a *attack) before(t *testing.T) { a.asked = a.envoy.Asked(t) }

// report logs what Envoy answered by itself.
func (a *attack) report(t *testing.T) {
	all, own := 0, 0
	for _, n := range a.cases {
		all += n
	}
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(a.own)) {
		own += a.own[what]
		lines = append(lines, fmt.Sprintf("%s × %d", what, a.own[what]))
	}
	t.Logf("%d frames; Envoy itself answered %d: %s", all, own, strings.Join(lines, "; "))
}

// TestI2_FramesThroughEnvoy sends every case that is not for stdio alone over a
// raw socket.
func TestI2_FramesThroughEnvoy(t *testing.T) {
	a := newAttack(t)
	// Half a request ends with Envoy's own time-out, of 30 s. Meanwhile the others
	// are sent, and nobody is asked about these.
	type half struct {
		c      frames.Case
		answer []byte
	}
	var halves []*half
	var wait sync.WaitGroup
	for _, c := range frames.Load(t, framesFile) {
		if c.Transport == "stdio" {
			continue
		}
		if c.Category == "partial" {
			h := &half{c: c}
			halves = append(halves, h)
			request := c.Request(t, a.Host(), a.Token)
			wait.Go(func() { h.answer = frames.Exchange(t, a.Host(), request, 40*time.Second, true) })
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			a.before(t)
			a.judge(t, &c, frames.Exchange(t, a.Host(), c.Request(t, a.Host(), a.Token), 2*time.Second, false))
		})
	}
	wait.Wait()
	for _, h := range halves {
		t.Run(h.c.ID, func(t *testing.T) {
			a.before(t)
			a.judge(t, &h.c, h.answer)
		})
	}
	a.report(t)
}

// TestI2_FramesThroughEnvoyHTTP2 sends those cases over HTTP/2 that it has words
// for.
func TestI2_FramesThroughEnvoyHTTP2(t *testing.T) {
	a := newAttack(t)
	speechless := map[string]int{}
	for _, c := range frames.Load(t, framesFile) {
		if c.Transport == "stdio" {
			continue
		}
		m, ok := readMessage(c.Request(t, a.Host(), a.Token))
		if !ok || c.Category == "partial" {
			speechless[c.Category]++
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			a.before(t)
			a.judge(t, &c, exchange2(t, a.Host(), m))
		})
	}
	t.Logf("not in HTTP/2: %v", speechless)
	a.report(t)
}
