package catalog

import (
	"bytes"
	"maps"
	"sync"
	"sync/atomic"
)

// Bounds of the cache of definitions that were read. They are far above what
// the listings of real servers add up to; a server that keeps changing its
// definitions runs into them, and then the cache starts anew.
const (
	maxCachedDefinitions = 8192
	maxCachedBytes       = 64 << 20
)

// cache keeps definitions that were read, by their raw bytes. Looking one up
// takes no lock and does not allocate.
type cache struct {
	read atomic.Pointer[map[string]cached]

	mu   sync.Mutex // for writers
	size int        // bytes of all keys
}

// cached is a definition, or why it cannot be read.
type cached struct {
	definition *definition
	err        error
}

func (c *cache) get(raw []byte) (*definition, error) {
	if m := c.read.Load(); m != nil {
		if hit, ok := (*m)[string(raw)]; ok {
			return hit.definition, hit.err
		}
	}
	raw = bytes.Clone(raw)
	d, err := readDefinition(raw)
	return c.put(raw, cached{d, err})
}

// put adds what was read, unless somebody else was first: all callers are to
// share one definition, since it carries the compiled schema.
func (c *cache) put(raw []byte, v cached) (*definition, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var next map[string]cached
	if m := c.read.Load(); m != nil {
		if hit, ok := (*m)[string(raw)]; ok {
			return hit.definition, hit.err
		}
		next = maps.Clone(*m)
	}
	if next == nil || len(next) >= maxCachedDefinitions || c.size+len(raw) > maxCachedBytes {
		next, c.size = map[string]cached{}, 0
	}
	next[string(raw)] = v
	c.size += len(raw)
	c.read.Store(&next)
	return v.definition, v.err
}
