package catalog

import (
	"bytes"
	"hash/maphash"
	"sync"
)

// Bounds of the cache of definitions that were read. They are far above what
// the listings of real servers add up to; a server that keeps changing its
// definitions runs into them, and then the cache starts anew.
const (
	maxCachedDefinitions = 8192
	maxCachedBytes       = 64 << 20
)

// cache keeps definitions that were read, by their raw bytes. Looking one up
// takes no lock.
type cache struct {
	read sync.Map // maphash of the raw bytes → *cached

	mu    sync.Mutex // for writers
	count int
	bytes int // of all definitions
}

// cached is a definition, or why it cannot be read.
type cached struct {
	raw        []byte
	definition *definition
	err        error
}

var cacheSeed = maphash.MakeSeed()

func (c *cache) get(raw []byte) (*definition, error) {
	key := maphash.Bytes(cacheSeed, raw)
	if hit := c.find(key, raw); hit != nil {
		return hit.definition, hit.err
	}
	fresh := &cached{raw: bytes.Clone(raw)}
	fresh.definition, fresh.err = readDefinition(fresh.raw)
	kept := c.put(key, fresh)
	return kept.definition, kept.err
}

// find returns nil also when the key stands for other bytes.
func (c *cache) find(key uint64, raw []byte) *cached {
	v, ok := c.read.Load(key)
	if !ok {
		return nil
	}
	if hit := v.(*cached); bytes.Equal(hit.raw, raw) {
		return hit
	}
	return nil
}

// put adds what was read, unless somebody else was first: all callers are to
// share one definition, since it carries the compiled schema.
func (c *cache) put(key uint64, fresh *cached) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first := c.find(key, fresh.raw); first != nil {
		return first
	}
	if c.count >= maxCachedDefinitions || c.bytes+len(fresh.raw) > maxCachedBytes {
		c.read.Clear()
		c.count, c.bytes = 0, 0
	}
	old, had := c.read.Swap(key, fresh)
	if had {
		c.bytes -= len(old.(*cached).raw)
	} else {
		c.count++
	}
	c.bytes += len(fresh.raw)
	return fresh
}
