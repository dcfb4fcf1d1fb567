package proxy

import (
	"context"
	"errors"
	"sync"
)

// errDraining is why open streams end at shutdown, and errCut why calls do
// that did not end in time.
var (
	errDraining = errors.New("the gateway shuts down")
	errCut      = errors.New("the gateway has shut down")
)

// gate counts what is under way, keeps it within bounds and lets it out at
// shutdown.
type gate struct {
	mu                   sync.Mutex
	calls, streams       int
	maxCalls, maxStreams int
	empty                chan struct{}   // closed when draining and nothing is left
	draining             context.Context //nolint:containedctx // a state, like cut
	drainNow             context.CancelFunc
	cut                  context.Context //nolint:containedctx // a state, like draining
	cutNow               context.CancelFunc
}

func newGate(calls, streams int) *gate {
	g := &gate{maxCalls: calls, maxStreams: streams, empty: make(chan struct{})}
	g.draining, g.drainNow = context.WithCancel(context.Background())
	g.cut, g.cutNow = context.WithCancel(context.Background())
	return g
}

// ticket admits one act, as a call or as a stream.
type ticket struct {
	gate   *gate
	stream bool
}

// enter admits an act, or returns nil. The caller must call leave once when
// the act has ended.
func (g *gate) enter(stream bool) *ticket {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.free(stream) {
		return nil
	}
	*g.count(stream)++
	return &ticket{g, stream}
}

// free says whether one more may come in; mu is held.
func (g *gate) free(stream bool) bool {
	if stream {
		return g.streams < g.maxStreams && g.draining.Err() == nil
	}
	return g.calls < g.maxCalls && g.cut.Err() == nil
}

func (g *gate) count(stream bool) *int {
	if stream {
		return &g.streams
	}
	return &g.calls
}

// becomeStream moves a call that turns out to be a stream to its kind. It
// reports false when there is no place.
func (t *ticket) becomeStream() bool {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.stream {
		return true
	}
	if !g.free(true) {
		return false
	}
	g.calls--
	g.streams++
	t.stream = true
	return true
}

func (t *ticket) leave() {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	*g.count(t.stream)--
	g.settle()
}

// settle tells drain when it has nothing left to wait for; mu is held.
func (g *gate) settle() {
	if g.draining.Err() == nil || g.calls+g.streams > 0 {
		return
	}
	select {
	case <-g.empty:
	default:
		close(g.empty)
	}
}

// drain ends streams, waits for calls until ctx ends, and then cuts them off.
func (g *gate) drain(ctx context.Context) error {
	g.mu.Lock()
	g.drainNow()
	g.settle()
	g.mu.Unlock()
	defer g.cutNow()
	select {
	case <-g.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
