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
	empty                chan struct{} // closed when draining and nothing is left
	draining             context.Context
	drainNow             context.CancelFunc
	cut                  context.Context
	cutNow               context.CancelFunc
}

func newGate(calls, streams int) *gate {
	g := &gate{maxCalls: calls, maxStreams: streams, empty: make(chan struct{})}
	g.draining, g.drainNow = context.WithCancel(context.Background())
	g.cut, g.cutNow = context.WithCancel(context.Background())
	return g
}

// enter admits an act. The caller must call leave once when it has ended.
func (g *gate) enter(stream bool) (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	count, limit := &g.calls, g.maxCalls
	if stream {
		count, limit = &g.streams, g.maxStreams
	}
	if *count >= limit || g.cut.Err() != nil || stream && g.draining.Err() != nil {
		return nil, false
	}
	*count++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		*count--
		g.settle()
	}, true
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
