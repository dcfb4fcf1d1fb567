package identity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestUsageIsWrittenDownEveryFewSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a := NewAuthenticator(m, Options{})
		g, token := create(t, a, Grant{})
		who, err := a.Identify(t.Context(), Evidence{BearerToken: token}, "stripe")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { a.KeepUsage(ctx) })
		for _, deed := range []Deed{Called, Called, Denied, Seen} {
			a.Note(who, deed, time.Now())
		}
		a.Note(&Identity{}, Called, time.Now()) // without a grant nothing is counted
		at := time.Now()
		check := func(calls, denials int64, last time.Time) {
			t.Helper()
			got, err := a.Get(t.Context(), g.ID)
			if err != nil || got.Calls != calls || got.Denials != denials || !got.LastUsedAt.Equal(toStamp(last)) {
				t.Errorf("%d calls, %d denials, last %v, %v; want %d, %d, %v", got.Calls, got.Denials, got.LastUsedAt, err, calls, denials, last)
			}
		}
		check(0, 0, time.Time{})
		time.Sleep(usageFlush + time.Millisecond)
		check(2, 1, at)

		// What the store does not take is written down later.
		m.set(func() { m.away = errors.New("gone") })
		a.Note(who, Called, time.Now())
		at = time.Now()
		time.Sleep(usageFlush)
		m.set(func() { m.away = nil })
		a.Note(who, Denied, at.Add(-time.Second)) // of a decision that took long
		stop()
		wg.Wait()
		if err := a.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(3, 2, at)
		if err := a.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(3, 2, at)
	})
}

func TestConcurrentNotesAddUp(t *testing.T) {
	m := &memory{}
	a := NewAuthenticator(m, Options{})
	g, _ := create(t, a, Grant{})
	who := &Identity{Grant: &g}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				a.Note(who, Called, time.Now())
			}
		})
		wg.Go(func() {
			for range 20 {
				if err := a.Flush(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := a.Get(t.Context(), g.ID); got.Calls != 8*500 {
		t.Errorf("%d calls", got.Calls)
	}
}

func TestTheTallyIsBounded(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	for i := range maxTallied + 10 {
		a.Note(&Identity{Grant: &Grant{ID: fmt.Sprint(i)}}, Called, time.Now())
	}
	if len(a.usage.grants) != maxTallied || a.usage.dropped != 10 {
		t.Errorf("%d grants, %d frames dropped", len(a.usage.grants), a.usage.dropped)
	}
}
