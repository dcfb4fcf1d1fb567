package console

import (
	"context"
	"fmt"
	"net/http"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/mcpermit/mcpermit/pdp/policy"
)

// tryTime bounds one try, building included.
var tryTime = 10 * time.Second

const (
	// mostTries are under way at once, of all people.
	mostTries = 2
	// tryHeap is how much the program's memory may grow during a try.
	tryHeap = 1 << 30
)

// trial is what to decide, and by what.
type trial struct {
	current      *policy.Snapshot
	file, source string
	edited       bool
	in           *policy.Input
}

// tried is what came of it.
type tried struct {
	before, after policy.Explanation
	files         []policy.File // of the policy that was tried
	fault         string        // why it does not build
	late          bool          // it was told to stop, and is not the whole of it
}

func (t tried) answer() (tried, error) {
	if t.late {
		return tried{}, errTryTime
	}
	return t, nil
}

// tries keeps what people try small beside what the decision point is there for:
// one at a time for each of them, few for all, on slots of their own. The zero
// value is ready.
type tries struct {
	mu    sync.Mutex
	slots *policy.Slots
	busy  map[string]bool
}

// enter takes a place for a person; it is given back by leave.
func (t *tries) enter(person string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy == nil {
		t.busy, t.slots = map[string]bool{}, policy.NewSlots(mostTries)
	}
	switch {
	case t.busy[person]:
		return &problem{http.StatusTooManyRequests, "What you tried before is still under way. Try again in a moment."}
	case len(t.busy) >= mostTries:
		return &problem{http.StatusTooManyRequests, "Others are trying rules just now. Try again in a moment."}
	}
	t.busy[person] = true
	return nil
}

func (t *tries) leave(person string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.busy, person)
}

// errTryTime is for the person whose rules take too long.
var errTryTime = &problem{http.StatusUnprocessableEntity, "That took more than ten seconds, or more memory than a try is given, and was given up. What was decided is not known."}

// run does a try. One that is given up keeps its place until it has ended, since
// a compiler can't be told to stop.
func (t *tries) run(ctx context.Context, person string, what trial) (tried, error) {
	if err := t.enter(person); err != nil {
		return tried{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	ended := make(chan tried, 1)
	go func() {
		defer cancel()
		done := what.decide(ctx, t.slots)
		done.late = ctx.Err() != nil
		t.leave(person) // before the answer, which may be followed by the next try
		ended <- done
	}()
	go watchHeap(ctx, cancel)
	select {
	case done := <-ended:
		return done.answer()
	case <-ctx.Done():
	}
	select {
	case done := <-ended: // with which the context ends, too
		return done.answer()
	default:
		return tried{}, errTryTime
	}
}

// decide does the work. What a policy's author can make panic must not take the
// decision point along.
func (w trial) decide(ctx context.Context, slots *policy.Slots) (done tried) {
	defer func() {
		if p := recover(); p != nil {
			done.fault = fmt.Sprintf("building the policy panicked: %v", p)
		}
	}()
	done.before = w.current.Aside(slots).Explain(ctx, w.in)
	if !w.edited {
		done.after, done.files = done.before, w.current.Files()
		return done
	}
	edited, err := w.current.Edited(ctx, w.file, w.source, policy.Options{Slots: slots, Deadline: tryTime})
	if err != nil {
		done.fault = err.Error()
		return done
	}
	done.after, done.files = edited.Explain(ctx, w.in), edited.Files()
	return done
}

// watchHeap gives a try up that takes too much memory, which a deadline alone
// would let grow for seconds.
func watchHeap(ctx context.Context, cancel context.CancelFunc) {
	begun := heap()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if heap() > begun+tryHeap {
				cancel()
				return
			}
		}
	}
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
