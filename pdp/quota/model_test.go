package quota

import (
	"flag"
	"fmt"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is what a counter should say: all grants in a list, added up in the
// plainest way.
type model struct {
	now    int64
	grants []*grant
}

type grant struct {
	at     int64
	amount *big.Rat
	hold   hold
	// released, and when it was too late to make a difference to a rate.
	released, late bool
}

// used is what of the grants counts in a window. Moved is how much later each
// grant is taken to have been; lenient leaves out what was released late.
func (m *model) used(t terms, now, moved int64, lenient bool) *big.Rat {
	sum := new(big.Rat)
	if t.window.Kind == Rate {
		return m.level(t, now, moved, lenient)
	}
	for _, g := range m.grants {
		if !g.counts(lenient) {
			continue
		}
		at := min(g.at+moved, now)
		if t.window.Kind == Sliding && at+t.window.Length.Microseconds() > now ||
			t.window.Kind == Calendar && label(t.window, at) == label(t.window, now) {
			sum.Add(sum, g.amount)
		}
	}
	return sum
}

func (g *grant) counts(lenient bool) bool { return !g.released || g.late && !lenient }

// level is how full the bucket is. It is reckoned in windows times 10^-18: whole
// numbers, and much faster than fractions.
func (m *model) level(t terms, now, moved int64, lenient bool) *big.Rat {
	length := big.NewInt(t.window.Length.Microseconds())
	limit, level, from := t.limit.big(), new(big.Int), int64(0)
	leak := func(until int64) {
		out := new(big.Int).Mul(limit, big.NewInt(until-from))
		if level.Sub(level, out).Sign() < 0 {
			level.SetInt64(0)
		}
		from = until
	}
	for _, g := range m.grants {
		if g.counts(lenient) {
			leak(min(g.at+moved, now))
			level.Add(level, new(big.Int).Mul(g.hold.amount.big(), length))
		}
	}
	leak(now)
	return new(big.Rat).SetFrac(level, length.Mul(length, big.NewInt(one)))
}

// label is what a calendar and a clock show of a time, as far as the unit goes.
func label(w Window, at int64) string {
	t := time.UnixMicro(at).In(w.Location)
	switch w.Unit {
	case Minute:
		return t.Format("2006-01-02 15:04 -0700")
	case Hour:
		return t.Format("2006-01-02 15 -0700")
	case Week:
		y, n := t.ISOWeek()
		return fmt.Sprint(y, n)
	case Month:
		return t.Format("2006-01")
	case Year:
		return t.Format("2006")
	default:
		return t.Format("2006-01-02")
	}
}

// A run has to be long enough for merging.
func init() {
	if err := flag.Set("rapid.steps", "50"); err != nil {
		panic(err)
	}
}

// run is one counter beside its model.
type run struct {
	*rapid.T
	model
	log    *log
	terms  []terms
	most   int   // entries
	moved  int64 // how much later a merged entry can be
	pace   int64 // so many steps for a window
	merged bool
}

// check compares what the log says under each of the terms, now and at a time
// to come.
func (r *run) check() {
	later := rapid.Int64Range(0, r.terms[0].window.reach()).Draw(r.T, "later")
	for _, t := range r.terms {
		r.log.ask(t, r.now)
		for _, now := range []int64{r.now, r.now + later} {
			l := r.reloaded()
			l.ask(t, now)
			got := l.room(t, Amount{})
			used := rat(got.used.String())
			least, most := r.used(t, now, 0, r.merged), r.used(t, now, r.moved, false)
			if t.window.Kind == Rate { // what is told is rounded up
				most.Add(most, rat("1e-18"))
			}
			if used.Cmp(least) < 0 || used.Cmp(most) > 0 {
				r.Fatalf("%v: %v used, want from %s to %s", t, got.used, least.FloatString(20), most.FloatString(20))
			}
		}
		if len(r.log.entries) > r.most+1 {
			r.Fatalf("%d entries", len(r.log.entries))
		}
	}
}

// move lets time pass, or go back.
func (r *run) move() int64 {
	us := r.terms[0].window.reach()
	at := r.now + rapid.Int64Range(-us/r.pace/5, us/r.pace).Draw(r.T, "step")
	if rapid.IntRange(0, 50).Draw(r.T, "leap") == 0 {
		at += rapid.Int64Range(us/2, 2*us).Draw(r.T, "far")
	}
	r.now = max(r.now, at)
	return at
}

func (r *run) take() {
	at := r.move()
	t := rapid.SampledFrom(r.terms).Draw(r.T, "terms")
	cost := amount(rapid.SampledFrom([]string{"0", "1", "0.99", "3.5", "7", "0.000000000000000001", "12"}).Draw(r.T, "cost"))
	r.log.ask(t, at)
	before := r.log.encode()
	got := r.log.room(t, cost)
	most := rat(t.most().String())
	rest := new(big.Rat).Sub(most, rat(cost.String()))
	fits := cost.IsZero() || r.used(t, r.now, 0, r.merged).Cmp(rest) <= 0
	surely := cost.IsZero() || r.used(t, r.now, r.moved, false).Cmp(rest) <= 0
	if got.fits && !fits || !got.fits && surely {
		r.Fatalf("%v: %v fits %v, with %v used", t, cost, got.fits, got.used)
	}
	r.checkReset(t, cost, got)
	if string(r.log.encode()) != string(before) {
		r.Fatal("looking changed the log")
	}
	if !got.fits || cost.IsZero() {
		return
	}
	h := r.log.take(t, cost, r.most)
	r.grants = append(r.grants, &grant{at: r.now, amount: rat(cost.String()), hold: h})
}

// checkReset looks at the log at the time of the reset, and just before.
func (r *run) checkReset(t terms, cost Amount, got room) {
	if got.reset.IsZero() {
		if !got.fits && cost.Cmp(t.most()) <= 0 || got.fits && !got.used.IsZero() {
			r.Fatalf("%v: no reset; %v fits %v with %v used", t, cost, got.fits, got.used)
		}
		return
	}
	look := func(at int64) room {
		l := r.reloaded()
		l.ask(t, at)
		return l.room(t, cost)
	}
	then, before := look(got.reset.UnixMicro()), look(got.reset.UnixMicro()-1)
	ok := then.fits && !before.fits
	if got.fits && t.window.Kind == Rate {
		ok = then.used.IsZero() && !before.used.IsZero()
	} else if got.fits {
		ok = then.used.Cmp(got.used) < 0 && before.used == got.used
	}
	if !ok || got.reset.UnixMicro() <= r.now {
		r.Fatalf("%v: %v fits %v with %v used; reset %v in %dus: fits %v with %v, before it %v with %v", t, cost, got.fits, got.used,
			got.reset, got.reset.UnixMicro()-r.now, then.fits, then.used, before.fits, before.used)
	}
}

func (r *run) release() {
	if len(r.grants) == 0 {
		r.Skip("nothing to release")
	}
	g := rapid.SampledFrom(r.grants).Draw(r.T, "grant")
	if g.released {
		return // a ledger releases once
	}
	at := r.move()
	r.log.release(g.hold, at)
	g.released, g.late = true, g.at <= r.now-r.log.keep
}

// reload is what happens between two transactions.
func (r *run) reload() { r.log = r.reloaded() }

func (r *run) reloaded() *log {
	l, err := decodeLog(r.log.encode())
	if err != nil {
		r.Fatal(err)
	}
	return l
}

// fill takes many small amounts in a row, so that there is something to merge.
func (r *run) fill() {
	t := rapid.SampledFrom(r.terms).Draw(r.T, "terms")
	step := rapid.Int64Range(1, t.window.reach()/int64(r.most)).Draw(r.T, "step")
	cost := amount("0.01")
	for range r.most {
		r.now += step
		if r.log.ask(t, r.now); r.log.room(t, cost).fits {
			r.grants = append(r.grants, &grant{at: r.now, amount: rat(cost.String()), hold: r.log.take(t, cost, r.most)})
		}
	}
}

func (r *run) setLimit() {
	i := rapid.IntRange(0, len(r.terms)-1).Draw(r.T, "which")
	r.terms[i].limit = amount(rapid.SampledFrom([]string{"0", "5", "20.5", "100", "300"}).Draw(r.T, "limit"))
}

func (r *run) start(t *rapid.T, at time.Time, most int, all ...terms) {
	*r = run{T: t, log: newLog(at.UnixMicro()), terms: all, most: most}
	r.now, r.pace = at.UnixMicro(), rapid.SampledFrom([]int64{4, 20, 40}).Draw(t, "pace")
	for _, t := range all {
		r.log.ask(t, r.now)
	}
	if most < maxEntries {
		r.merged, r.moved = true, 2*r.log.keep/int64(most)
	}
}

func (r *run) actions() map[string]func(*rapid.T) {
	with := func(f func()) func(*rapid.T) {
		return func(t *rapid.T) {
			r.T = t
			f()
		}
	}
	actions := map[string]func(*rapid.T){
		"take": with(r.take), "take again": with(r.take), "take once more": with(r.take), "release": with(r.release),
		"reload": with(r.reload), "limit": with(r.setLimit), "check": with(r.check),
	}
	if r.merged {
		actions["fill"] = with(r.fill)
	}
	return actions
}

// Each kind of window, against the model: equal as long as nothing is merged,
// and once it is, never less than the model and never more than the model with
// all grants a little later.
func TestI7_WindowsAreAsTheModelSays(t *testing.T) {
	// The clocks go back in Berlin in the night after.
	day := time.Date(2026, 10, 24, 15, 30, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		at     time.Time
		window Window
	}{
		"sliding":        {start, window("1m")},
		"sliding long":   {start, window("720h")},
		"minute":         {start, window("minute", "Asia/Kathmandu")},
		"hour":           {day, window("hour", "Europe/Berlin")},
		"day":            {day, window("day", "Europe/Berlin")},
		"day in UTC":     {day, window("day")},
		"week":           {day, window("week", "Europe/Berlin")},
		"month":          {day, window("month", "America/New_York")},
		"year":           {day, window("year", "Pacific/Auckland")},
		"midnight twice": {time.Date(2026, 10, 31, 20, 0, 0, 0, time.UTC), window("day", "America/Havana")},
		"no midnight":    {time.Date(2026, 4, 23, 12, 0, 0, 0, time.UTC), window("day", "Africa/Cairo")},
		"rate":           {start, window("1m", "", "12")},
		"rate fine":      {start, window("7s", "", "13.000000000000000001")},
	} {
		for _, most := range []int{1 << 20, 16} {
			t.Run(fmt.Sprintf("%s %d", name, most), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					limit := rapid.SampledFrom([]string{"5", "20", "200", "0.3"}).Draw(t, "limit")
					var r run
					r.start(t, c.at, most, terms{amount(limit), c.window})
					actions := r.actions()
					if c.window.Kind == Rate {
						delete(actions, "limit") // see below
					}
					if c.window.Kind == Calendar {
						r.moved = 0 // what is merged is of the same period
					}
					t.Repeat(actions)
				})
			})
		}
	}
}

