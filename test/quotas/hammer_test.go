// Package quotas holds that no quota is ever overspent, by real decision points
// over real databases, whatever is killed meanwhile (I7).
package quotas

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const (
	limitCents  = 100_00
	limitCalls  = 30
	connections = 64
	kills       = 50
)

// hammer is 64 callers that spend from one counter until it is full, and then
// from the next.
type hammer struct {
	*replicas
	now    atomic.Int64 // number of the epoch that is being spent
	mu     sync.Mutex
	epochs map[int64]*epoch

	allowed, refused, away, nobody, unknown, released atomic.Int64
}

func (h *hammer) epoch(n int64) *epoch {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.epochs[n]
	if e == nil {
		e = &epoch{}
		h.epochs[n] = e
	}
	return e
}

// work spends until ctx ends.
func (h *hammer) work(ctx context.Context, c *caller, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 7))
	for ctx.Err() == nil {
		n := h.now.Load()
		cents := []int64{1, 33, 99, 100, 250, 999}[random.IntN(6)]
		tool := []string{"spend", "both"}[random.IntN(2)]
		if h.spend(c, random, n, tool, cents) && cents == 1 && tool == "spend" {
			h.now.CompareAndSwap(n, n+1) // not even a cent fits
		}
	}
}

// spend asks for one call, and reports whether it was refused for its quota.
func (h *hammer) spend(c *caller, random *rand.Rand, n int64, tool string, cents int64) (full bool) {
	e := h.epoch(n)
	replica := random.IntN(len(c.conns))
	res, err := c.ask(context.Background(), replica, tool, fmt.Sprintf(`{"epoch":"e%d","amount":%s}`, n, decimal(cents)))
	switch {
	case err != nil && strings.Contains(err.Error(), "while dialing"):
		h.nobody.Add(1) // the replica is down: it was never asked
		time.Sleep(10 * time.Millisecond)
		return false
	case err != nil:
		h.unknown.Add(1)
		e.add(func() { e.unknown += cents })
		time.Sleep(10 * time.Millisecond)
		return false
	case res.GetEffect() == v1.Effect_EFFECT_ALLOW:
		h.allowed.Add(1)
		h.settle(c, random, e, res.GetDecisionId(), tool, cents)
		return false
	case res.GetReasonCode() == v1.ReasonCode_REASON_CODE_QUOTA_UNAVAILABLE:
		// Refused, and counted perhaps: the store may have done it before it died.
		h.away.Add(1)
		e.add(func() { e.unknown += cents })
		time.Sleep(5 * time.Millisecond)
		return false
	}
	h.refused.Add(1)
	return res.GetReasonCode() == v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED
}

// settle tells what became of a call: most arrived, some certainly did not, and
// of some nothing is ever said.
func (h *hammer) settle(c *caller, random *rand.Rand, e *epoch, id, tool string, cents int64) {
	e.add(func() {
		e.granted += cents
		if tool == "both" {
			e.calls++
		}
	})
	switch random.IntN(10) {
	case 0, 1: // not forwarded
		if !c.complete(context.Background(), id, false) {
			return
		}
		h.released.Add(1)
		e.add(func() {
			e.granted -= cents
			if tool == "both" {
				e.calls--
			}
		})
	case 2: // its enforcement point has died
	default:
		c.complete(context.Background(), id, true)
	}
}

