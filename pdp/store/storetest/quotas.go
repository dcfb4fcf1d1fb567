package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/quota"
)

// QuotaStore is a store of quotas.
type QuotaStore interface {
	quota.Store
	io.Closer
}

// QuotaDatabase opens one database; opening it again after closing the store,
// or before, finds what was stored.
type QuotaDatabase func(t *testing.T) QuotaStore

// RunQuota puts a kind of store of quotas to the test. fresh makes a new, empty
// database. What expires is deleted by a clock that the tests pass in, or, in
// stores that have their own, later.
func RunQuota(t *testing.T, fresh func(t *testing.T) QuotaDatabase) {
	for name, test := range map[string]func(t *testing.T, open QuotaDatabase){
		"RoundTrip":             quotaRoundTrip,
		"Replaces":              quotaReplaces,
		"NothingOfWhatFails":    quotaNothingOfWhatFails,
		"ReservationStays":      quotaReservationStays,
		"Released":              quotaReleased,
		"Find":                  quotaFind,
		"Pages":                 quotaPages,
		"Expired":               quotaExpired,
		"NothingChanges":        quotaNothingChanges,
		"Isolated":              quotaIsolated,
		"I7_ExactInConcurrency": quotaExactInConcurrency,
		"I7_SurvivesReopening":  quotaSurvivesReopening,
		"EndedContext":          quotaEndedContext,
		"HostileText":           quotaHostileText,
		"LargeState":            quotaLargeState,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

func openedQuota(t *testing.T, open QuotaDatabase) QuotaStore {
	t.Helper()
	s := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// quotaNow is the time of the tests of quotas: one that is now, for stores whose
// own clock decides what has expired.
var quotaNow = time.Now().UTC().Truncate(time.Microsecond)

func counter(id string) quota.Counter {
	return quota.Counter{
		ID: id, Quota: "refunds", Per: []quota.Part{{Name: "key", Value: "k:" + id}, {Name: "subject", Value: "ada"}},
		Terms: `{"limit":"10"}`, State: []byte("state of " + id),
		UpdatedAt: quotaNow, ExpiresAt: quotaNow.Add(time.Hour),
	}
}

func reservation(id string) quota.Reservation {
	return quota.Reservation{ID: id, Holds: `[{"counter":"c"}]`, ExpiresAt: quotaNow.Add(time.Hour)}
}

// put stores changes; the counters are the keys.
func put(t *testing.T, s quota.Store, changes quota.Changes) {
	t.Helper()
	keys := quota.Keys{Reservations: changes.Released}
	for _, c := range changes.Counters {
		keys.Counters = append(keys.Counters, c.ID)
	}
	if err := s.Update(t.Context(), quotaNow, keys, func(quota.Loaded) quota.Changes { return changes }); err != nil {
		t.Fatal(err)
	}
}

// load returns what Update loads.
func load(t *testing.T, s quota.Store, keys quota.Keys) (loaded quota.Loaded) {
	t.Helper()
	err := s.Update(t.Context(), quotaNow, keys, func(l quota.Loaded) quota.Changes {
		loaded = l
		return quota.Changes{}
	})
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func counters(list ...quota.Counter) map[string]quota.Counter {
	m := map[string]quota.Counter{}
	for _, c := range list {
		m[c.ID] = c
	}
	return m
}

func quotaRoundTrip(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	binary := counter("b")
	binary.State, binary.Per = []byte{0, 255, 10, 0, 128}, nil
	put(t, s, quota.Changes{Counters: []quota.Counter{counter("a"), binary}, Reservations: []quota.Reservation{reservation("d1"), reservation("d2")}})

	loaded := load(t, s, quota.Keys{Counters: []string{"a", "b", "unknown"}, Reservations: []string{"d1", "unknown"}})
	equal(t, "counters", loaded.Counters, counters(counter("a"), binary))
	equal(t, "reservations", loaded.Reservations, map[string]quota.Reservation{"d1": reservation("d1")})

	list := must[[]quota.Counter](t)(s.Counters(t.Context(), []string{"b", "unknown", "a"}))
	equal(t, "read", counters(list...), counters(counter("a"), binary))
	equal(t, "no ids", must[[]quota.Counter](t)(s.Counters(t.Context(), nil)), []quota.Counter{})
	held := must[[]quota.Reservation](t)(s.Reservations(t.Context(), []string{"d2", "unknown"}))
	equal(t, "reservation", held, []quota.Reservation{reservation("d2")})
}

func quotaReplaces(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	put(t, s, quota.Changes{Counters: []quota.Counter{counter("a"), counter("b")}})
	other := counter("a")
	other.State, other.Terms, other.UpdatedAt = []byte("other"), `{"limit":"20"}`, quotaNow.Add(time.Second)
	other.ExpiresAt = quotaNow.Add(2 * time.Hour)
	put(t, s, quota.Changes{Counters: []quota.Counter{other}})
	equal(t, "counters", load(t, s, quota.Keys{Counters: []string{"a", "b"}}).Counters, counters(other, counter("b")))
}

// quotaNothingOfWhatFails ends the context within f: nothing is stored then.
func quotaNothingOfWhatFails(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	put(t, s, quota.Changes{Counters: []quota.Counter{counter("a")}, Reservations: []quota.Reservation{reservation("d1")}})
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Update(ctx, quotaNow, quota.Keys{Counters: []string{"a", "b"}, Reservations: []string{"d1"}}, func(quota.Loaded) quota.Changes {
		cancel()
		changed := counter("a")
		changed.State = []byte("changed")
		return quota.Changes{
			Counters: []quota.Counter{changed, counter("b")}, Reservations: []quota.Reservation{reservation("d2")}, Released: []string{"d1"},
		}
	})
	if err == nil {
		t.Fatal("no error")
	}
	loaded := load(t, s, quota.Keys{Counters: []string{"a", "b"}, Reservations: []string{"d1", "d2"}})
	equal(t, "counters", loaded.Counters, counters(counter("a")))
	equal(t, "reservations", loaded.Reservations, map[string]quota.Reservation{"d1": reservation("d1")})
}

func quotaReservationStays(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	put(t, s, quota.Changes{Reservations: []quota.Reservation{reservation("d1")}})
	other := reservation("d1")
	other.Holds = "[]"
	put(t, s, quota.Changes{Reservations: []quota.Reservation{other, reservation("d2")}})
	got := load(t, s, quota.Keys{Reservations: []string{"d1", "d2"}}).Reservations
	equal(t, "reservations", got, map[string]quota.Reservation{"d1": reservation("d1"), "d2": reservation("d2")})
}

func quotaReleased(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	put(t, s, quota.Changes{Reservations: []quota.Reservation{reservation("d1"), reservation("d2")}})
	put(t, s, quota.Changes{Released: []string{"d1", "unknown"}, Counters: []quota.Counter{counter("a")}})
	loaded := load(t, s, quota.Keys{Counters: []string{"a"}, Reservations: []string{"d1", "d2"}})
	equal(t, "reservations", loaded.Reservations, map[string]quota.Reservation{"d2": reservation("d2")})
	equal(t, "counters", loaded.Counters, counters(counter("a")))
}

func quotaFind(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	calls := counter("a")
	calls.Quota = "calls"
	bob := counter("b")
	bob.Per = []quota.Part{{Name: "subject", Value: "bob"}}
	put(t, s, quota.Changes{Counters: []quota.Counter{counter("z"), bob, calls, counter("m")}})
	for _, c := range []struct {
		what   string
		filter quota.Filter
		want   []string
	}{
		{"all", quota.Filter{}, []string{"a", "b", "m", "z"}},
		{"limited", quota.Filter{Limit: 2}, []string{"a", "b"}},
		{"of a quota", quota.Filter{Quota: "refunds"}, []string{"b", "m", "z"}},
		{"of ada", quota.Filter{Of: "ada"}, []string{"a", "m", "z"}},
		{"of a key", quota.Filter{Of: "k:m"}, []string{"m"}},
		{"of a part's name", quota.Filter{Of: "subject"}, nil},
		{"of half a value", quota.Filter{Of: "ad"}, nil},
		{"both", quota.Filter{Quota: "calls", Of: "ada"}, []string{"a"}},
		{"by id", quota.Filter{ID: "m"}, []string{"m"}},
		{"by id and quota", quota.Filter{ID: "m", Quota: "calls"}, nil},
		{"a pattern", quota.Filter{Quota: "ref*"}, nil},
		{"another pattern", quota.Filter{Quota: "ref%"}, nil},
	} {
		if c.filter.Limit == 0 {
			c.filter.Limit = 10
		}
		got := must[[]quota.Counter](t)(s.FindCounters(t.Context(), quotaNow, c.filter))
		equal(t, c.what, counterIDs(got), c.want)
	}
	one := must[[]quota.Counter](t)(s.FindCounters(t.Context(), quotaNow, quota.Filter{ID: "b", Limit: 1}))
	equal(t, "whole", one, []quota.Counter{bob})
}

// quotaPages walks through more counters than a page has.
func quotaPages(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	var all []quota.Counter
	for i := range 25 {
		c := counter(fmt.Sprintf("c%02d", (i*7)%25))
		c.Quota = []string{"B", "a", "b"}[i%3] // byte by byte: B comes first
		all = append(all, c)
	}
	put(t, s, quota.Changes{Counters: all})
	var got []quota.Counter
	for f := (quota.Filter{Limit: 4}); ; {
		page := must[[]quota.Counter](t)(s.FindCounters(t.Context(), quotaNow, f))
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		f.AfterQuota, f.AfterID = page[len(page)-1].Quota, page[len(page)-1].ID
	}
	inOrder := slices.IsSortedFunc(got, func(a, b quota.Counter) int {
		return slices.Compare([]string{a.Quota, a.ID}, []string{b.Quota, b.ID})
	})
	if len(got) != len(all) || !inOrder {
		t.Errorf("%d counters, want %d, in order of quota and id: %v", len(got), len(all), counterIDs(got))
	}
}

func counterIDs(list []quota.Counter) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].ID
	}
	return out
}

// quotaExpired has what expired left out of lists, and deleted in the end, while
// what has not expired stays.
func quotaExpired(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	old, oldHold := counter("old"), reservation("old")
	old.ExpiresAt, oldHold.ExpiresAt = quotaNow.Add(200*time.Millisecond), quotaNow.Add(200*time.Millisecond)
	put(t, s, quota.Changes{Counters: []quota.Counter{old, counter("new")}, Reservations: []quota.Reservation{oldHold, reservation("new")}})
	later := quotaNow.Add(time.Second)
	found := must[[]quota.Counter](t)(s.FindCounters(t.Context(), later, quota.Filter{Limit: 10}))
	equal(t, "found", counterIDs(found), []string{"new"})

	deadline := time.Now().Add(20 * time.Second)
	for {
		err := s.Update(t.Context(), later, quota.Keys{Counters: []string{"other"}}, func(quota.Loaded) quota.Changes {
			return quota.Changes{Counters: []quota.Counter{counter("other")}}
		})
		if err != nil {
			t.Fatal(err)
		}
		gone := load(t, s, quota.Keys{Counters: []string{"old"}, Reservations: []string{"old"}})
		if len(gone.Counters)+len(gone.Reservations) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not deleted: %v", gone)
		}
		time.Sleep(50 * time.Millisecond)
	}
	kept := load(t, s, quota.Keys{Counters: []string{"new"}, Reservations: []string{"new"}})
	equal(t, "counters", kept.Counters, counters(counter("new")))
	equal(t, "reservations", kept.Reservations, map[string]quota.Reservation{"new": reservation("new")})
}

