package identity

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// line makes a grant of an administrator and a chain of so many below it.
func line(t *testing.T, a *Authenticator, below int) (grants []Grant, tokens []string) {
	t.Helper()
	parent := ""
	for i := range below + 1 {
		g := Grant{Subject: Subject{ID: fmt.Sprint("agent:", i)}, Parent: parent, Delegations: below - i}
		if parent == "" {
			g.Servers = []string{"stripe"}
		}
		g, token, err := a.Create(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		grants, tokens, parent = append(grants, g), append(tokens, token), g.ID
	}
	return grants, tokens
}

func TestIdentityHasTheGrantsAbove(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	grants, tokens := line(t, a, maxDelegations)
	who, err := a.Identify(t.Context(), Evidence{BearerToken: tokens[maxDelegations]}, "stripe")
	if err != nil {
		t.Fatal(err)
	}
	if who.Subject.ID != "agent:8" || who.RootID() != grants[0].ID || len(who.Chain()) != maxDelegations {
		t.Fatalf("%s, root %s, chain %v", who.Subject.ID, who.RootID(), who.Chain())
	}
	for i, id := range who.Chain() {
		if want := grants[maxDelegations-1-i].ID; id != want {
			t.Errorf("above %d: %s, want %s", i, id, want)
		}
	}
}

// I9: what was made from a grant ends with it, here when Revoke returns, whether
// or not the store has noted it at those below.
func TestI9_RevokingAGrantEndsAllBelowAtOnce(t *testing.T) {
	for _, onlyOne := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := NewAuthenticator(&memory{onlyOne: onlyOne}, Options{})
			grants, tokens := line(t, a, 4)
			for _, token := range tokens {
				identified(t, a, token) // now all are cached
			}
			if _, err := a.Revoke(t.Context(), grants[1].ID); err != nil {
				t.Fatal(err)
			}
			identified(t, a, tokens[0])
			for i, token := range tokens[1:] {
				if r := refusal(t, a, token); r.Code != Revoked || r.GrantID != grants[i+1].ID || r.Subject.ID != grants[i+1].Subject.ID {
					t.Errorf("%d below: %+v", i, r)
				}
			}
		})
	}
}

// I9, across processes that share a store: within a second, at any age of what is
// cached of any member.
func TestI9_AnotherProcessRevokesAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{onlyOne: true}
		here, there := NewAuthenticator(m, Options{}), NewAuthenticator(m, Options{})
		for wait := range 12 {
			grants, tokens := line(t, here, 3)
			for i := range 100 {
				identified(t, here, tokens[i%len(tokens)])
				time.Sleep(time.Duration(wait) * time.Millisecond)
			}
			if _, err := there.Revoke(t.Context(), grants[wait%3].ID); err != nil {
				t.Fatal(err)
			}
			at := time.Now()
			for {
				if _, err := here.Identify(t.Context(), Evidence{BearerToken: tokens[3]}, "stripe"); err != nil {
					break
				}
				if time.Since(at) >= time.Second {
					t.Fatal("still identified after a second")
				}
				time.Sleep(time.Millisecond)
			}
			if r := refusal(t, here, tokens[3]); r.Code != Revoked {
				t.Errorf("%+v", r)
			}
		}
	})
}

// I9 under load: no call below that begins after Revoke has returned is let
// through.
func TestI9_NoCallBelowPassesAfterRevokeUnderLoad(t *testing.T) {
	a := NewAuthenticator(&memory{onlyOne: true}, Options{})
	for range 30 {
		grants, tokens := line(t, a, 2)
		var revoked, stop atomic.Bool
		done := make(chan struct{})
		for range 3 {
			go func() {
				defer func() { done <- struct{}{} }()
				for !stop.Load() {
					before := revoked.Load()
					if _, err := a.Identify(context.Background(), Evidence{BearerToken: tokens[2]}, "stripe"); before && err == nil {
						t.Error("identified after the revocation")
						return
					}
				}
			}()
		}
		if _, err := a.Revoke(t.Context(), grants[0].ID); err != nil {
			t.Fatal(err)
		}
		revoked.Store(true)
		for range 50 {
			_ = refusal(t, a, tokens[2])
		}
		stop.Store(true)
		for range 3 {
			<-done
		}
	}
}

func TestI1_NobodyIsIdentifiedWhenAGrantAboveCannotBeRead(t *testing.T) {
	m := &memory{}
	a := NewAuthenticator(m, Options{})
	_, tokens := line(t, a, 1)
	gone := errors.New("gone")
	m.set(func() { m.onRead = func(Record) { m.set(func() { m.away = gone }) } }) // after the first
	who, err := a.Identify(t.Context(), Evidence{BearerToken: tokens[1]}, "stripe")
	if r := (*Refusal)(nil); who != nil || !errors.Is(err, gone) || errors.As(err, &r) {
		t.Errorf("%v, %v", who, err)
	}
}

// What no call of this package stores is no good: a missing grant above, a circle,
// a chain without end.
func TestI1_ChainsThatAreNone(t *testing.T) {
	m := &memory{}
	a := NewAuthenticator(m, Options{})
	g, token := create(t, a, Grant{})
	m.set(func() { m.records[0].Parent = "nobody" })
	if r := refusal(t, a, token); r.Code != Revoked || r.GrantID != g.ID {
		t.Errorf("%+v", r)
	}
	m.set(func() { m.records[0].Parent = g.ID })
	a.grants.forget(g.ID)
	if who, err := a.Identify(t.Context(), Evidence{BearerToken: token}, "stripe"); err == nil || who != nil {
		t.Errorf("a circle: %v", who)
	}
}

func TestTimesOfTheGrantsAboveCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator(&memory{}, Options{})
		begin := time.Now()
		parent, parentToken := create(t, a, Grant{Delegations: 1, NotBefore: begin.Add(time.Minute), ExpiresAt: begin.Add(time.Hour)})
		child, token := create(t, a, Grant{Parent: parent.ID})
		if !child.ExpiresAt.Equal(parent.ExpiresAt) || child.Servers[0] != "stripe" {
			t.Errorf("it has not what the grant above has: %+v", child)
		}
		for _, tk := range []string{parentToken, token} {
			if r := refusal(t, a, tk); r.Code != NotYetValid || r.Subject == nil {
				t.Errorf("%+v", r)
			}
		}
		time.Sleep(time.Minute - time.Nanosecond)
		_ = refusal(t, a, token)
		time.Sleep(time.Nanosecond)
		identified(t, a, token)
		time.Sleep(time.Hour)
		if r := refusal(t, a, token); r.Code != Expired {
			t.Errorf("%+v", r)
		}
	})
}

// T7: over random chains, of whatever could be made, nobody below may do what
// somebody above may not, and nobody may do anything below one that has ended.
func TestT7_GrantsOnlyNarrow(t *testing.T) {
	longest := 0
	defer func() {
		if longest < 3 {
			t.Errorf("no chain had more than %d levels", longest)
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		m := &memory{onlyOne: true}
		now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
		a := NewAuthenticator(m, Options{Now: func() time.Time { return now }})
		grants, tokens := drawChain(rt, a, now)
		last := len(grants) - 1
		longest = max(longest, last)
		who, err := a.Identify(t.Context(), Evidence{BearerToken: tokens[last]}, "a")
		if err != nil {
			rt.Fatal(err)
		}
		for _, name := range []string{"a", "b", "c", "read_x", "write_x", "x", ""} {
			for i := range grants {
				g := &grants[i]
				if who.CoversServer(name) && !g.CoversServer(name) || who.CoversTool(name) && !g.CoversTool(name) {
					rt.Fatalf("covers %q, which grant %d of %d does not: %+v", name, i, last, g)
				}
			}
		}
		for _, class := range effectClasses {
			for i := range grants {
				if who.CoversClass(class) && !grants[i].CoversClass(class) {
					rt.Fatalf("covers class %q, which grant %d of %d does not", class, i, last)
				}
			}
		}

		end := rapid.IntRange(0, last).Draw(rt, "which ends")
		switch rapid.SampledFrom([]string{"revoked", "expired", "used up"}).Draw(rt, "how") {
		case "revoked":
			if _, err := a.Revoke(t.Context(), grants[end].ID); err != nil {
				rt.Fatal(err)
			}
			_, err = a.Identify(t.Context(), Evidence{BearerToken: tokens[last]}, "a")
			if r := (*Refusal)(nil); !errors.As(err, &r) || r.Code != Revoked {
				rt.Fatalf("grant %d of %d was revoked: %v", end, last, err)
			}
		case "expired":
			m.set(func() { m.records[end].ExpiresAt = now })
			a.grants.forget(grants[end].ID)
			_, err = a.Identify(t.Context(), Evidence{BearerToken: tokens[last]}, "a")
			if r := (*Refusal)(nil); !errors.As(err, &r) || r.Code != Expired {
				rt.Fatalf("grant %d of %d has expired: %v", end, last, err)
			}
		case "used up":
			m.set(func() { m.records[end].MaxUses, m.records[end].Uses = 3, 3 })
			a.grants.forget(grants[end].ID)
			who, err := a.Identify(t.Context(), Evidence{BearerToken: tokens[last]}, "a")
			if err != nil {
				rt.Fatal(err)
			}
			if err := a.Use(t.Context(), "d", who); !errors.Is(err, ErrUsedUp) || !who.UsedUp() {
				rt.Fatalf("grant %d of %d is used up: %v", end, last, err)
			}
		}
	})
}

// drawChain makes a chain in which each holder asks for anything, and takes what it
// gets.
func drawChain(rt *rapid.T, a *Authenticator, now time.Time) (grants []Grant, tokens []string) {
	some := func(of ...string) *rapid.Generator[[]string] {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(of), 0, 3, rapid.ID)
	}
	draw := func(parent string) Grant {
		g := Grant{
			Subject: Subject{ID: "agent"}, Parent: parent, Servers: some("a", "b", "c", "*").Draw(rt, "servers"),
			Tools: some("read_*", "*_x", "?", "write_x").Draw(rt, "tools"), Classes: some("read", "write", "unknown").Draw(rt, "classes"),
			MaxUses: rapid.Int64Range(0, 20).Draw(rt, "uses"), Delegations: rapid.IntRange(0, maxDelegations).Draw(rt, "delegations"),
		}
		if rapid.Bool().Draw(rt, "expires") {
			g.ExpiresAt = now.Add(time.Duration(rapid.IntRange(1, 9).Draw(rt, "hours")) * time.Hour)
		}
		return g
	}
	root := draw("")
	root.Servers, root.Delegations = append(root.Servers, "a"), maxDelegations
	g, token, err := a.Create(rt.Context(), root)
	if err != nil {
		rt.Fatal(err)
	}
	grants, tokens = append(grants, g), append(tokens, token)
	for range rapid.IntRange(0, 12).Draw(rt, "levels") {
		want := draw(g.ID)
		if rapid.Bool().Draw(rt, "modest") { // so that chains get long
			want.Servers, want.Delegations, want.ExpiresAt = nil, g.Delegations-1, time.Time{}
			want.Classes, want.MaxUses = nil, min(want.MaxUses, g.MaxUses)
		}
		below, token, err := a.Create(rt.Context(), want)
		if err != nil {
			continue // it asked for too much
		}
		g = below
		grants, tokens = append(grants, g), append(tokens, token)
	}
	return grants, tokens
}