func (e *epoch) add(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

// TestI7_HammeredAndKilled spends from 64 connections to each of three replicas,
// while replicas and Redis are killed at random.
func TestI7_HammeredAndKilled(t *testing.T) {
	h := &hammer{replicas: start(t, 3), epochs: map[int64]*epoch{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var callers []*caller
	var all sync.WaitGroup
	for i := range connections {
		c := h.caller(t)
		callers = append(callers, c)
		all.Go(func() { h.work(ctx, c, uint64(i)) })
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range kills {
		time.Sleep(time.Duration(100+random.IntN(300)) * time.Millisecond)
		if victim := random.IntN(len(h.points) + 1); victim < len(h.points) {
			h.points[victim].Process.Kill()
			h.points[victim].PDPUp(t)
		} else {
			h.redis.Kill(t)
			time.Sleep(50 * time.Millisecond)
			h.redis.Start(t)
		}
	}
	time.Sleep(time.Second)
	stop()
	all.Wait()
	h.fill(t, callers[0])
	certain := h.check(t)
	t.Logf("%d kills, %d counters, of %d all is known: %d calls allowed, %d given back, %d refused, %d refused for a store that was away, %d without an answer, %d not sent",
		kills, len(h.epochs), certain, h.allowed.Load(), h.released.Load(), h.refused.Load(), h.away.Load(), h.unknown.Load(), h.nobody.Load())
	if h.allowed.Load() < 1000 || len(h.epochs) < 10 || certain < 5 || h.released.Load() == 0 || h.unknown.Load() == 0 {
		t.Error("too little happened for this to be a test")
	}
}

// fill spends what is left of each counter, now that everything runs.
func (h *hammer) fill(t *testing.T, c *caller) {
	for n, e := range h.epochs {
		for _, cents := range []int64{999, 250, 99, 33, 10, 1} {
			for range limitCents {
				res, err := c.ask(t.Context(), int(n)%len(c.conns), "spend", fmt.Sprintf(`{"epoch":"e%d","amount":%s}`, n, decimal(cents)))
				if err != nil {
					t.Fatal(err)
				}
				if res.GetEffect() != v1.Effect_EFFECT_ALLOW {
					break
				}
				e.granted += cents
			}
		}
	}
}

// check holds each counter against what its callers know, and returns of how many
// they know everything: those have to be spent to the last cent.
func (h *hammer) check(t *testing.T) (certain int) {
	counted := h.counters(t)
	for n, e := range h.epochs {
		if e.unknown == 0 {
			certain++
		}
		switch {
		case e.granted > limitCents:
			t.Errorf("counter e%d: overspent, %s of 100", n, decimal(e.granted))
		case e.granted+e.unknown < limitCents:
			t.Errorf("counter e%d: %s was to be had and %s may be lost, of 100", n, decimal(e.granted), decimal(e.unknown))
		}
		if e.calls > limitCalls {
			t.Errorf("counter e%d: %d calls passed, of %d", n, e.calls, limitCalls)
		}
		if used := counted[fmt.Sprintf("total e%d", n)]; used < e.granted || used > limitCents || used > e.granted+e.unknown {
			t.Errorf("counter e%d: %s is said to be used; %s passed and %s may have", n, decimal(used), decimal(e.granted), decimal(e.unknown))
		}
	}
	return certain
}

// counters are what the command line says is used, in cents or calls.
func (h *hammer) counters(t *testing.T) map[string]int64 {
	used := map[string]int64{}
	out := h.points[0].CLI(t, "quotas", "list", "--limit", "1000", "-o", "json")
	for line := range strings.Lines(string(out)) {
		var c struct {
			Quota string
			Used  json.Number
			Per   map[string]string
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		whole, fraction, _ := strings.Cut(c.Used.String(), ".")
		var cents int64
		if _, err := fmt.Sscan(whole+(fraction + "00")[:2], &cents); err != nil {
			t.Fatal(err)
		}
		used[c.Quota+" "+strings.Trim(c.Per["key"], `"`)] = cents
	}
	return used
}

// TestStoreAwayRefusesWhatCountsThere: what needs Redis is refused while it is
// away, and nothing else is.
func TestStoreAwayRefusesWhatCountsThere(t *testing.T) {
	r := start(t, 1)
	c := r.caller(t)
	ask := func(tool string) *v1.DecideResponse {
		res, err := c.ask(t.Context(), 0, tool, `{"epoch":"e","amount":1}`)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	for _, tool := range []string{"both", "spend", "free"} {
		if res := ask(tool); res.GetEffect() != v1.Effect_EFFECT_ALLOW {
			t.Fatalf("%s: %s", tool, res.GetReason())
		}
	}
	r.redis.Kill(t)
	if res := ask("both"); res.GetReasonCode() != v1.ReasonCode_REASON_CODE_QUOTA_UNAVAILABLE {
		t.Errorf("what counts in Redis: %v %s", res.GetReasonCode(), res.GetReason())
	}
	for _, tool := range []string{"spend", "free"} {
		if res := ask(tool); res.GetEffect() != v1.Effect_EFFECT_ALLOW {
			t.Errorf("%s needs no Redis: %s", tool, res.GetReason())
		}
	}
	r.redis.Start(t)
	for deadline := time.Now().Add(20 * time.Second); ask("both").GetEffect() != v1.Effect_EFFECT_ALLOW; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("counting does not come back by itself")
		}
	}
}
