package quota

import (
	"math/big"
	"slices"
	"sort"
)

// log is what a counter knows of its past: one for all kinds of windows, so
// that a policy can change the window and what is used stays so. Times are
// microseconds since 1970. It is not safe for concurrent use.
type log struct {
	// epoch is another one after a reset, so that what was reserved before gives
	// nothing back after it.
	epoch int64
	last  int64 // the time; it never goes back
	// keep is the longest that a window of this counter ever looked back, fine
	// the shortest.
	keep, fine int64
	entries    []entry // by time, no time twice
	// dropped is the time of the last entry that left because keep was over.
	dropped int64
	// base is the level of the entries that left, at that time.
	base level

	// tail is the level after the last entry, nil when it is not known. It has
	// the rate and the scale of base.
	tail *big.Int
}

type entry struct {
	at     int64
	amount Amount
}

// hold is what a reservation has taken from a log.
type hold struct {
	epoch, at int64
	amount    Amount
}

// terms are a limit as a log sees it.
type terms struct {
	limit  Amount
	window Window
}

func newLog(at int64) *log { return &log{epoch: at} }

// reset forgets everything, the time too: a clock that was far ahead does no
// longer hold the counter up.
func (l *log) reset(at int64) {
	*l = log{epoch: max(at, l.epoch+1), last: at}
}

// ask moves the log to a time, under terms that it remembers, and says whether
// there is something new to remember.
func (l *log) ask(t terms, at int64) (changed bool) {
	back := t.window.reach()
	if back > l.keep {
		l.keep, changed = back, true
	}
	if l.fine == 0 || back < l.fine {
		l.fine, changed = back, true
	}
	if t.window.Kind == Rate && l.base.setRate(t.limit, back) {
		l.tail, changed = nil, true
	}
	l.advance(at)
	return changed
}

// advance moves the log to a time, and drops what no window reaches any more.
func (l *log) advance(at int64) {
	l.last = max(l.last, at)
	gone := 0
	for _, e := range l.entries {
		if e.at > l.last-l.keep {
			break
		}
		l.base.pass(e.at-l.dropped, e.amount)
		l.dropped = e.at
		gone++
	}
	l.entries = slices.Delete(l.entries, 0, gone)
}

// take adds what was found to have room, and merges when there are more than
// most entries.
func (l *log) take(t terms, cost Amount, most int) hold {
	if cost.IsZero() {
		return hold{}
	}
	l.extendTail(cost)
	if n := len(l.entries); n > 0 && l.entries[n-1].at == l.last {
		l.entries[n-1].amount, _ = l.entries[n-1].amount.add(cost) // room has seen to it that it fits
	} else {
		l.entries = append(l.entries, entry{l.last, cost})
	}
	h := hold{l.epoch, l.last, cost}
	if len(l.entries) > most {
		l.merge(t, most)
	}
	return h
}

// merge puts entries together that are close to one another, each time to the
// later one. Nothing is counted for a shorter time than before, so that the
// limit holds, and nothing for much longer.
//
// Half of the entries are for what is within keep. Where shorter windows look
// at the same counter, a quarter more is for what is within fine.
func (l *log) merge(t terms, most int) {
	half := int64(most / 2)
	edge := int64(0)
	if t.window.Kind == Calendar { // yesterday's must not become today's
		start, _ := t.window.period(l.last)
		edge = start
	}
	place := func(at int64) (cell int64, recent, since bool) {
		step := l.keep / half
		if recent = l.fine < l.keep && at > l.last-l.fine; recent {
			step = l.fine / (half / 2)
		}
		return at / step, recent, at >= edge
	}
	merged := l.entries[:0]
	for _, e := range l.entries {
		if n := len(merged); n > 0 {
			c1, r1, s1 := place(merged[n-1].at)
			c2, r2, s2 := place(e.at)
			if c1 == c2 && r1 == r2 && s1 == s2 {
				e.amount, _ = e.amount.add(merged[n-1].amount)
				merged[n-1] = e
				continue
			}
		}
		merged = append(merged, e)
	}
	l.entries, l.tail = merged, nil
}

// release takes a hold out again. Merging moves entries to a later time, never
// past another one: so the first entry from the hold's time on has it.
func (l *log) release(h hold, at int64) (changed bool) {
	l.advance(at)
	if h.epoch != l.epoch || h.at <= l.dropped || h.amount.IsZero() {
		return false
	}
	i := sort.Search(len(l.entries), func(i int) bool { return l.entries[i].at >= h.at })
	if i == len(l.entries) {
		return false
	}
	l.tail = nil
	l.entries[i].amount = l.entries[i].amount.less(h.amount)
	if l.entries[i].amount.IsZero() {
		l.entries = slices.Delete(l.entries, i, i+1)
	}
	return true
}

// emptyAt is the time from which on nothing of the log counts.
func (l *log) emptyAt() int64 {
	at := l.last + l.keep
	if l.base.window == 0 {
		return at
	}
	if free, ok := l.freeAt(new(big.Int)); ok {
		at = max(at, free)
	}
	return at
}
