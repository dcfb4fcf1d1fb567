package storetest

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/identity"
)

// made is a record of little, of a grant below another one or of none.
func made(id, parent string) identity.Record {
	return identity.Record{
		Grant: identity.Grant{
			ID: id, Subject: identity.Subject{ID: "agent:" + id, Type: identity.Agent}, Servers: []string{"*"}, Parent: parent, CreatedAt: start,
		},
		TokenDigest: sha256.Sum256([]byte(id)),
	}
}

func insert(t *testing.T, s Store, records ...identity.Record) {
	t.Helper()
	for _, r := range records {
		if err := s.InsertGrant(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// revokeEndsAllBelow has a tree of grants, one of which was revoked before.
func revokeEndsAllBelow(t *testing.T, open Database) {
	s := opened(t, open)
	insert(t, s, made("root", ""), made("a", "root"), made("b", "root"), made("a1", "a"), made("a2", "a"), made("other", ""))
	first, second := start.Add(time.Minute), start.Add(time.Hour)
	must[identity.Grant](t)(s.RevokeGrant(t.Context(), "a1", first))
	must[identity.Grant](t)(s.RevokeGrant(t.Context(), "a", second))
	for id, want := range map[string]time.Time{"root": {}, "a": second, "b": {}, "a1": first, "a2": second, "other": {}} {
		if got := must[identity.Record](t)(s.Grant(t.Context(), id)).RevokedAt; !got.Equal(want) {
			t.Errorf("%s: revoked at %v, want %v", id, got, want)
		}
	}
}

func grantsBySubjectAndParent(t *testing.T, open Database) {
	s := opened(t, open)
	second := made("a2", "root")
	second.Subject.ID = "agent:a1"
	insert(t, s, made("root", ""), made("a1", "root"), second, made("a11", "a1"))
	must[identity.Grant](t)(s.RevokeGrant(t.Context(), "a2", start))
	for _, c := range []struct {
		q    identity.Query
		want []string
	}{
		{identity.Query{Limit: 9, Parent: "root"}, []string{"a2", "a1"}},
		{identity.Query{Limit: 1, Parent: "root"}, []string{"a2"}},
		{identity.Query{Limit: 9, Parent: "root", ActiveAt: start}, []string{"a1"}},
		{identity.Query{Limit: 9, Subject: "agent:a1"}, []string{"a2", "a1"}},
		{identity.Query{Limit: 9, Subject: "agent:a1", Parent: "a1"}, nil},
		{identity.Query{Limit: 9, Parent: "nobody"}, nil},
	} {
		equal(t, "selected", ids(must[[]identity.Grant](t)(s.Grants(t.Context(), c.q))), c.want)
	}
}

// unusedGrants has grants that were used, that never were, that were made later,
// and that could not have been used yet.
func unusedGrants(t *testing.T, open Database) {
	s := opened(t, open)
	since := start.Add(time.Hour)
	late, waiting, early := made("late", ""), made("waiting", ""), made("early", "")
	late.CreatedAt, waiting.NotBefore, early.NotBefore = since, since.Add(time.Minute), start.Add(time.Minute)
	insert(t, s, made("never", ""), made("used", ""), made("long ago", ""), late, waiting, early)
	if err := s.NoteUsage(t.Context(), []identity.Usage{
		{GrantID: "long ago", Calls: 1, LastUsedAt: since.Add(-time.Microsecond)},
		{GrantID: "used", Denials: 1, LastUsedAt: since},
	}); err != nil {
		t.Fatal(err)
	}
	got := must[[]identity.Grant](t)(s.Grants(t.Context(), identity.Query{Limit: 9, UnusedSince: since}))
	equal(t, "unused", ids(got), []string{"early", "long ago", "never"})
	must[identity.Grant](t)(s.RevokeGrant(t.Context(), "never", start))
	got = must[[]identity.Grant](t)(s.Grants(t.Context(), identity.Query{Limit: 9, UnusedSince: since, ActiveAt: start}))
	equal(t, "unused and active", ids(got), []string{"early", "long ago"})
}

func heldGrants(t *testing.T, open Database) {
	s := opened(t, open)
	held := func(id string) identity.Record {
		r := made(id, "")
		r.Subject.ID, r.Held, r.TokenDigest = "ada", true, [32]byte{}
		return r
	}
	expired, another := held("expired"), held("another's")
	expired.ExpiresAt, another.Subject.ID = start.Add(time.Minute), "bob"
	withToken := made("with a token", "")
	withToken.Subject.ID = "ada"
	insert(t, s, held("first"), expired, another, withToken, held("revoked"), held("last"))
	must[identity.Grant](t)(s.RevokeGrant(t.Context(), "revoked", start))
	equal(t, "held", must[[]string](t)(s.HeldGrants(t.Context(), "ada", start.Add(time.Minute))), []string{"last", "first"})
	equal(t, "before the end", must[[]string](t)(s.HeldGrants(t.Context(), "ada", start)), []string{"last", "expired", "first"})
	equal(t, "nobody's", must[[]string](t)(s.HeldGrants(t.Context(), "eve", start)), []string(nil))
}

func rotateKeepsTheOldToken(t *testing.T, open Database) {
	s := opened(t, open)
	want := made("g", "")
	insert(t, s, want)
	rotate := func(token string, at, until time.Time) {
		t.Helper()
		r := identity.Rotation{TokenDigest: sha256.Sum256([]byte(token)), At: at, Until: until}
		want.PreviousDigest, want.PreviousUntil = [32]byte{}, until
		if !until.IsZero() {
			want.PreviousDigest = want.TokenDigest
		}
		want.TokenDigest, want.RotatedAt = r.TokenDigest, at
		equal(t, "rotated", must[identity.Grant](t)(s.RotateGrant(t.Context(), "g", r)), want.Grant)
		equal(t, "read", must[identity.Record](t)(s.Grant(t.Context(), "g")), want)
	}
	rotate("second", start.Add(time.Minute), start.Add(time.Hour))
	rotate("third", start.Add(2*time.Minute), start.Add(2*time.Hour))
	rotate("fourth", start.Add(3*time.Minute), time.Time{}) // at once
}

func whatCannotBeRotated(t *testing.T, open Database) {
	s := opened(t, open)
	held := made("held", "")
	held.Held = true
	insert(t, s, made("revoked", ""), held)
	must[identity.Grant](t)(s.RevokeGrant(t.Context(), "revoked", start))
	for _, id := range []string{"revoked", "held", "nobody"} {
		before, _ := s.Grant(t.Context(), id)
		if _, err := s.RotateGrant(t.Context(), id, identity.Rotation{TokenDigest: sha256.Sum256([]byte("new")), At: start}); !errors.Is(err, identity.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", id, err)
		}
		after, _ := s.Grant(t.Context(), id)
		equal(t, id, after, before)
	}
}
