package memo

import (
	"strconv"
	"sync"
	"testing"
)

func TestTableMakesEachValueOnce(t *testing.T) {
	var table Table[int, string]
	made := 0
	name := func(k int) string { made++; return strconv.Itoa(k) }
	for range 3 {
		for k := range 5 {
			if got := table.Get(k, name); got != strconv.Itoa(k) {
				t.Errorf("%d: %q", k, got)
			}
		}
	}
	if made != 5 {
		t.Errorf("made %d values for 5 keys", made)
	}
	if n := testing.AllocsPerRun(100, func() { table.Get(3, name) }); n != 0 {
		t.Errorf("%v allocations to read a value", n)
	}
}

func TestTableIsBounded(t *testing.T) {
	var table Table[int, int]
	same := func(k int) int { return k }
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for k := range limit {
				if got := table.Get(worker+2*k, same); got != worker+2*k {
					t.Errorf("%d: %d", worker+2*k, got)
				}
			}
		})
	}
	all.Wait()
	if n := len(*table.values.Load()); n != limit {
		t.Errorf("keeps %d values, want %d", n, limit)
	}
	if got := table.Get(-1, same); got != -1 {
		t.Errorf("beyond the limit: %d", got)
	}
}
