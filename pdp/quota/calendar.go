package quota

import "time"

// reach is how far the window looks back at most, in microseconds. Days are
// not all of the same length: there is one to spare.
func (w Window) reach() int64 {
	const day = 24 * time.Hour
	back := w.Length
	if w.Kind == Calendar {
		back = []time.Duration{
			Minute: time.Minute, Hour: time.Hour, Day: 2 * day, Week: 8 * day, Month: 32 * day, Year: 367 * day,
		}[w.Unit]
	}
	return back.Microseconds()
}

// period returns the begin of the calendar's unit that a time lies in, and the
// end, which is not of it any more.
func (w Window) period(at int64) (start, end int64) {
	t := time.UnixMicro(at).In(w.Location)
	switch w.Unit {
	case Minute:
		return shortPeriod(t, time.Minute)
	case Hour:
		return shortPeriod(t, time.Hour)
	}
	y, m, d := t.Date()
	var step [3]int
	switch w.Unit {
	case Week:
		d -= (int(t.Weekday()) + 6) % 7
		step = [3]int{0, 0, 7}
	case Month:
		d, step = 1, [3]int{0, 1, 0}
	case Year:
		m, d, step = time.January, 1, [3]int{1, 0, 0}
	default:
		step = [3]int{0, 0, 1}
	}
	for start = beginOfDay(y, m, d, w.Location); start > at; { // the clocks went back over midnight
		d--
		start = beginOfDay(y, m, d, w.Location)
	}
	for end = start; end <= at; { // more than once where a zone left out the day
		y, m, d = y+step[0], m+time.Month(step[1]), d+step[2]
		end = beginOfDay(y, m, d, w.Location)
	}
	return start, end
}

// shortPeriod cuts by the offset of the moment: two hours that a clock shows
// alike are two. Where clocks are changed by half an hour, the broken hour has a
// part of the one before it: more is counted then, never less.
func shortPeriod(t time.Time, unit time.Duration) (start, end int64) {
	_, seconds := t.Zone()
	offset := int64(seconds) * 1_000_000
	us := unit.Microseconds()
	local := t.UnixMicro() + offset
	rest := local % us
	if rest < 0 {
		rest += us
	}
	start = local - rest - offset
	return start, start + us
}

// beginOfDay returns the first moment of a day. Where the clocks are changed at
// midnight there is no midnight or there are two, and time.Date takes any.
func beginOfDay(y int, m time.Month, d int, in *time.Location) int64 {
	noon := time.Date(y, m, d, 12, 0, 0, 0, in)
	midnight := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	begin := midnight.Add(-offset(noon))
	changed, _ := noon.ZoneBounds()
	if changed.IsZero() || changed.Before(begin) {
		return begin.UnixMicro()
	}
	before := midnight.Add(-offset(changed.Add(-1)))
	if before.After(changed) {
		before = changed
	}
	return before.UnixMicro()
}

func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}