func quotaNothingChanges(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	for _, keys := range []quota.Keys{{}, {Counters: []string{"a"}}, {Reservations: []string{"d"}}} {
		loaded := load(t, s, keys)
		if loaded.Counters == nil || loaded.Reservations == nil || len(loaded.Counters)+len(loaded.Reservations) != 0 {
			t.Errorf("%v: %v", keys, loaded)
		}
	}
}

// quotaIsolated adds one to two counters at a time, from several connections:
// no update is lost, and no one sees half of another.
func quotaIsolated(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	const workers, each = 8, 25
	number := func(l quota.Loaded, id string) int {
		n, _ := strconv.Atoi(string(l.Counters[id].State))
		return n
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			ids := []string{"a", "b"}
			if w%2 == 1 {
				ids = []string{"b", "a"}
			}
			for i := range each {
				torn := false
				err := s.Update(t.Context(), quotaNow, quota.Keys{Counters: ids}, func(l quota.Loaded) quota.Changes {
					n := number(l, "a")
					torn = n != number(l, "b")
					var c quota.Changes
					for _, id := range ids {
						next := counter(id)
						next.State = []byte(strconv.Itoa(n + 1))
						c.Counters = append(c.Counters, next)
					}
					c.Reservations = []quota.Reservation{reservation(fmt.Sprintf("%d-%d", w, i))}
					return c
				})
				if err != nil || torn {
					t.Errorf("update: %v, torn %v", err, torn)
					return
				}
			}
		})
	}
	wg.Wait()
	l := load(t, s, quota.Keys{Counters: []string{"a", "b"}})
	if a, b := number(l, "a"), number(l, "b"); a != workers*each || b != a {
		t.Errorf("a is %d and b is %d, want %d", a, b, workers*each)
	}
}

