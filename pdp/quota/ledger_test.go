package quota

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// start is when the tests happen.
var start = time.Date(2026, 11, 22, 12, 30, 0, 0, time.UTC)

func amount(s string) Amount {
	a, err := ParseAmount(s)
	if err != nil {
		panic(err)
	}
	return a
}

func window(words ...string) Window {
	words = append(words, "", "")
	w, err := ParseWindow(words[0], words[1], words[2])
	if err != nil {
		panic(err)
	}
	return w
}

// clock is one that tests move.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time       { return start.Add(time.Duration(c.at.Load())) }
func (c *clock) move(d time.Duration) { c.at.Add(int64(d)) }

// kit is a ledger for tests, over one store or over two.
type kit struct {
	*Ledger
	clock           clock
	amounts, counts *memory
}

func newKit(t *testing.T, two bool) *kit {
	t.Helper()
	k := &kit{amounts: newMemory()}
	o := Options{Amounts: k.amounts, Now: k.clock.now}
	if two {
		k.counts = newMemory()
		o.Counts = k.counts
	}
	k.Ledger = NewLedger(o)
	return k
}

func refunds(limit, cost string) Limit {
	return Limit{
		Name: "refunds", Per: []Part{{"subject", "ada"}}, Limit: amount(limit), Cost: amount(cost), Window: window("24h"),
	}
}

func calls(limit string) Limit {
	return Limit{Name: "calls", Per: []Part{{"grant", "g1"}}, Limit: amount(limit), Cost: Count(1), Window: window("1m"), ByCount: true}
}

func (k *kit) mustReserve(t *testing.T, id string, limits ...Limit) []Use {
	t.Helper()
	uses, err := k.Reserve(t.Context(), id, k.clock.now(), limits)
	if err != nil {
		t.Fatalf("reserve %s: %v", id, err)
	}
	return uses
}

func (k *kit) mustExceed(t *testing.T, id string, limits ...Limit) []Use {
	t.Helper()
	uses, err := k.Reserve(t.Context(), id, k.clock.now(), limits)
	if !errors.Is(err, ErrExceeded) {
		t.Fatalf("reserve %s: %v, want ErrExceeded", id, err)
	}
	return uses
}

func (k *kit) used(t *testing.T, l Limit) string {
	t.Helper()
	uses, err := k.Peek(t.Context(), k.clock.now(), []Limit{l})
	if err != nil {
		t.Fatal(err)
	}
	return uses[0].Used.String()
}

func TestReserveSaysHowItStands(t *testing.T) {
	k := newKit(t, false)
	first := k.mustReserve(t, "d1", refunds("100", "30.5"))[0]
	want := Use{
		Name: "refunds", Limit: amount("100"), Used: amount("30.5"), Remaining: amount("69.5"), Cost: amount("30.5"),
		Reset: start.Add(24 * time.Hour), Window: "24h sliding",
	}
	if first != want {
		t.Errorf("first: %+v\nwant   %+v", first, want)
	}
	k.clock.move(time.Hour)
	k.mustReserve(t, "d2", refunds("100", "60"))
	k.clock.move(time.Hour)
	// 90.5 are used. 20 fit when the first is free again, 80 when both are.
	for cost, reset := range map[string]time.Time{
		"20": start.Add(24 * time.Hour), "80": start.Add(25 * time.Hour), "100.01": {},
	} {
		got := k.mustExceed(t, "d3", refunds("100", cost))[0]
		want := Use{
			Name: "refunds", Limit: amount("100"), Used: amount("90.5"), Remaining: amount("9.5"), Cost: amount(cost),
			Reset: reset, Window: "24h sliding", Exceeded: true,
		}
		if got != want {
			t.Errorf("cost %s: %+v\nwant %+v", cost, got, want)
		}
	}
}