// A rate of nothing gives nothing, not even its burst: it would never be free
// again.
func TestI7_RateOfNothing(t *testing.T) {
	l, none := newLog(0), terms{Amount{}, window("1m", "", "5")}
	l.ask(none, 10)
	if r := l.room(none, Count(1)); r.fits || !r.reset.IsZero() {
		t.Errorf("%+v", r)
	}
	some := terms{Count(60), none.window}
	l.ask(some, 10)
	l.take(some, Count(3), maxEntries)
	l.ask(none, 20)
	if r := l.room(none, Amount{}); !r.fits || r.used != Count(3) || !r.reset.IsZero() {
		t.Errorf("%+v", r)
	}
}

// Another window keeps what is in the bucket, rounded up.
func TestI7_LevelIsRoundedUp(t *testing.T) {
	v := level{limit: Count(1), window: 3}
	v.scaled.SetInt64(1)
	if v.setRate(Count(1), 2); v.scaled.Int64() != 1 {
		t.Errorf("a third became %v halves", &v.scaled)
	}
}

// Logs that are merged are so: the tests above would prove little otherwise.
func TestMerging(t *testing.T) {
	l, w := newLog(0), terms{Count(1_000_000), window("1h")}
	for i := range 100_000 {
		l.ask(w, int64(i)*36_000) // 100,000 in an hour
		l.take(w, Count(1), maxEntries)
		if len(l.entries) > maxEntries {
			t.Fatalf("%d entries", len(l.entries))
		}
	}
	if r := l.room(w, Amount{}); r.used != Count(100_000) || len(l.entries) < 200 {
		t.Errorf("%v used, %d entries", r.used, len(l.entries))
	}
	if size := len(l.encode()); size > 8<<10 {
		t.Errorf("%d bytes", size)
	}
}

