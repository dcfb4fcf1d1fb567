package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/identity"
)

// limited is a record of a grant with so many uses.
func limited(id string, uses int64) identity.Record {
	r := made(id, "")
	r.MaxUses = uses
	return r
}

func spending(decision string, grants ...string) identity.Spending {
	return identity.Spending{Decision: decision, Grants: grants, At: start, ExpiresAt: start.Add(time.Hour)}
}

func uses(t *testing.T, s Store, want map[string]int64) {
	t.Helper()
	for id, n := range want {
		if got := must[identity.Record](t)(s.Grant(t.Context(), id)).Uses; got != n {
			t.Errorf("%s: %d uses, want %d", id, got, n)
		}
	}
}

// spendAllOrNothing spends of two grants, of which the second has less.
func spendAllOrNothing(t *testing.T, open Database) {
	s := opened(t, open)
	insert(t, s, limited("a", 5), limited("b", 2))
	for i := range 2 {
		if err := s.SpendGrants(t.Context(), spending(fmt.Sprint("d", i), "a", "b")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SpendGrants(t.Context(), spending("d2", "a", "b")); !errors.Is(err, identity.ErrUsedUp) {
		t.Errorf("a third use: %v, want ErrUsedUp", err)
	}
	uses(t, s, map[string]int64{"a": 2, "b": 2})
	if err := s.SpendGrants(t.Context(), spending("d3", "a")); err != nil {
		t.Error(err)
	}
	uses(t, s, map[string]int64{"a": 3, "b": 2})
}

func giveBackOnce(t *testing.T, open Database) {
	s := opened(t, open)
	insert(t, s, limited("a", 5), limited("b", 1))
	if err := s.SpendGrants(t.Context(), spending("one", "a", "b")); err != nil {
		t.Fatal(err)
	}
	if err := s.SpendGrants(t.Context(), spending("two", "a")); err != nil {
		t.Fatal(err)
	}
	for _, decision := range []string{"nobody's", "one", "one"} {
		if err := s.GiveBackGrants(t.Context(), decision); err != nil {
			t.Errorf("%s: %v", decision, err)
		}
	}
	uses(t, s, map[string]int64{"a": 1, "b": 0})
	if err := s.SpendGrants(t.Context(), spending("three", "a", "b")); err != nil {
		t.Errorf("what was given back cannot be used: %v", err)
	}
	// What nobody can give back any more is forgotten.
	later := spending("four", "a")
	later.At, later.ExpiresAt = start.Add(2*time.Hour), start.Add(3*time.Hour)
	if err := s.SpendGrants(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if err := s.GiveBackGrants(t.Context(), "three"); err != nil {
		t.Error(err)
	}
	uses(t, s, map[string]int64{"a": 3, "b": 1})
}

// concurrentUsesAreExact has many callers at two grants at once, each of which they
// name in the same order, some giving back: as many uses as there may be pass.
func concurrentUsesAreExact(t *testing.T, open Database) {
	s := opened(t, open)
	const most, callers, each = 40, 16, 8
	insert(t, s, limited("a", most), limited("b", 1000))
	var spent atomic.Int64
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				decision := fmt.Sprintf("d%d-%d", c, i)
				err := s.SpendGrants(t.Context(), spending(decision, "a", "b"))
				switch {
				case errors.Is(err, identity.ErrUsedUp):
				case err != nil:
					t.Errorf("spend: %v", err)
				case i%4 == 0:
					if err := s.GiveBackGrants(t.Context(), decision); err != nil {
						t.Errorf("give back: %v", err)
					}
				default:
					spent.Add(1)
				}
				if err := s.NoteUsage(t.Context(), []identity.Usage{{GrantID: "a", Calls: 1, LastUsedAt: start}, {GrantID: "b", Calls: 1, LastUsedAt: start}}); err != nil {
					t.Errorf("note: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := spent.Load(); n > most {
		t.Errorf("%d uses of %d", n, most)
	}
	uses(t, s, map[string]int64{"a": spent.Load(), "b": spent.Load()})
	for i := range most {
		err := s.SpendGrants(t.Context(), spending(fmt.Sprint("rest", i), "a"))
		if want := int64(i) < most-spent.Load(); (err == nil) != want {
			t.Fatalf("use %d of %d that are left: %v", i+1, most-spent.Load(), err)
		}
		if err != nil {
			break
		}
	}
	if got := must[identity.Record](t)(s.Grant(t.Context(), "b")).Calls; got != callers*each {
		t.Errorf("%d calls are noted, want %d", got, callers*each)
	}
}

// usesOverTwoAuthenticators has 64 callers at two decision points on one store, and
// at a grant and two below it: 100 uses are 100.
func usesOverTwoAuthenticators(t *testing.T, open Database) {
	s := opened(t, open)
	points := []*identity.Authenticator{identity.NewAuthenticator(s, identity.Options{}), identity.NewAuthenticator(s, identity.Options{})}
	const most, callers, each = 100, 64, 3
	grant := func(g identity.Grant) (identity.Grant, string) {
		t.Helper()
		g.Subject = identity.Subject{ID: "agent:1"}
		g, token, err := points[0].Create(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		return g, token
	}
	root, token := grant(identity.Grant{Servers: []string{"*"}, MaxUses: most, Delegations: 1})
	_, below := grant(identity.Grant{Parent: root.ID, MaxUses: most})
	_, unlimited := grant(identity.Grant{Parent: root.ID})
	tokens := []string{token, below, unlimited}

	var passed atomic.Int64
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				point := points[(c+i)%len(points)]
				who, err := point.Identify(t.Context(), identity.Evidence{BearerToken: tokens[(c+i)%len(tokens)]}, "stripe")
				if err != nil {
					t.Errorf("identify: %v", err)
					return
				}
				switch err := point.Use(t.Context(), fmt.Sprintf("d%d-%d", c, i), who); {
				case err == nil:
					passed.Add(1)
				case !errors.Is(err, identity.ErrUsedUp):
					t.Errorf("use: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := passed.Load(); n != most {
		t.Errorf("%d uses of %d", n, most)
	}
}

func usageAddsUp(t *testing.T, open Database) {
	s := opened(t, open)
	insert(t, s, made("g", ""), made("h", ""))
	for _, usage := range [][]identity.Usage{
		nil,
		{{GrantID: "g", Calls: 3, Denials: 1, LastUsedAt: start.Add(time.Minute)}, {GrantID: "gone", Calls: 1, LastUsedAt: start}},
		{{GrantID: "g", Calls: 2, LastUsedAt: start}}, // of a decision point that was late
	} {
		if err := s.NoteUsage(t.Context(), usage); err != nil {
			t.Fatal(err)
		}
	}
	want := made("g", "")
	want.Calls, want.Denials, want.LastUsedAt = 5, 1, start.Add(time.Minute)
	equal(t, "used", must[identity.Record](t)(s.Grant(t.Context(), "g")), want)
	equal(t, "not used", must[identity.Record](t)(s.Grant(t.Context(), "h")), made("h", ""))
}
