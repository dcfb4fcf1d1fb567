package identity

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// How old what the cache says may be. An entry is read again after refresh, by
// one caller while the others go on with it, and by everybody after staleness.
// staleness keeps clear of the second that I9 gives, so that there is room for
// the decision that began with the entry.
const (
	refresh   = 400 * time.Millisecond
	staleness = 800 * time.Millisecond
)

// maxCached bounds the cache: more entries than this are not in use within a
// second.
const maxCached = 1 << 16

// cache is a read-through cache of what is in use: the records of grants by their
// ids, or the grants that a subject holds. Reading an entry takes no lock.
type cache[V any] struct {
	read    func(ctx context.Context, key string) (V, error)
	now     func() time.Time
	entries sync.Map // key → *entry[V]
	size    atomic.Int64

	// mu orders what loads put in with what forget takes out; epoch counts
	// forgets. A load that began before one must not put its value in after.
	mu    sync.Mutex
	epoch uint64
}

type entry[V any] struct {
	value    V
	readAt   time.Time   // taken before the store was asked
	renewing atomic.Bool // somebody is reading it again
}

func newCache[V any](read func(ctx context.Context, key string) (V, error), now func() time.Time) *cache[V] {
	return &cache[V]{read: read, now: now}
}

// get returns what is stored under the key, at most staleness old.
func (c *cache[V]) get(ctx context.Context, key string) (V, error) {
	v, ok := c.entries.Load(key)
	if !ok {
		return c.load(ctx, key)
	}
	e := v.(*entry[V])
	switch {
	case !c.holds(e, staleness):
		return c.load(ctx, key)
	case c.holds(e, refresh) || !e.renewing.CompareAndSwap(false, true):
		return e.value, nil
	}
	defer e.renewing.Store(false) // if the load fails, the next caller tries
	value, err := c.renew(ctx, key)
	if err != nil && !errors.Is(err, ErrNotFound) && c.holds(e, staleness) {
		return e.value, nil // the store is away; the entry still holds for a while
	}
	return value, err
}

// holds says whether an entry is younger than that. One from the future is not:
// the clock was set back and says nothing.
func (c *cache[V]) holds(e *entry[V], than time.Duration) bool {
	age := c.now().Sub(e.readAt)
	return age >= 0 && age < than
}

// renew is load for a caller that can go on with the entry if the store does not
// answer. A fifth of its time is left for that.
func (c *cache[V]) renew(ctx context.Context, key string) (V, error) {
	if end, has := ctx.Deadline(); has {
		within, cancel := context.WithDeadline(ctx, end.Add(-time.Until(end)/5))
		defer cancel()
		ctx = within
	}
	return c.load(ctx, key)
}

// load reads the value from the store and puts it in. When a forget came in
// between, what was read may be older than it: it is read again. What a store
// answers later than staleness may be as old as an entry that nobody relies on.
func (c *cache[V]) load(ctx context.Context, key string) (V, error) {
	ctx, cancel := context.WithTimeout(ctx, staleness)
	defer cancel()
	for {
		c.mu.Lock()
		epoch := c.epoch
		c.mu.Unlock()

		e := &entry[V]{readAt: c.now()}
		var err error
		if e.value, err = c.read(ctx, key); err != nil {
			var none V
			return none, err
		}
		if c.put(key, e, epoch) {
			return e.value, nil
		}
	}
}

// put stores an entry unless a forget happened since epoch.
func (c *cache[V]) put(key string, e *entry[V], epoch uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		return false
	}
	if c.size.Load() >= maxCached {
		c.sweep()
	}
	if _, had := c.entries.Swap(key, e); !had {
		c.size.Add(1)
	}
	return true
}

// forget drops what is known under the key.
func (c *cache[V]) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	if _, had := c.entries.LoadAndDelete(key); had {
		c.size.Add(-1)
	}
}

// sweep drops the entries that have run out, or all when none has.
func (c *cache[V]) sweep() {
	now := c.now()
	before := c.size.Load()
	c.entries.Range(func(key, v any) bool {
		if now.Sub(v.(*entry[V]).readAt) >= staleness {
			c.entries.Delete(key)
			c.size.Add(-1)
		}
		return true
	})
	if c.size.Load() == before {
		c.entries.Clear()
		c.size.Store(0)
	}
}
