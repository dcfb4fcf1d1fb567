package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/identity"
)

// grant is a record with something in every field.
func grant(id string) identity.Record {
	return identity.Record{
		Grant: identity.Grant{
			ID:          id,
			Subject:     identity.Subject{ID: "agent:" + id, Type: identity.Agent, Groups: []string{"ops", "naïve – ok"}},
			Owner:       "olga",
			Servers:     []string{"stripe", "files"},
			Tools:       []string{"create_*", "get_?"},
			Labels:      map[string]string{"team": "payments", "empty": "", `quote"'`: "a,b;c"},
			Classes:     []string{"read", "write"},
			Policies:    []string{"office_hours"},
			MaxUses:     7,
			BoundTo:     []string{"sha256:00", "spiffe://example/a"},
			Held:        true,
			Parent:      "above " + id,
			Delegations: 3,
			CreatedAt:   start,
			NotBefore:   start.Add(time.Minute),
			ExpiresAt:   start.Add(time.Hour),
			RotatedAt:   start.Add(time.Second),
		},
		TokenDigest:    sha256.Sum256([]byte("token of " + id)),
		PreviousDigest: sha256.Sum256([]byte("older token of " + id)),
		PreviousUntil:  start.Add(2 * time.Minute),
	}
}

func grantRoundTrip(t *testing.T, open Database) {
	s := opened(t, open)
	full := grant("full")
	bare := identity.Record{
		Grant: identity.Grant{
			ID: "bare", Subject: identity.Subject{ID: "x", Type: identity.Person}, Servers: []string{"*"}, CreatedAt: start,
		},
		TokenDigest: sha256.Sum256([]byte("bare")),
	}
	for _, want := range []identity.Record{full, bare} {
		if err := s.InsertGrant(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		got := must[identity.Record](t)(s.Grant(t.Context(), want.ID))
		equal(t, want.ID, got, want)
	}
}

func grantIDsAreUnique(t *testing.T, open Database) {
	s := opened(t, open)
	first, second := grant("one"), grant("one")
	second.TokenDigest = sha256.Sum256([]byte("another token"))
	if err := s.InsertGrant(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := s.InsertGrant(t.Context(), second); err == nil {
		t.Error("a second grant of the same id was stored")
	}
	got := must[identity.Record](t)(s.Grant(t.Context(), "one"))
	equal(t, "the first grant", got, first)
}

func unknownGrant(t *testing.T, open Database) {
	s := opened(t, open)
	if _, err := s.Grant(t.Context(), "nobody"); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("Grant: %v, want ErrNotFound", err)
	}
	if _, err := s.RevokeGrant(t.Context(), "nobody", start); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("RevokeGrant: %v, want ErrNotFound", err)
	}
}

// grantsNewestFirst stores grants of one and the same time: the order is that
// of creation all the same.
func grantsNewestFirst(t *testing.T, open Database) {
	s := opened(t, open)
	for i := range 5 {
		if err := s.InsertGrant(t.Context(), grant(fmt.Sprint("g", i))); err != nil {
			t.Fatal(err)
		}
	}
	all := must[[]identity.Grant](t)(s.Grants(t.Context(), identity.Query{Limit: 100}))
	equal(t, "all", ids(all), []string{"g4", "g3", "g2", "g1", "g0"})
	equal(t, "the newest", all[0], grant("g4").Grant)
	some := must[[]identity.Grant](t)(s.Grants(t.Context(), identity.Query{Limit: 2}))
	equal(t, "two", ids(some), []string{"g4", "g3"})
}

func activeGrants(t *testing.T, open Database) {
	s := opened(t, open)
	never := grant("never")
	never.ExpiresAt = time.Time{}
	for _, r := range []identity.Record{grant("expires"), never, grant("revoked")} {
		if err := s.InsertGrant(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	must[identity.Grant](t)(s.RevokeGrant(t.Context(), "revoked", start.Add(time.Minute)))

	for _, c := range []struct {
		what string
		at   time.Time
		want []string
	}{
		{"before the end", start.Add(time.Hour - time.Microsecond), []string{"never", "expires"}},
		{"at the end", start.Add(time.Hour), []string{"never"}},
		{"all", time.Time{}, []string{"revoked", "never", "expires"}},
	} {
		got := must[[]identity.Grant](t)(s.Grants(t.Context(), identity.Query{Limit: 100, ActiveAt: c.at}))
		equal(t, c.what, ids(got), c.want)
	}
	// The limit counts what is returned, not what is passed over.
	got := must[[]identity.Grant](t)(s.Grants(t.Context(), identity.Query{Limit: 1, ActiveAt: start}))
	equal(t, "one active", ids(got), []string{"never"})
}

func revokeKeepsTheFirstTime(t *testing.T, open Database) {
	s := opened(t, open)
	want := grant("g")
	if err := s.InsertGrant(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	want.RevokedAt = start.Add(time.Minute)
	first := must[identity.Grant](t)(s.RevokeGrant(t.Context(), "g", want.RevokedAt))
	equal(t, "revoked", first, want.Grant)
	second := must[identity.Grant](t)(s.RevokeGrant(t.Context(), "g", start.Add(time.Hour)))
	equal(t, "revoked again", second, want.Grant)
	equal(t, "read", must[identity.Record](t)(s.Grant(t.Context(), "g")), want)
}

// separatorsDoNotCollide stores ids that a careless key would take for one
// another.
func separatorsDoNotCollide(t *testing.T, open Database) {
	s := opened(t, open)
	names := []string{"a", "a:b", "a/b", "a'b", `a"b`, "a%", "a_", "A", "a\x00b", "a ", "ä"}
	for _, id := range names {
		if err := s.InsertGrant(t.Context(), grant(id)); err != nil {
			t.Fatalf("%q: %v", id, err)
		}
	}
	for _, id := range names {
		equal(t, id, must[identity.Record](t)(s.Grant(t.Context(), id)), grant(id))
	}
}

// concurrentUse has writers and readers at it together; a read that follows an
// answered write sees it.
func concurrentUse(t *testing.T, open Database) {
	s := opened(t, open)
	const workers, each = 8, 10
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				r := grant(fmt.Sprintf("w%d-%d", w, i))
				if err := s.InsertGrant(t.Context(), r); err != nil {
					t.Errorf("insert: %v", err)
					return
				}
				if got, err := s.Grant(t.Context(), r.ID); err != nil || got.TokenDigest != r.TokenDigest {
					t.Errorf("read after write: %v", err)
				}
				if g, err := s.RevokeGrant(t.Context(), r.ID, start); err != nil || g.RevokedAt.IsZero() {
					t.Errorf("revoke: %v", err)
				}
				if got, err := s.Grant(t.Context(), r.ID); err != nil || got.RevokedAt.IsZero() {
					t.Errorf("read after revoke: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got := must[[]identity.Grant](t)(s.Grants(t.Context(), identity.Query{Limit: 1000})); len(got) != workers*each {
		t.Errorf("%d grants, want %d", len(got), workers*each)
	}
}

func ids(list []identity.Grant) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].ID
	}
	return out
}