func TestI7_AllOrNone(t *testing.T) {
	for _, two := range []bool{false, true} {
		t.Run(fmt.Sprint("two stores ", two), func(t *testing.T) {
			k := newKit(t, two)
			k.mustReserve(t, "d1", refunds("100", "90"), calls("2"))
			uses := k.mustExceed(t, "d2", refunds("100", "20"), calls("2"))
			if len(uses) != 2 || !uses[0].Exceeded || uses[1].Exceeded || uses[1].Used != Count(1) {
				t.Errorf("uses: %+v", uses)
			}
			if got := k.used(t, calls("2")); got != "1" {
				t.Errorf("calls used: %s, want 1: the one that the refunds refused must not count", got)
			}
			k.mustReserve(t, "d3", refunds("100", "10"), calls("2"))
			uses = k.mustExceed(t, "d4", refunds("200", "10"), calls("2"))
			if last := uses[len(uses)-1]; last.Name != "calls" || !last.Exceeded {
				t.Errorf("uses: %+v", uses)
			}
			if got := k.used(t, refunds("200", "0")); got != "100" {
				t.Errorf("refunds used: %s, want 100", got)
			}
			for _, id := range []string{"d2", "d4"} { // reserved nothing
				if err := k.Release(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			}
			if got := k.used(t, calls("2")) + " " + k.used(t, refunds("200", "0")); got != "2 100" {
				t.Errorf("used: %s", got)
			}
		})
	}
}

func TestReleaseGivesBackOnce(t *testing.T) {
	for _, two := range []bool{false, true} {
		t.Run(fmt.Sprint("two stores ", two), func(t *testing.T) {
			k := newKit(t, two)
			k.mustReserve(t, "d1", refunds("100", "30"), calls("5"))
			k.mustReserve(t, "d2", refunds("100", "50"), calls("5"))
			for range 3 {
				if err := k.Release(t.Context(), "d1"); err != nil {
					t.Fatal(err)
				}
				if got := k.used(t, refunds("100", "0")) + " " + k.used(t, calls("5")); got != "50 1" {
					t.Errorf("used: %s, want 50 1", got)
				}
			}
			if err := k.Release(t.Context(), "unknown"); err != nil {
				t.Errorf("an unknown id: %v", err)
			}
			if len(k.amounts.reservations) != 1 {
				t.Errorf("reservations: %v", k.amounts.reservations)
			}
		})
	}
}

func TestRefusedCallsLeaveNoTrace(t *testing.T) {
	k := newKit(t, false)
	k.mustExceed(t, "d1", refunds("100", "101"))
	k.mustReserve(t, "d2", refunds("100", "0"))
	if len(k.amounts.counters)+len(k.amounts.reservations) > 0 {
		t.Errorf("stored: %v, %v", k.amounts.counters, k.amounts.reservations)
	}
	k.mustReserve(t, "d3", refunds("100", "90"))
	k.mustExceed(t, "d4", refunds("50", "20"))
	if list, err := k.List(t.Context(), Filter{Limit: 1}); err != nil || list[0].Use.Limit != amount("50") {
		t.Errorf("the limit that refused is not shown: %+v, %v", list, err)
	}
}

// Limit, window and kind are not what a counter is known by.
func TestUseSurvivesAnotherPolicy(t *testing.T) {
	k := newKit(t, false)
	l := refunds("100", "40")
	k.mustReserve(t, "d1", l)
	k.clock.move(time.Minute)
	for _, w := range []Window{window("1h"), window("day"), window("month", "Asia/Tokyo"), window("24h")} {
		l.Window = w
		if got := k.used(t, l); got != "40" {
			t.Errorf("%v: used %s", w, got)
		}
	}
	l.Limit = amount("70")
	if u := k.mustExceed(t, "d2", l)[0]; u.Remaining.String() != "30" {
		t.Errorf("%+v", u)
	}
	l.Limit = amount("20") // less than is used
	if u := k.mustExceed(t, "d2", l)[0]; u.Remaining.String() != "0" || !u.Reset.IsZero() {
		t.Errorf("%+v", u)
	}
	l.Cost = Amount{}
	k.mustReserve(t, "d3", l) // takes nothing
	// Another name, value or part is another counter.
	for _, other := range []Limit{
		{Name: "other", Per: l.Per},
		{Name: l.Name, Per: []Part{{"subject", "bob"}}},
		{Name: l.Name, Per: []Part{{"grant", "ada"}}},
		{Name: l.Name, Per: append([]Part{{"key", ""}}, l.Per...)},
		{Name: l.Name},
		{Name: l.Name, Per: l.Per, ByCount: true},
	} {
		other.Limit, other.Window = amount("1"), window("24h")
		if got := k.used(t, other); got != "0" {
			t.Errorf("%+v: used %s", other, got)
		}
	}
}

// A counter that calls ask about with a long and with a short window keeps
// what the long one needs.
func TestI7_TheShortWindowDoesNotForgetForTheLongOne(t *testing.T) {
	k := newKit(t, false)
	short, long := refunds("10", "10"), refunds("100", "0")
	short.Window = window("1m")
	long.Cost = amount("1")
	k.mustReserve(t, "first", long)
	long.Cost = Amount{}
	for i := range 12 {
		k.clock.move(time.Minute)
		k.mustReserve(t, fmt.Sprint("d", i), short)
	}
	k.clock.move(time.Minute)
	if got := k.used(t, long); got != "121" {
		t.Errorf("used in 24h: %s, want 121", got)
	}
	long.Cost = amount("1")
	k.mustExceed(t, "over", long)
	if got := k.used(t, short); got != "0" {
		t.Errorf("used in 1m: %s, want 0", got)
	}
}

func TestOneCounterWithTwoTermsIsAnError(t *testing.T) {
	k := newKit(t, true)
	base := refunds("100", "1")
	for name, change := range map[string]func(l *Limit){
		"limit":  func(l *Limit) { l.Limit = amount("50") },
		"window": func(l *Limit) { l.Window = window("1h") },
		"cost":   func(l *Limit) { l.Cost = amount("2") },
		"kind":   func(l *Limit) { l.ByCount = true },
	} {
		other := base
		change(&other)
		_, err := k.Reserve(t.Context(), "d", start, []Limit{base, other})
		if conflict := (*ConflictError)(nil); !errors.As(err, &conflict) || conflict.Quota != "refunds" {
			t.Errorf("%s: %v", name, err)
		}
	}
	k.mustReserve(t, "twice", base, base)
	if got := k.used(t, base); got != "1" {
		t.Errorf("the same limit twice: used %s, want 1", got)
	}
	other := base
	other.Per = []Part{{"grant", "g"}}
	if uses := k.mustReserve(t, "two counters", base, other); len(uses) != 2 {
		t.Errorf("uses: %+v", uses)
	}
}

func TestI7_OrderOfPartsDoesNotMatterAndNoSeparatorCollides(t *testing.T) {
	a := Limit{Name: "q", Per: []Part{{"subject", "a"}, {"tool", "t"}}}
	b := Limit{Name: "q", Per: []Part{{"tool", "t"}, {"subject", "a"}}}
	if a.counterID(a.sortedPer()) != b.counterID(b.sortedPer()) {
		t.Error("the order of parts matters")
	}
	seen := map[string]Limit{}
	for _, l := range []Limit{
		{Name: "q"},
		{Name: "q:subject=a"},
		{Name: "q", Per: []Part{{"subject", "a"}}},
		{Name: "q", Per: []Part{{"subject", "a:tool=t"}}},
		{Name: "q", Per: []Part{{"subject", "a"}, {"tool", "t"}}},
		{Name: "q", Per: []Part{{"subject", "at"}, {"tool", ""}}},
		{Name: "q", Per: []Part{{"subjecta", ""}}},
		{Name: "qsubject", Per: []Part{{"", "a"}}},
	} {
		id := l.counterID(l.sortedPer())
		if other, ok := seen[id]; ok {
			t.Errorf("%+v and %+v have one counter", l, other)
		}
		seen[id] = l
	}
}
