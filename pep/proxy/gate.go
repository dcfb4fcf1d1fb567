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
	late                 int // of calls: those that came in while draining
	maxCalls, maxStreams int
	empty                chan struct{}   // closed when draining has nothing left to wait for
	draining             context.Context //nolint:containedctx // a state
	drainNow             context.CancelFunc
	cut                  bool
	lines                map[*line]struct{} // to be cut
}

func newGate(calls, streams int) *gate {
	g := &gate{maxCalls: calls, maxStreams: streams, empty: make(chan struct{}), lines: make(map[*line]struct{})}
	g.draining, g.drainNow = context.WithCancel(context.Background())
	return g
}

// ticket admits one act, as a call or as a stream.
type ticket struct {
	gate   *gate
	stream bool
	late   bool // a call that came in while draining
}

// enter admits an act, or returns nil. The caller must call leave once when
// the act has ended.
func (g *gate) enter(stream bool) *ticket {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.free(stream) {
		return nil
	}
	t := &ticket{gate: g, stream: stream, late: !stream && g.draining.Err() != nil}
	*g.count(stream)++
	if t.late {
		g.late++
	}
	return t
}

// free says whether one more may come in; mu is held.
func (g *gate) free(stream bool) bool {
	if stream {
		return g.streams < g.maxStreams && g.draining.Err() == nil
	}
	return g.calls < g.maxCalls && !g.cut
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
	if t.late {
		g.late--
	}
	g.settle()
}

// settle tells drain when it has nothing left to wait for; mu is held.
func (g *gate) settle() {
	if g.draining.Err() == nil || g.calls-g.late+g.streams > 0 {
		return
	}
	select {
	case <-g.empty:
	default:
		close(g.empty)
	}
}

// drain ends the streams and waits for the calls that are under way. When ctx
// ends before them, all are cut off. Who still comes in is served and not
// waited for: that is up to the listener.
func (g *gate) drain(ctx context.Context) error {
	g.mu.Lock()
	g.drainNow()
	g.settle()
	g.mu.Unlock()
	select {
	case <-g.empty:
		return nil
	case <-ctx.Done():
		g.cutNow()
		return ctx.Err()
	}
}

func (g *gate) cutNow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut = true
	for l := range g.lines {
		l.cancel(errCut)
	}
}

// watch has l cut off when the time comes, until forget.
func (g *gate) watch(l *line) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut {
		l.cancel(errCut)
	}
	g.lines[l] = struct{}{}
}

func (g *gate) forget(l *line) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.lines, l)
}
