package approval

import (
	"context"
	"sync"
	"time"
)

// pollEvery is how often a store is asked for what another replica decided.
const pollEvery = 250 * time.Millisecond

// Await returns the record as soon as it is no longer pending, or as it stands
// when patience is over. A decision in this process is seen at once, one of
// another replica at the next look into the store. When ctx ends, it returns its
// error and what was seen last.
func (b *Book) Await(ctx context.Context, id string, patience time.Duration) (Approval, error) {
	changed, leave := b.waiting.join(id)
	defer leave()
	a, err := b.Get(ctx, id)
	if err != nil {
		return Approval{}, err
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for a.State == Pending {
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-over.C:
			return a, nil
		case <-changed:
		case <-poll.C:
		}
		// A store that is away for a moment is asked again: what was seen last
		// lets nothing pass.
		if seen, err := b.Get(ctx, id); err == nil {
			a = seen
		}
	}
	return a, nil
}

// waiters are those who wait for a change of a record in this process. The
// zero value is ready.
type waiters struct {
	mu   sync.Mutex
	byID map[string]map[chan struct{}]struct{}
}

// join returns a channel that gets a value after each change of the record, or
// one for several. leave must be called.
func (w *waiters) join(id string) (changed <-chan struct{}, leave func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = make(map[string]map[chan struct{}]struct{})
	}
	if w.byID[id] == nil {
		w.byID[id] = make(map[chan struct{}]struct{})
	}
	w.byID[id][c] = struct{}{}
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.byID[id], c)
		if len(w.byID[id]) == 0 {
			delete(w.byID, id)
		}
	}
}

func (w *waiters) wake(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.byID[id] {
		select {
		case c <- struct{}{}:
		default: // it has a change to look at already
		}
	}
}
