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

// maxCached bounds the cache: more grants than this are not in use within a
// second.
const maxCached = 1 << 16

// cache is a read-through cache of the records that are in use. Reading an
// entry takes no lock.
type cache struct {
	store   Store
	now     func() time.Time
	entries sync.Map // id → *entry
	size    atomic.Int64

	// mu orders what loads put in with what forget takes out; epoch counts
	// forgets. A load that began before one must not put its record in after.
	mu    sync.Mutex
	epoch uint64
}

type entry struct {
	record   *Record
	readAt   time.Time   // taken before the store was asked
	renewing atomic.Bool // somebody is reading it again
}

func newCache(s Store, now func() time.Time) *cache {
	return &cache{store: s, now: now}
}

// get returns the record of a grant, at most staleness old.
func (c *cache) get(ctx context.Context, id string) (*Record, error) {
	v, ok := c.entries.Load(id)
	if !ok {
		return c.load(ctx, id)
	}
	e := v.(*entry)
	switch {
	case !c.holds(e, staleness):
		return c.load(ctx, id)
	case c.holds(e, refresh) || !e.renewing.CompareAndSwap(false, true):
		return e.record, nil
	}
	defer e.renewing.Store(false) // if the load fails, the next caller tries
	r, err := c.load(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) && c.holds(e, staleness) {
		return e.record, nil // the store is away; the entry still holds for a while
	}
	return r, err
}

// holds says whether an entry is younger than that. One from the future is not:
// the clock was set back and says nothing.
func (c *cache) holds(e *entry, than time.Duration) bool {
	age := c.now().Sub(e.readAt)
	return age >= 0 && age < than
}

// load reads the record from the store and puts it in. When a forget came in
// between, what was read may be older than it: it is read again.
func (c *cache) load(ctx context.Context, id string) (*Record, error) {
	ctx, cancel := context.WithTimeout(ctx, patience(ctx))
	defer cancel()
	for {
		c.mu.Lock()
		epoch := c.epoch
		c.mu.Unlock()

		e := &entry{readAt: c.now()}
		r, err := c.store.Grant(ctx, id)
		if err != nil {
			return nil, err
		}
		e.record = &r

		if c.put(id, e, epoch) {
			return e.record, nil
		}
	}
}

// patience bounds a load: what a store answers later than staleness may be as old
// as an entry that nobody relies on. Of a caller's time a fifth is left, in which
// its refusal can be recorded.
func patience(ctx context.Context) time.Duration {
	if at, ok := ctx.Deadline(); ok {
		return min(staleness, time.Until(at)*4/5)
	}
	return staleness
}

// put stores an entry unless a forget happened since epoch.
func (c *cache) put(id string, e *entry, epoch uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		return false
	}
	if c.size.Load() >= maxCached {
		c.sweep()
	}
	if _, had := c.entries.Swap(id, e); !had {
		c.size.Add(1)
	}
	return true
}

// forget drops what is known of a grant.
func (c *cache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	if _, had := c.entries.LoadAndDelete(id); had {
		c.size.Add(-1)
	}
}

// sweep drops the entries that have run out, or all when none has.
func (c *cache) sweep() {
	now := c.now()
	before := c.size.Load()
	c.entries.Range(func(id, v any) bool {
		if now.Sub(v.(*entry).readAt) >= staleness {
			c.entries.Delete(id)
			c.size.Add(-1)
		}
		return true
	})
	if c.size.Load() == before {
		c.entries.Clear()
		c.size.Store(0)
	}
}
