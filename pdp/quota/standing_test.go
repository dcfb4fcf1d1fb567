package quota

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// A bucket can take much longer to drain than its window.
func TestI7_ASlowBucketIsKeptUntilItIsEmpty(t *testing.T) {
	k := newKit(t, false)
	slow := Limit{Name: "slow", Limit: Count(1), Cost: Count(20_000), Window: window("1s", "", "20000")}
	k.mustReserve(t, "d1", slow)
	for _, want := range []string{"12800", "5600", "0"} {
		k.clock.move(2 * time.Hour)
		k.mustReserve(t, "other "+want, calls("1")) // deletes what has expired
		if got := k.used(t, slow); got != want {
			t.Errorf("used %s, want %s", got, want)
		}
	}
	k.clock.move(2 * time.Hour)
	k.mustReserve(t, "last", calls("1"))
	if len(k.amounts.counters) != 1 {
		t.Errorf("%d counters are left, want 1", len(k.amounts.counters))
	}
}

func TestCountersAndReservationsExpire(t *testing.T) {
	k := newKit(t, false)
	k.mustReserve(t, "d1", calls("5"))
	k.clock.move(reservationLife + slack + 2*time.Minute)
	k.mustReserve(t, "d2", refunds("100", "1"))
	if len(k.amounts.counters) != 1 || len(k.amounts.reservations) != 1 {
		t.Errorf("%d counters and %d reservations, want 1 of each", len(k.amounts.counters), len(k.amounts.reservations))
	}
	// What can't be given back any more is not, also where it is still there.
	k.clock.move(reservationLife)
	if err := k.Release(t.Context(), "d2"); err != nil {
		t.Fatal(err)
	}
	if got := k.used(t, refunds("100", "0")); got != "1" {
		t.Errorf("used %s, want 1", got)
	}
}

func TestListAndReset(t *testing.T) {
	k := newKit(t, true)
	bob := refunds("100", "7")
	bob.Per = []Part{{"subject", "bob"}}
	k.mustReserve(t, "d1", refunds("100", "30"), calls("5"))
	k.clock.move(time.Second)
	k.mustReserve(t, "d2", bob)

	list, err := k.List(t.Context(), Filter{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range list {
		got[s.Use.Name+" "+s.Per[0].Value] = fmt.Sprintf("%v of %v, %v left, %s", s.Use.Used, s.Use.Limit, s.Use.Remaining, s.Use.Window)
	}
	want := map[string]string{
		"calls g1": "1 of 5, 4 left, 1m sliding", "refunds ada": "30 of 100, 70 left, 24h sliding",
		"refunds bob": "7 of 100, 93 left, 24h sliding",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || list[0].Use.Name != "calls" {
		t.Errorf("list: %v", got)
	}
	n, err := k.Reset(t.Context(), Filter{Quota: "refunds", Of: "ada"})
	if err != nil || n != 1 {
		t.Fatalf("reset %d, %v", n, err)
	}
	if got := k.used(t, refunds("100", "0")) + " " + k.used(t, bob); got != "0 7" {
		t.Errorf("used: %s", got)
	}
	// What was reserved before the reset gives nothing back after it.
	k.mustReserve(t, "d3", refunds("100", "50"))
	if err := k.Release(t.Context(), "d1"); err != nil {
		t.Fatal(err)
	}
	if got := k.used(t, refunds("100", "0")); got != "50" {
		t.Errorf("used %s, want 50", got)
	}
	if n, err := k.Reset(t.Context(), Filter{}); err != nil || n != 3 {
		t.Errorf("reset all: %d, %v", n, err)
	}
	if n, err := k.Reset(t.Context(), Filter{Quota: "nobody"}); err != nil || n != 0 {
		t.Errorf("reset nothing: %d, %v", n, err)
	}
}

// What an agent makes of a key is no burden for the store, and two keys that
// look alike there are two all the same.
func TestI7_HostileKeys(t *testing.T) {
	k := newKit(t, false)
	long := strings.Repeat("ä", 100_000)
	for i, key := range []string{long, long + "x", "a\x00b", "a\xffb", "a\ufffdb", ""} {
		l := refunds("10", "10")
		l.Per = []Part{{"key", key}}
		k.mustReserve(t, fmt.Sprint("d", i), l)
		k.mustExceed(t, "over", l)
	}
	list, err := k.List(t.Context(), Filter{Limit: 10})
	if err != nil || len(list) != 6 {
		t.Fatalf("%d counters, %v", len(list), err)
	}
	for _, s := range list {
		if v := s.Per[0].Value; len(v) > maxShown+len("…") || !utf8.ValidString(v) || strings.Contains(v, "\x00") {
			t.Errorf("shown: %q", v)
		}
	}
	if n, err := k.Reset(t.Context(), Filter{Quota: "refunds", Of: long}); n != 2 || err != nil { // all that look like it
		t.Errorf("reset %d, %v", n, err)
	}
}

func TestResetOfManyCounters(t *testing.T) {
	k := newKit(t, true)
	const n = 2*resetPage + 50
	for i := range n {
		l := refunds("10", "10")
		l.Per = []Part{{"subject", fmt.Sprint(i)}}
		k.mustReserve(t, fmt.Sprint("d", i), l, calls("1000"))
	}
	if got, err := k.Reset(t.Context(), Filter{Quota: "refunds"}); got != n || err != nil {
		t.Errorf("reset %d, %v; want %d", got, err, n)
	}
	list, err := k.List(t.Context(), Filter{Limit: n + 10})
	if err != nil || len(list) != n+1 {
		t.Fatalf("%d counters, %v", len(list), err)
	}
	for _, s := range list {
		if s.Use.Name == "refunds" && !s.Use.Used.IsZero() {
			t.Errorf("%v is used of %v", s.Use.Used, s.Per)
		}
	}
	if list[0].Use.Used != Count(n) {
		t.Errorf("calls used: %v; they were not to be reset", list[0].Use.Used)
	}
}

func TestAStateThatCannotBeRead(t *testing.T) {
	k := newKit(t, false)
	k.mustReserve(t, "d1", refunds("100", "30"))
	for id, c := range k.amounts.counters {
		c.State = append(c.State, 0)
		k.amounts.counters[id] = c
	}
	if _, err := k.Reserve(t.Context(), "d2", start, []Limit{refunds("100", "1")}); err == nil || errors.Is(err, ErrExceeded) {
		t.Errorf("reserve: %v", err)
	}
	k.mustReserve(t, "d3", calls("5")) // others go on
	if list, err := k.List(t.Context(), Filter{Limit: 10}); err != nil || list[1].Fault == "" {
		t.Errorf("list: %+v, %v", list, err)
	}
	if n, err := k.Reset(t.Context(), Filter{Quota: "refunds"}); n != 1 || err != nil {
		t.Errorf("reset %d, %v", n, err)
	}
	k.mustReserve(t, "d4", refunds("100", "100"))
}

// A clock that is far ahead holds a counter up until a reset.
func TestResetForgetsATimeThatIsAhead(t *testing.T) {
	k := newKit(t, false)
	k.clock.move(1000 * time.Hour)
	k.mustReserve(t, "ahead", refunds("100", "100"))
	k.clock.move(-1000 * time.Hour)
	k.mustExceed(t, "d1", refunds("100", "1"))
	if n, err := k.Reset(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatalf("reset %d, %v", n, err)
	}
	k.mustReserve(t, "d2", refunds("100", "100"))
	k.clock.move(24 * time.Hour)
	k.mustReserve(t, "d3", refunds("100", "100"))
}
