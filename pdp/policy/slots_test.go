package policy

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-policy-agent/opa/v1/storage"
)

// stuckStore is a store in which reading data.stuck takes until it is released:
// an evaluation that no cancel flag can stop.
type stuckStore struct {
	storage.Store
	released chan struct{}
}

func (s stuckStore) Read(ctx context.Context, txn storage.Transaction, path storage.Path) (any, error) {
	if len(path) > 0 && path[0] == "stuck" {
		<-s.released
	}
	return s.Store.Read(ctx, txn, path)
}

const stuckPolicy = `package policy.servers.s

allow contains "quick" if input.tool.name == "quick"

allow contains "stuck" if {
	input.tool.name == "stuck"
	data.stuck.value
}
`

// inBubble runs a test under a clock of its own, and at its end lets the workers
// go.
func inBubble(t *testing.T, test func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		test(t)
		time.Sleep(2 * linger)
		synctest.Wait()
	})
}

func buildStuck(t *testing.T, slots int) (*Snapshot, chan struct{}) {
	t.Helper()
	data := map[string]any{"stuck": map[string]any{"value": true}}
	s := mustBuild(t, bundleOf(data, map[string]string{"s.rego": stuckPolicy}), Options{Deadline: DefaultDeadline, Slots: NewSlots(slots)})
	released := make(chan struct{})
	s.store = stuckStore{s.store, released}
	s.prompt = false // it cannot know such a store
	return s, released
}

func TestI1_LateEvaluationIsAbandonedAndDenied(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, released := buildStuck(t, 4)
		start := time.Now()
		result := s.Decide(t.Context(), callOf("stuck", `{}`))
		if took := time.Since(start); took != DefaultDeadline {
			t.Errorf("the caller waited %v, want %v", took, DefaultDeadline)
		}
		if result.Effect != Deny || result.Cause != CauseError || result.Err == nil || result.Rules != nil {
			t.Errorf("a late evaluation gave %+v", result)
		}
		if result := s.Decide(t.Context(), callOf("quick", `{}`)); result.Effect != Allow {
			t.Errorf("beside an abandoned evaluation: %+v", result)
		}
		close(released)
		if result := s.Decide(t.Context(), callOf("stuck", `{}`)); result.Effect != Allow {
			t.Errorf("once released: %+v", result)
		}
	})
}

func TestI1_CancelledCallerIsDenied(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, released := buildStuck(t, 4)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		if result := s.Decide(ctx, callOf("stuck", `{}`)); result.Effect != Deny || result.Cause != CauseError {
			t.Errorf("a cancelled caller got %+v", result)
		}
		if took := time.Since(start); took != time.Millisecond {
			t.Errorf("the caller waited %v", took)
		}
		close(released)
	})
}

func TestI1_WithoutASlotIsOverload(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const slots, callers = 3, 20
		s, released := buildStuck(t, slots)
		var wg sync.WaitGroup
		var mu sync.Mutex
		causes := map[Cause]int{}
		for range callers {
			wg.Go(func() {
				result := s.Decide(t.Context(), callOf("stuck", `{}`))
				mu.Lock()
				defer mu.Unlock()
				causes[result.Cause]++
				if result.Effect != Deny {
					t.Errorf("got %+v", result)
				}
			})
		}
		wg.Wait()
		if causes[CauseError] != slots || causes[CauseOverload] != callers-slots {
			t.Errorf("causes %v, want %d late and the rest overload", causes, slots)
		}
		// The abandoned ones keep their slots until they come back.
		if result := s.Decide(t.Context(), callOf("quick", `{}`)); result.Cause != CauseOverload || result.Effect != Deny {
			t.Errorf("with every slot taken: %+v", result)
		}
		if alive := len(s.slots.workers); alive != slots {
			t.Errorf("%d workers are alive, want %d", alive, slots)
		}
		close(released)
		synctest.Wait()
		if result := s.Decide(t.Context(), callOf("quick", `{}`)); result.Effect != Allow {
			t.Errorf("after they came back: %+v", result)
		}
	})
}

func TestSlotsKeepNoGoroutines(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, _ := buildStuck(t, 4)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { s.Decide(t.Context(), callOf("quick", `{}`)) })
		}
		wg.Wait()
		if alive := len(s.slots.workers); alive < 1 || alive > 4 {
			t.Errorf("%d workers are alive, want 1 to 4", alive)
		}
		time.Sleep(2 * linger)
		synctest.Wait()
		if alive := len(s.slots.workers); alive != 0 {
			t.Errorf("%d workers are alive after a while without work", alive)
		}
	})
}

func TestI4_LateListingIsAnError(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, released := buildStuck(t, 4)
		items := []Item{{Tool: &Tool{Name: "stuck"}}, {Tool: &Tool{Name: "quick"}}}
		if got, err := s.List(t.Context(), callOf("", `{}`), items); err == nil {
			t.Errorf("listed %v, want an error", got)
		}
		close(released)
		if got, err := s.List(t.Context(), callOf("", `{}`), items); err != nil || !got[0] || !got[1] {
			t.Errorf("once released: listed %v, %v", got, err)
		}
	})
}

// TestI1_EndlessEvaluationStops runs what only the cancel flag can end.
func TestI1_EndlessEvaluationStops(t *testing.T) {
	s := mustBuild(t, bundleOf(nil, map[string]string{"s.rego": `package policy.servers.s

few := numbers.range(1, 1000)

allow contains "found" if {
	some a in few
	some b in few
	some c in few
	a + b + c == 5000
}
`}), Options{Deadline: 5 * time.Millisecond, Slots: NewSlots(1)})
	for range 3 { // the second needs the slot of the first
		result := s.Decide(t.Context(), callOf("x", `{}`))
		if result.Effect != Deny || result.Cause != CauseError && result.Cause != CauseOverload {
			t.Fatalf("got %+v", result)
		}
	}
	deadline := time.After(30 * time.Second)
	for len(s.slots.workers) > 0 {
		select {
		case <-deadline:
			t.Fatal("the cancelled evaluation is still running")
		case <-time.After(time.Millisecond):
		}
	}
}
