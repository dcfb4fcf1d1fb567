package quota

import "time"

// room is how a log stands under some terms, and whether a cost fits.
type room struct {
	used  Amount
	fits  bool
	reset time.Time // as Use.Reset
}

// room looks at the log as it is; ask has moved it to the time in question.
func (l *log) room(t terms, cost Amount) room {
	switch t.window.Kind {
	case Sliding:
		return l.sliding(t, cost)
	case Calendar:
		return l.calendar(t, cost)
	case Rate:
		return l.rate(t, cost)
	default:
		return room{} // no window: nothing fits
	}
}

// fits says whether cost can be added to what is used. A cost of 0 takes
// nothing, so that it fits even where a new limit is below what is used.
func (l *log) fits(limit, used, cost Amount) bool {
	sum, ok := used.add(cost)
	return cost.IsZero() || ok && sum.Cmp(limit) <= 0 && l.holds(cost)
}

// holds says whether the log can take so much without losing count of it. What
// several changes of limit and window leave behind could come to more than an
// amount holds.
func (l *log) holds(cost Amount) bool {
	sum, ok := cost, true
	for i := 0; ok && i < len(l.entries); i++ {
		sum, ok = sum.add(l.entries[i].amount)
	}
	return ok
}

// since adds up what was taken from a time on.
func (l *log) since(from int64) (used Amount, first int) {
	first = len(l.entries)
	for first > 0 && l.entries[first-1].at >= from {
		first--
		sum, ok := used.add(l.entries[first].amount)
		if !ok {
			sum = mostAmount
		}
		used = sum
	}
	return used, first
}

func (l *log) sliding(t terms, cost Amount) room {
	length := t.window.reach()
	used, first := l.since(l.last - length + 1)
	r := room{used: used, fits: l.fits(t.limit, used, cost)}
	if r.fits {
		if first < len(l.entries) {
			r.reset = fromMicros(l.entries[first].at + length)
		}
		return r
	}
	if cost.Cmp(t.limit) > 0 {
		return r
	}
	for _, e := range l.entries[first:] {
		used = used.less(e.amount)
		r.reset = fromMicros(e.at + length)
		if l.fits(t.limit, used, cost) {
			break
		}
	}
	return r
}

func (l *log) calendar(t terms, cost Amount) room {
	start, end := t.window.period(l.last)
	used, _ := l.since(start)
	r := room{used: used, fits: l.fits(t.limit, used, cost)}
	if !used.IsZero() && cost.Cmp(t.limit) <= 0 {
		r.reset = fromMicros(end)
	}
	return r
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
