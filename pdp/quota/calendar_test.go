package quota

import (
	"testing"
	"time"
)

// half are zones whose clocks were changed by half an hour, or at half past:
// there a broken hour counts as one with the whole hour beside it.
var half = map[string]bool{"America/Toronto": true, "Australia/Lord_Howe": true}

// Around changes of clocks, each moment lies in the period that a calendar on
// the wall shows: found by walking step by step.
func TestPeriods(t *testing.T) {
	for _, c := range []struct{ zone, around string }{
		{"UTC", "2026-02-28T23:00:00Z"},
		{"Europe/Berlin", "2026-03-29T01:00:00Z"},
		{"Europe/Berlin", "2026-10-25T01:00:00Z"},
		{"Europe/Berlin", "2026-12-31T23:00:00Z"},
		{"America/New_York", "2026-11-01T06:00:00Z"},
		{"Africa/Cairo", "2026-04-23T22:00:00Z"},    // there is no midnight
		{"America/Havana", "2026-11-01T05:00:00Z"},  // there are two
		{"America/Toronto", "1919-03-31T04:30:00Z"}, // 23:30 was followed by 0:30
		{"Africa/Cairo", "2026-10-29T21:00:00Z"},    // 23:00 comes again when it is midnight
		{"Pacific/Apia", "2011-12-30T10:00:00Z"},    // a day that was not
		{"Australia/Lord_Howe", "2026-10-03T15:30:00Z"},
		{"Asia/Kathmandu", "2026-04-13T18:15:00Z"},
	} {
		around, err := time.Parse(time.RFC3339, c.around)
		if err != nil {
			t.Fatal(err)
		}
		for unit, steps := range map[string]struct{ far, pace, walk time.Duration }{
			"minute": {3 * time.Hour, 7 * time.Minute, time.Minute},
			"hour":   {3 * time.Hour, 7 * time.Minute, time.Minute},
			"day":    {27 * time.Hour, 45 * time.Minute, 15 * time.Minute}, // no clock was changed at another time
		} {
			w := window(unit, c.zone)
			for at := around.Add(-steps.far); at.Before(around.Add(steps.far)); at = at.Add(steps.pace) {
				start, end := w.period(at.UnixMicro())
				if wantStart, wantEnd := walk(w, at, steps.walk); half[c.zone] && unit == "hour" {
					if start > wantStart.UnixMicro() || end < wantEnd.UnixMicro() || end-start > 90*60*1_000_000 {
						t.Errorf("%s at %v: from %d to %d, want all from %v to %v", w, at, start, end, wantStart, wantEnd)
					}
					continue
				}
				if wantStart, wantEnd := walk(w, at, steps.walk); start != wantStart.UnixMicro() || end != wantEnd.UnixMicro() {
					t.Errorf("%s at %v: from %v to %v, want from %v to %v", w, at.In(w.Location), time.UnixMicro(start).In(w.Location),
						time.UnixMicro(end).In(w.Location), wantStart.In(w.Location), wantEnd.In(w.Location))
				}
			}
		}
	}
}

func walk(w Window, at time.Time, step time.Duration) (start, end time.Time) {
	here := label(w, at.UnixMicro())
	for start = at; label(w, start.Add(-step).UnixMicro()) == here; {
		start = start.Add(-step)
	}
	for end = at; label(w, end.UnixMicro()) == here; {
		end = end.Add(step)
	}
	return start, end
}

func TestLongPeriods(t *testing.T) {
	for _, c := range []struct{ unit, zone, at, start, end string }{
		{"week", "", "2026-11-25T10:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"week", "", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"week", "", "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"week", "Europe/Berlin", "2026-10-25T22:59:59Z", "2026-10-18T22:00:00Z", "2026-10-25T23:00:00Z"}, // a week of 169 hours
		{"month", "", "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
		{"month", "America/New_York", "2026-12-01T04:59:59Z", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z"},
		{"month", "", "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"year", "Asia/Tokyo", "2026-12-31T15:00:00Z", "2026-12-31T15:00:00Z", "2027-12-31T15:00:00Z"},
		{"year", "", "2026-06-01T00:00:00Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		start, end := window(c.unit, c.zone).period(at.UnixMicro())
		got := fromMicros(start).Format(time.RFC3339) + " " + fromMicros(end).Format(time.RFC3339)
		if got != c.start+" "+c.end {
			t.Errorf("%s of %s in %s: %s", c.unit, c.at, c.zone, got)
		}
		if reach := window(c.unit, c.zone).reach(); reach < end-start {
			t.Errorf("%s reaches back %v", c.unit, reach)
		}
	}
}

func TestParseWindow(t *testing.T) {
	for _, c := range []struct{ window, timezone, burst, want string }{
		{"24h", "", "", "24h sliding"},
		{"1s", "", "", "1s sliding"},
		{"day", "Europe/Berlin", "", "day in Europe/Berlin"},
		{"week", "", "", "week in UTC"},
		{"1m", "", "10", "1m, burst 10"},
		{"1m", "", "2.5", "1m, burst 2.5"},
		{"year", "UTC", "", "year in UTC"},
	} {
		w, err := ParseWindow(c.window, c.timezone, c.burst)
		if err != nil || w.String() != c.want {
			t.Errorf("%+v: %v, %v", c, w, err)
			continue
		}
		in := terms{amount("5"), w}
		if out, err := decodeTerms(in.encode()); err != nil || out != in {
			t.Errorf("%s is read as %+v, %v", in.encode(), out, err)
		}
	}
	for _, c := range []struct{ window, timezone, burst, want string }{
		{"", "", "", `window must be a duration like "24h", or minute, hour, day, week, month or year ()`},
		{"1d", "", "", `window must be a duration`},
		{"Day", "", "", `window must be a duration`},
		{"0s", "", "", `window must be from 1s to 87840h (0s)`},
		{"-1h", "", "", `window must be from`},
		{"1ms", "", "", `window must be from`},
		{"900000h", "", "", `window must be from`},
		{"1000000001ns", "", "", `window must be whole microseconds`},
		{"24h", "Europe/Berlin", "", `timezone needs minute,`},
		{"day", "Mars/Olympus", "", `timezone must be UTC or a name like "Europe/Berlin" (Mars/Olympus)`},
		{"day", "Local", "", `timezone must be`},
		{"day", "../etc/passwd", "", `timezone must be`},
		{"day", "", "10", `burst needs a duration as its window, not "day"`},
		{"1m", "", "-1", `burst must not be negative (-1)`},
		{"1m", "", "0", `burst must be more than 0`},
	} {
		if w, err := ParseWindow(c.window, c.timezone, c.burst); err == nil || len(err.Error()) < len(c.want) || err.Error()[:len(c.want)] != c.want {
			t.Errorf("%+v: %v, %v", c, w, err)
		}
	}
}