// quotaExactInConcurrency hammers one counter from several ledgers: what is
// granted and not given back is the limit, to the last decimal.
func quotaExactInConcurrency(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	cost, limit := must[quota.Amount](t)(quota.ParseAmount("0.99")), must[quota.Amount](t)(quota.ParseAmount("99"))
	window := must[quota.Window](t)(quota.ParseWindow("24h", "", ""))
	limits := []quota.Limit{{Name: "refunds", Limit: limit, Cost: cost, Window: window}}
	ledgers := []*quota.Ledger{quota.NewLedger(quota.Options{Amounts: s}), quota.NewLedger(quota.Options{Amounts: s}), quota.NewLedger(quota.Options{Amounts: s})}
	var granted, refused atomic.Int64
	var wg sync.WaitGroup
	for w := range 12 {
		wg.Go(func() {
			for i := range 20 {
				id := fmt.Sprintf("%d-%d", w, i)
				_, err := ledgers[w%len(ledgers)].Reserve(t.Context(), id, quotaNow, limits)
				switch {
				case errors.Is(err, quota.ErrExceeded):
					refused.Add(1)
				case err != nil:
					t.Error(err)
				case i%4 == 3:
					if err := ledgers[(w+1)%len(ledgers)].Release(t.Context(), id); err != nil { // of another replica
						t.Error(err)
					}
				default:
					granted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if granted.Load() != 100 || refused.Load() == 0 {
		t.Errorf("granted %d, refused %d; want 100 granted", granted.Load(), refused.Load())
	}
	uses := must[[]quota.Use](t)(ledgers[0].Peek(t.Context(), quotaNow, limits))
	if uses[0].Used != limit || !uses[0].Exceeded {
		t.Errorf("use: %+v", uses[0])
	}
}

func quotaSurvivesReopening(t *testing.T, open QuotaDatabase) {
	s := open(t)
	window := must[quota.Window](t)(quota.ParseWindow("24h", "", ""))
	limits := []quota.Limit{{Name: "calls", Limit: quota.Count(3), Cost: quota.Count(1), Window: window, ByCount: true}}
	for _, id := range []string{"d1", "d2", "d3"} {
		must[[]quota.Use](t)(quota.NewLedger(quota.Options{Amounts: s}).Reserve(t.Context(), id, quotaNow, limits))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l := quota.NewLedger(quota.Options{Amounts: openedQuota(t, open)})
	if _, err := l.Reserve(t.Context(), "d4", quotaNow, limits); !errors.Is(err, quota.ErrExceeded) {
		t.Fatalf("reserve: %v, want ErrExceeded", err)
	}
	if err := l.Release(t.Context(), "d2"); err != nil {
		t.Fatal(err)
	}
	must[[]quota.Use](t)(l.Reserve(t.Context(), "d5", quotaNow, limits))
}

func quotaEndedContext(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Update(ctx, quotaNow, quota.Keys{Counters: []string{"a"}}, func(quota.Loaded) quota.Changes {
		return quota.Changes{Counters: []quota.Counter{counter("a")}}
	})
	if err == nil {
		t.Error("Update: no error")
	}
	if _, err := s.Counters(ctx, []string{"a"}); err == nil {
		t.Error("Counters: no error")
	}
	if _, err := s.Reservations(ctx, []string{"a"}); err == nil {
		t.Error("Reservations: no error")
	}
	if _, err := s.FindCounters(ctx, quotaNow, quota.Filter{Limit: 1}); err == nil {
		t.Error("FindCounters: no error")
	}
	equal(t, "counters", load(t, s, quota.Keys{Counters: []string{"a"}}).Counters, counters())
}

// quotaHostileText has names and values that a careless key or pattern would
// take for one another.
func quotaHostileText(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	var all []quota.Counter
	texts := []string{"a", "a:b", "a/b", "a'b", `a"b`, `a\b`, "a%", "a_", "a*", "[a]", "{a}", "A", "a ", "ä", "\x1b[31m", "a\nb", "null"}
	for i, text := range texts {
		c := counter(fmt.Sprint("c", i))
		c.Quota, c.Per = text, []quota.Part{{Name: "key", Value: text}}
		all = append(all, c)
	}
	put(t, s, quota.Changes{Counters: all})
	for i, text := range texts {
		for _, f := range []quota.Filter{{Quota: text, Limit: 100}, {Of: text, Limit: 100}} {
			got := must[[]quota.Counter](t)(s.FindCounters(t.Context(), quotaNow, f))
			equal(t, fmt.Sprintf("%+v", f), got, []quota.Counter{all[i]})
		}
	}
}

func quotaLargeState(t *testing.T, open QuotaDatabase) {
	s := openedQuota(t, open)
	large := counter("large")
	large.State = slices.Repeat([]byte{0, 1, 254, 255}, 16<<10)
	put(t, s, quota.Changes{Counters: []quota.Counter{large}})
	equal(t, "counters", load(t, s, quota.Keys{Counters: []string{"large"}}).Counters, counters(large))
}
