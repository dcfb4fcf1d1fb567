package console

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/mcpermit/mcpermit/pdp/signin"
)

const (
	lookEvery   = time.Second      // how often what pages show is looked at
	beatEvery   = 15 * time.Second // how often a silent stream says that it is there
	streamWrite = 10 * time.Second // how long a browser may take to read an event
	maxStreams  = 256              // of all browsers; more go without
)

// changes looks at something for as long as anybody watches it, and tells the
// watchers when it has changed. It asks the store, since others change it too.
type changes struct {
	see func(context.Context) (signin.Digest, error)

	mu       sync.Mutex
	watchers map[chan struct{}]bool
	nudge    chan struct{}
	stop     context.CancelFunc // nil while nobody watches
}

func newChanges(see func(context.Context) (signin.Digest, error)) *changes {
	return &changes{see: see, watchers: map[chan struct{}]bool{}, nudge: make(chan struct{}, 1)}
}

// look makes a change show at once where somebody has just made one.
func (c *changes) look() {
	select {
	case c.nudge <- struct{}{}:
	default:
	}
}

// watch returns a channel that has something in it once the present state has
// been seen, and after each change from then on: who looks at the page again each
// time misses nothing. ok is false when there are watchers enough.
func (c *changes) watch() (changed chan struct{}, unwatch func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.watchers) >= maxStreams {
		return nil, nil, false
	}
	changed = make(chan struct{}, 1)
	c.watchers[changed] = true
	if c.stop == nil {
		var ctx context.Context
		ctx, c.stop = context.WithCancel(context.Background())
		go c.run(ctx)
	} else {
		changed <- struct{}{}
	}
	return changed, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, changed)
		if len(c.watchers) == 0 && c.stop != nil {
			c.stop()
			c.stop = nil
		}
	}, true
}

func (c *changes) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var last signin.Digest
	for {
		// While it can't be seen, what the pages show stands.
		if now, err := c.see(ctx); err == nil && now != last {
			last = now
			c.tell()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.nudge:
		}
	}
}

func (c *changes) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.watchers {
		select {
		case w <- struct{}{}:
		default: // it has not yet read of the change before
		}
	}
}

// watchable is what a page can be kept up to date with.
type watchable interface {
	watch() (changed chan struct{}, unwatch func(), ok bool)
}

// stream sends the visitor an event after each change, until the browser goes,
// the visitor is signed out, or the console closes.
func (v *visit) stream(of watchable) error {
	changed, unwatch, ok := of.watch()
	if !ok {
		return &problem{http.StatusServiceUnavailable, "Too many pages are open to keep all of them up to date."}
	}
	defer unwatch()
	control := http.NewResponseController(v.w)
	_ = control.SetReadDeadline(time.Time{}) // nothing more is to come
	h := v.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no")
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for event := "retry: 2000\n\n"; ; {
		_ = control.SetWriteDeadline(time.Now().Add(streamWrite))
		_, _ = fmt.Fprint(v.w, event)
		if control.Flush() != nil {
			return nil // the browser has gone
		}
		select {
		case <-changed:
			event = "data: changed\n\n"
		case <-beat.C:
			event = ": here\n\n"
		case <-v.r.Context().Done():
			return nil
		case <-v.c.closing:
			return nil
		}
		if !v.still() {
			return nil
		}
	}
}

// still reports whether the visitor is still signed in.
func (v *visit) still() bool {
	now := &visit{c: v.c, w: v.w, r: v.r}
	return v.c.identify(now) == nil && now.Person.Role >= signin.Viewer
}
