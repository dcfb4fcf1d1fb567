// Package memo remembers small values that are asked for with every frame, as
// the attribute sets of metrics are.
package memo

import (
	"maps"
	"sync"
	"sync/atomic"
)

// limit is how many values a Table keeps: parts of a key may be a stranger's.
const limit = 1024

// Table keeps the value of each key, up to a limit. Reading takes no lock and
// no memory. The zero Table is empty and safe for concurrent use.
type Table[K comparable, V any] struct {
	adding sync.Mutex
	values atomic.Pointer[map[K]V]
}

// Get returns the value of k, made now where it is not there. What is made
// when the table is full is not kept.
func (t *Table[K, V]) Get(k K, value func(K) V) V {
	if known := t.values.Load(); known != nil {
		if v, ok := (*known)[k]; ok {
			return v
		}
	}
	v := value(k)
	t.add(k, v)
	return v
}

// add replaces the whole map, since others read the old one.
func (t *Table[K, V]) add(k K, v V) {
	t.adding.Lock()
	defer t.adding.Unlock()
	var values map[K]V
	if known := t.values.Load(); known != nil {
		if len(*known) >= limit {
			return
		}
		values = maps.Clone(*known)
	} else {
		values = make(map[K]V)
	}
	values[k] = v
	t.values.Store(&values)
}
