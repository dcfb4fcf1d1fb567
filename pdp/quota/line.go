package quota

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxServed is how many callers one transaction serves at most.
	maxServed = 256
	// serveTime bounds a transaction; its callers have left long before.
	serveTime = 2 * time.Second
)

// line is where callers wait for a store. Whoever waits when a transaction
// ends is served by the next one, all together: so a counter that many use
// costs one commit for many calls, and a call that comes alone doesn't wait.
type line struct {
	store Store
	clock func() time.Time
	log   *slog.Logger
	most  int // entries of a log

	mu      sync.Mutex
	waiting []*request
	serving bool
}

// request is to reserve, or without claims to release.
type request struct {
	id     string
	at     time.Time
	claims []claim

	uses []Use
	err  error
	// served and left exclude each other: whoever comes first sets it.
	ended atomic.Bool
	done  chan struct{} // closed when served
}

// reserve waits for its turn and the answer, or until ctx ends. What is
// reserved after the caller has left is given back.
func (l *line) reserve(ctx context.Context, id string, at time.Time, claims []claim) ([]Use, error) {
	r := &request{id: id, at: at, claims: claims, done: make(chan struct{})}
	if ctx.Err() != nil {
		return nil, unavailable(ctx.Err())
	}
	l.enter(r)
	select {
	case <-r.done:
	case <-ctx.Done():
		if r.ended.CompareAndSwap(false, true) {
			return nil, unavailable(ctx.Err())
		}
		<-r.done
	}
	return r.uses, r.err
}

// release waits until it is done. When ctx ends it stops waiting, and is done
// all the same.
func (l *line) release(ctx context.Context, id string) error {
	r := &request{id: id, done: make(chan struct{})}
	l.enter(r)
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

func (l *line) enter(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, r)
	if !l.serving {
		l.serving = true
		go l.serve()
	}
}

// serve works as long as somebody waits.
func (l *line) serve() {
	for {
		l.mu.Lock()
		n := min(len(l.waiting), maxServed)
		turn := l.waiting[:n:n]
		l.waiting = l.waiting[n:]
		if n == 0 {
			l.waiting, l.serving = nil, false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		l.together(turn)
	}
}

// together serves those of a turn who have not left, in one transaction.
func (l *line) together(turn []*request) {
	ctx, cancel := context.WithTimeout(context.Background(), serveTime)
	defer cancel()
	var here []*request
	for _, r := range turn {
		if !r.ended.Load() {
			here = append(here, r)
		}
	}
	keys, err := l.keys(ctx, here)
	if err == nil && len(keys.Counters)+len(keys.Reservations) > 0 {
		err = l.store.Update(ctx, l.clock(), keys, func(loaded Loaded) Changes {
			p := newPage(loaded, l.clock(), l.most)
			for _, r := range here {
				r.serve(p)
			}
			return p.changes()
		})
	}
	for _, r := range here {
		l.answer(r, err)
	}
}

// serve may be called again, with another page, when the store found that
// somebody else was faster.
func (r *request) serve(p *page) {
	if r.claims == nil {
		r.err = p.release(r.id)
		return
	}
	r.uses, r.err = p.reserve(r.id, r.at, r.claims)
}

func (l *line) answer(r *request, err error) {
	if err != nil {
		r.uses, r.err = nil, unavailable(err)
	}
	left := !r.ended.CompareAndSwap(false, true)
	close(r.done)
	if left && r.claims != nil && r.err == nil {
		// The caller has said no by now, so the call certainly does not happen.
		l.mu.Lock()
		l.waiting = slices.Insert(l.waiting, 0, &request{id: r.id, done: make(chan struct{})})
		l.mu.Unlock()
	}
	if r.err != nil && r.claims == nil {
		l.log.Warn("a quota reservation could not be given back; it stays counted", "decision", r.id, "error", r.err)
	}
}

// keys are what a transaction has to load. Which counters a reservation has
// taken from never changes, so that it may be read before.
func (l *line) keys(ctx context.Context, here []*request) (k Keys, err error) {
	var released []string
	for _, r := range here {
		for i := range r.claims {
			k.Counters = append(k.Counters, r.claims[i].id)
		}
		if r.claims == nil {
			released = append(released, r.id)
		}
	}
	var found []Reservation
	if released != nil {
		if found, err = l.store.Reservations(ctx, distinct(released)); err != nil {
			return k, err
		}
	}
	for _, r := range found {
		holds, err := decodeHolds(r)
		if err != nil {
			continue // release will say so
		}
		for _, h := range holds {
			k.Counters = append(k.Counters, h.Counter)
		}
		k.Reservations = append(k.Reservations, r.ID)
	}
	k.Counters = distinct(k.Counters)
	return k, nil
}

func distinct(ids []string) []string {
	slices.Sort(ids)
	return slices.Compact(ids)
}
