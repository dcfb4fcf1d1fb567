package quota

import "math/big"

// level is how full a bucket is that leaks steadily (GCRA as a meter): limit in
// every window. It is scaled by the window, so that all is whole numbers and
// nothing is rounded. Without a window it stays empty.
type level struct {
	limit  Amount
	window int64
	scaled big.Int // amount times window
}

// setRate says whether the rate is another one than before. What is in the
// bucket stays, rounded up where it must be.
func (v *level) setRate(limit Amount, window int64) (changed bool) {
	if v.limit == limit && v.window == window {
		return false
	}
	if v.window != 0 && v.window != window {
		v.scaled.Mul(&v.scaled, big.NewInt(window))
		v.scaled.Set(ceil(&v.scaled, big.NewInt(v.window)))
	}
	v.limit, v.window = limit, window
	return true
}

func (v *level) drain(us int64) {
	out := v.limit.big()
	out.Mul(out, big.NewInt(us))
	if v.scaled.Sub(&v.scaled, out).Sign() < 0 {
		v.scaled.SetInt64(0)
	}
}

func (v *level) add(a Amount) {
	in := a.big()
	v.scaled.Add(&v.scaled, in.Mul(in, big.NewInt(v.window)))
}

// pass lets time pass, and then takes an amount in.
func (v *level) pass(us int64, a Amount) {
	if v.window != 0 {
		v.drain(us)
		v.add(a)
	}
}

// copy is one to reckon with.
func (v *level) copy() *level {
	c := &level{limit: v.limit, window: v.window}
	c.scaled.Set(&v.scaled)
	return c
}

// afterLast is the level after the last entry.
func (l *log) afterLast() *level {
	v := l.base.copy()
	if l.tail != nil {
		v.scaled.Set(l.tail)
		return v
	}
	from := l.dropped
	for _, e := range l.entries {
		v.pass(e.at-from, e.amount)
		from = e.at
	}
	l.tail = new(big.Int).Set(&v.scaled)
	return v
}

// lastEntry is the time of the last entry, also of one that has left.
func (l *log) lastEntry() int64 {
	if n := len(l.entries); n > 0 {
		return l.entries[n-1].at
	}
	return l.dropped
}

// now is the level at the time of the log.
func (l *log) now() *level {
	v := l.afterLast()
	v.drain(l.last - l.lastEntry())
	return v
}

// extendTail keeps tail true when an entry is to be appended at the time of the log.
func (l *log) extendTail(a Amount) {
	if l.tail == nil {
		return
	}
	v := l.now()
	v.add(a)
	l.tail.Set(&v.scaled)
}

// freeAt is when the level is down to so much; not ok is never.
func (l *log) freeAt(scaled *big.Int) (at int64, ok bool) {
	v := l.afterLast()
	over := v.scaled.Sub(&v.scaled, scaled)
	if over.Sign() <= 0 {
		return l.lastEntry(), true
	}
	if v.limit.IsZero() {
		return 0, false
	}
	wait := ceil(over, v.limit.big())
	if !wait.IsInt64() || wait.Int64() > farAway {
		return 0, false
	}
	return l.lastEntry() + wait.Int64(), true
}

// farAway is a thousand years: nothing comes of adding to times beyond it.
const farAway = 1000 * 366 * 24 * 3600 * 1_000_000

func (l *log) rate(t terms, cost Amount) room {
	v := l.now()
	used := fromBig(ceil(&v.scaled, big.NewInt(v.window)))
	burst := t.window.Burst
	r := room{used: used, fits: l.fits(burst, used, cost)}
	if t.limit.IsZero() && !cost.IsZero() {
		r.fits = false // what is free now would never be free again
		return r
	}
	spare := new(big.Int) // when all is free again
	switch {
	case cost.Cmp(burst) > 0 || used.IsZero():
		return r
	case !r.fits:
		spare = burst.less(cost).big()
		spare.Mul(spare, big.NewInt(v.window))
	}
	if at, ok := l.freeAt(spare); ok {
		r.reset = fromMicros(at)
	}
	return r
}

// ceil is a/b, rounded up; neither is negative.
func ceil(a, b *big.Int) *big.Int {
	q, m := new(big.Int).QuoRem(a, b, new(big.Int))
	if m.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q
}
