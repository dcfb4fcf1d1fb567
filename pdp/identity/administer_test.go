package identity

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRotateEndsTheOldTokenAtOnce(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	g, old := create(t, a, Grant{})
	identified(t, a, old) // now it is cached
	rotated, token, err := a.Rotate(t.Context(), g.ID, 0)
	if err != nil || rotated.ID != g.ID || rotated.RotatedAt.IsZero() || token == old {
		t.Fatalf("%+v, %v", rotated, err)
	}
	if r := refusal(t, a, old); r.Code != Invalid || r.GrantID != "" {
		t.Errorf("%+v", r)
	}
	identified(t, a, token)
}

func TestRotateWithAnOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a, other := NewAuthenticator(m, Options{}), NewAuthenticator(m, Options{})
		g, first := create(t, a, Grant{})
		identified(t, other, first)
		_, second, err := a.Rotate(t.Context(), g.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		identified(t, a, first)
		identified(t, other, second)
		time.Sleep(time.Nanosecond)
		_ = refusal(t, a, first)
		_ = refusal(t, other, first)
		identified(t, a, second)

		// A further one ends the first token in any case.
		_, third, err := a.Rotate(t.Context(), g.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = a.Rotate(t.Context(), g.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		_ = refusal(t, a, second)
		identified(t, a, third)
		if _, err := a.Revoke(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		if r := refusal(t, a, third); r.Code != Revoked {
			t.Errorf("I9: the old token of a revoked grant: %+v", r)
		}
	})
}

func TestWhatCannotBeRotated(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	good, _ := create(t, a, Grant{})
	revoked, _ := create(t, a, Grant{})
	held, _ := create(t, a, Grant{Held: true})
	if _, err := a.Revoke(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id      string
		overlap time.Duration
		want    error
	}{
		{"nobody", 0, ErrNotFound},
		{revoked.ID, 0, ErrInvalidGrant},
		{held.ID, 0, ErrInvalidGrant},
		{good.ID, -1, ErrInvalidGrant},
		{good.ID, maxOverlap + 1, ErrInvalidGrant},
	} {
		if _, token, err := a.Rotate(t.Context(), c.id, c.overlap); !errors.Is(err, c.want) || token != "" {
			t.Errorf("%s %v: %q, %v", c.id, c.overlap, token, err)
		}
	}
}

// A grant below is used in the name of those above: they are not unused.
func TestUnusedGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator(&memory{}, Options{})
		grants, tokens := line(t, a, 2)
		idle, idleToken := create(t, a, Grant{})
		lonely, _ := create(t, a, Grant{Delegations: 1})
		below, _ := create(t, a, Grant{Parent: lonely.ID})
		expired, _ := create(t, a, Grant{ExpiresAt: time.Now().Add(time.Hour)})
		use := func(token string) {
			who, err := a.Identify(t.Context(), Evidence{BearerToken: token}, "stripe")
			if err != nil {
				t.Fatal(err)
			}
			a.Note(who, Seen, time.Now())
		}
		use(idleToken)
		time.Sleep(24 * time.Hour)
		since := time.Now()
		time.Sleep(24 * time.Hour)
		young, _ := create(t, a, Grant{})
		use(tokens[2]) // noted, and not written down yet
		unused, err := a.Unused(t.Context(), since, 100)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]string, len(unused))
		for i := range unused {
			got[i] = unused[i].ID
		}
		if want := []string{below.ID, lonely.ID, idle.ID}; !slices.Equal(got, want) {
			t.Errorf("unused %v, want %v (in use %s, young %s, expired %s)", got, want, grants[0].ID, young.ID, expired.ID)
		}
		if _, err := a.Unused(t.Context(), time.Now().Add(-time.Second), 100); !errors.Is(err, ErrTooNew) {
			t.Errorf("what other decision points have not written down yet: %v", err)
		}
	})
}

func TestUseAsksTheStoreOnlyWhereThereIsALimit(t *testing.T) {
	m := &memory{}
	a := NewAuthenticator(m, Options{})
	parent, token := create(t, a, Grant{Delegations: 1})
	who := func(token string) *Identity {
		t.Helper()
		w, err := a.Identify(t.Context(), Evidence{BearerToken: token}, "stripe")
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	if w := who(token); w.Limited() || a.Use(t.Context(), "d1", w) != nil || m.spendings != 0 {
		t.Errorf("%d spendings", m.spendings)
	}
	_, below := create(t, a, Grant{Parent: parent.ID, MaxUses: 1})
	w := who(below)
	if err := a.Use(t.Context(), "d2", w); err != nil || !w.Limited() || m.spendings != 1 {
		t.Errorf("%v, %d spendings", err, m.spendings)
	}
	if err := a.Use(t.Context(), "d3", w); !errors.Is(err, ErrUsedUp) {
		t.Errorf("a second use: %v", err)
	}
	for range 2 {
		if err := a.GiveBack(t.Context(), "d2"); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Use(t.Context(), "d4", w); err != nil {
		t.Errorf("after giving back: %v", err)
	}
	// I1: a store that is away counts nothing, and that is no use.
	m.set(func() { m.away = errors.New("gone") })
	if err := a.Use(t.Context(), "d5", w); err == nil || errors.Is(err, ErrUsedUp) {
		t.Errorf("%v", err)
	}
}