// One counter that calls ask about with several windows, each as the model says.
func TestI7_SeveralWindowsOnOneCounter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r run
		r.start(t, start, 1<<20, terms{amount("20"), window("1m")}, terms{amount("60"), window("10m")},
			terms{amount("200"), window("hour", "Asia/Kolkata")}, terms{amount("30"), window("2m", "", "15")})
		actions := r.actions()
		delete(actions, "limit")
		t.Repeat(actions)
	})
}

// The terms of a rate change: from then on nothing is taken that would break
// the new ones since. What was taken before drains as it would have.
func TestI7_RateWhoseTermsChange(t *testing.T) {
	for _, most := range []int{1 << 20, 16} {
		rapid.Check(t, func(t *rapid.T) {
			var r run
			r.start(t, start, most, terms{amount("20"), window("1m", "", "12")})
			since := 0 // the first grant under the terms in force
			actions := r.actions()
			delete(actions, "check") // the model knows nothing of other terms
			take := func(t *rapid.T) {
				r.T = t
				at, terms := r.move(), r.terms[0]
				cost := amount(rapid.SampledFrom([]string{"1", "3.5", "0.99"}).Draw(t, "cost"))
				r.log.ask(terms, at)
				if !r.log.room(terms, cost).fits {
					return
				}
				r.grants = append(r.grants, &grant{at: r.now, amount: rat(cost.String()), hold: r.log.take(terms, cost, r.most)})
				r.bounded(r.grants[since:], terms)
			}
			actions["take"], actions["take again"], actions["take once more"] = take, take, take
			delete(actions, "fill")
			actions["limit"] = func(t *rapid.T) {
				r.terms[0].limit = amount(rapid.SampledFrom([]string{"5", "20", "60"}).Draw(t, "limit"))
				r.terms[0].window = window(rapid.SampledFrom([]string{"1m", "50s", "77s"}).Draw(t, "window"), "",
					rapid.SampledFrom([]string{"5", "12"}).Draw(t, "burst"))
				since = len(r.grants)
			}
			t.Repeat(actions)
		})
	}
}

// bounded holds the grants up to the last one against what a rate means: from
// each of them on, no more than the burst and what has drained.
func (r *run) bounded(grants []*grant, t terms) {
	sum := new(big.Rat)
	last := grants[len(grants)-1]
	for i := len(grants) - 1; i >= 0; i-- {
		if grants[i].released {
			continue
		}
		sum.Add(sum, grants[i].amount)
		most := new(big.Rat).Mul(rat(t.limit.String()), big.NewRat(last.at-grants[i].at, t.window.Length.Microseconds()))
		if most.Add(most, rat(t.window.Burst.String())); sum.Cmp(most) > 0 {
			r.Fatalf("%s in %dus, and at most %s may be", sum.FloatString(3), last.at-grants[i].at, most.FloatString(3))
		}
	}
}
