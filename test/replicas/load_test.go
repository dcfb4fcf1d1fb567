package replicas

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/status"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// answer is what a replica made of one call.
type answer struct {
	replica   int
	grant     *grant
	sent, got time.Time
	allowed   bool
	// code is the reason of a refusal: the replica's, or that of gRPC where there
	// was none.
	code string
}

// caller puts calls to the replicas, one after the other.
type caller struct {
	replicas []replica
	patience time.Duration // for one answer
	pause    time.Duration // after each call
}

// ask puts one call under the grant to a replica.
func (c caller) ask(ctx context.Context, i int, g *grant) answer {
	a := answer{replica: i, grant: g, sent: time.Now()}
	res, err := c.replicas[i].decide(ctx, c.patience, g.token, "look", `{}`)
	a.got = time.Now()
	switch {
	case err != nil:
		a.code = status.Code(err).String()
	case res.GetEffect() == allow:
		a.allowed = true
	default:
		a.code = strings.TrimPrefix(res.GetReasonCode().String(), "REASON_CODE_")
	}
	return a
}

// load is calls that go on until they are told to stop.
type load struct {
	stop func()

	mu      sync.Mutex
	allowed []int            // by replica
	refused []map[string]int // by replica: how often by reason
	wrong   []string
	longest time.Duration // without an allowed call, of all replicas together
	last    time.Time     // an allowed call was answered
}

// run has so many callers for each replica, each on the next of the grants that
// pick gives, and judges every answer. see gets to look at each as well; it may
// be nil. The load ends with the test at the latest, which fails if anything was
// allowed that must not be.
func (c caller) run(t *testing.T, callers int, pick func() *grant, see func(answer) string) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{allowed: make([]int, len(c.replicas)), last: time.Now()}
	var all sync.WaitGroup
	for i := range c.replicas {
		l.refused = append(l.refused, map[string]int{})
		for range callers {
			all.Go(func() {
				for ctx.Err() == nil {
					if a := c.ask(ctx, i, pick()); ctx.Err() == nil {
						l.judge(a, see)
					}
					time.Sleep(c.pause)
				}
			})
		}
	}
	l.stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
		for _, w := range l.wrong[:min(len(l.wrong), 10)] {
			t.Errorf("allowed: %s", w)
		}
		if n := len(l.wrong); n > 10 {
			t.Errorf("%d calls were allowed wrongly", n)
		}
	})
	t.Cleanup(l.stop)
	return l
}

func (l *load) judge(a answer, see func(answer) string) {
	wrong := a.grant.wrong(a.sent)
	if see != nil && wrong == "" {
		wrong = see(a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !a.allowed {
		l.refused[a.replica][a.code]++
		return
	}
	l.allowed[a.replica]++
	l.longest, l.last = max(l.longest, a.got.Sub(l.last)), a.got
	if wrong != "" {
		l.wrong = append(l.wrong, fmt.Sprintf("on replica %d: %s", a.replica, wrong))
	}
}

// total is how many calls were allowed and refused.
func (l *load) total() (allowed, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, n := range l.allowed {
		allowed += n
		for _, n := range l.refused[i] {
			refused += n
		}
	}
	return allowed, refused
}

// String says how often what became of the calls.
func (l *load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var parts []string
	for i, n := range l.allowed {
		text := fmt.Sprintf("replica %d: %d allowed", i, n)
		for _, code := range slices.Sorted(maps.Keys(l.refused[i])) {
			text += fmt.Sprintf(", %d %s", l.refused[i][code], code)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// fails says whether a code is of the replica or of the way to it, rather than
// of the grant.
func fails(code string) bool {
	return !slices.Contains([]string{
		strings.TrimPrefix(v1.ReasonCode_REASON_CODE_REVOKED_TOKEN.String(), "REASON_CODE_"),
		strings.TrimPrefix(v1.ReasonCode_REASON_CODE_INVALID_TOKEN.String(), "REASON_CODE_"),
		strings.TrimPrefix(v1.ReasonCode_REASON_CODE_UNAUTHENTICATED.String(), "REASON_CODE_"),
	}, code)
}
