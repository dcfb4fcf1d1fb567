package pdp

import (
	"sync"
	"time"
)

// recent remembers what was said of the latest decisions, in two generations: for
// its span at least, and for twice that while others come. The zero value of the rest
// is ready. It is safe for concurrent use.
type recent[K comparable, V any] struct {
	span time.Duration
	most int // in a generation; what is beyond is not remembered; 0: any number

	mu        sync.Mutex
	now, past map[K]V
	begun     time.Time // of now
}

// add remembers v under the key. It returns whether nothing was there before, and
// what was said first: that stays.
func (r *recent[K, V]) add(key K, v V, at time.Time) (first bool, was V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(at)
	for _, generation := range []map[K]V{r.now, r.past} {
		if was, known := generation[key]; known {
			return false, was
		}
	}
	if r.most == 0 || len(r.now) < r.most {
		r.now[key] = v
	}
	return true, v
}

// take returns what is remembered under the key, once.
func (r *recent[K, V]) take(key K, at time.Time) (v V, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(at)
	for _, generation := range []map[K]V{r.now, r.past} {
		if v, known = generation[key]; known {
			delete(generation, key)
			return v, true
		}
	}
	return v, false
}

func (r *recent[K, V]) turn(at time.Time) {
	if r.now == nil || at.Sub(r.begun) > r.span {
		r.past, r.now, r.begun = r.now, make(map[K]V), at
	}
}
