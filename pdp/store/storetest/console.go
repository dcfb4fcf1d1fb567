package storetest

import (
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/signin"
)

func someone(id string) signin.Person {
	return signin.Person{ID: id, Name: "Ada – " + id, Groups: []string{"finance", `a"b`}, Role: signin.Approver, Configured: true}
}

func link(secret string) signin.Link {
	return signin.Link{Digest: sha256.Sum256([]byte(secret)), Person: someone(secret), ExpiresAt: start.Add(10 * time.Minute)}
}

func session(secret string) signin.Session {
	return signin.Session{Digest: sha256.Sum256([]byte(secret)), Person: someone(secret), CreatedAt: start, ExpiresAt: start.Add(time.Hour)}
}

func signInLinkIsTakenOnce(t *testing.T, open Database) {
	s := opened(t, open)
	want := link("one")
	if err := s.InsertSignInLink(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if _, err := s.TakeSignInLink(t.Context(), link("another").Digest, start); !errors.Is(err, signin.ErrNotFound) {
		t.Errorf("another link: %v, want ErrNotFound", err)
	}
	equal(t, "link", must[signin.Link](t)(s.TakeSignInLink(t.Context(), want.Digest, start)), want)
	if _, err := s.TakeSignInLink(t.Context(), want.Digest, start); !errors.Is(err, signin.ErrNotFound) {
		t.Errorf("the second time: %v, want ErrNotFound", err)
	}
}

func concurrentTakersOfOneLink(t *testing.T, open Database) {
	s := opened(t, open)
	l := link("one")
	if err := s.InsertSignInLink(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	var got atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			switch _, err := s.TakeSignInLink(t.Context(), l.Digest, start); {
			case err == nil:
				got.Add(1)
			case !errors.Is(err, signin.ErrNotFound):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got.Load() != 1 {
		t.Errorf("%d got the link, want 1", got.Load())
	}
}

func signInLinkExpires(t *testing.T, open Database) {
	s := opened(t, open)
	for secret, c := range map[string]struct {
		at   time.Time
		good bool
	}{
		"before":      {start.Add(10*time.Minute - time.Microsecond), true},
		"at the time": {start.Add(10 * time.Minute), false},
	} {
		if err := s.InsertSignInLink(t.Context(), link(secret)); err != nil {
			t.Fatal(err)
		}
		_, err := s.TakeSignInLink(t.Context(), link(secret).Digest, c.at)
		if (err == nil) != c.good || err != nil && !errors.Is(err, signin.ErrNotFound) {
			t.Errorf("%s: %v", secret, err)
		}
	}
}

func sessionRoundTrip(t *testing.T, open Database) {
	s := opened(t, open)
	full := session("full")
	bare := signin.Session{Digest: sha256.Sum256(nil), Person: signin.Person{ID: "x"}, CreatedAt: start, ExpiresAt: start.Add(time.Second)}
	for _, want := range []signin.Session{full, bare} {
		if err := s.InsertSession(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		equal(t, want.Person.ID, must[signin.Session](t)(s.Session(t.Context(), want.Digest, start)), want)
	}
	if err := s.InsertSession(t.Context(), full); err == nil {
		t.Error("two sessions of one secret were stored")
	}
}

func sessionEnds(t *testing.T, open Database) {
	s := opened(t, open)
	n, other := session("one"), session("other")
	for _, n := range []signin.Session{n, other} {
		if err := s.InsertSession(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	must[signin.Session](t)(s.Session(t.Context(), n.Digest, n.ExpiresAt.Add(-time.Microsecond)))
	if _, err := s.Session(t.Context(), n.Digest, n.ExpiresAt); !errors.Is(err, signin.ErrNotFound) {
		t.Errorf("expired: %v, want ErrNotFound", err)
	}
	for range 2 {
		if err := s.DeleteSession(t.Context(), n.Digest); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Session(t.Context(), n.Digest, start); !errors.Is(err, signin.ErrNotFound) {
			t.Errorf("deleted: %v, want ErrNotFound", err)
		}
	}
	must[signin.Session](t)(s.Session(t.Context(), other.Digest, start))
}

// expiredSecretsAreOfNoUse stores a session long after others have expired, so
// that they may be removed; those that have not expired stay.
func expiredSecretsAreOfNoUse(t *testing.T, open Database) {
	s := opened(t, open)
	if err := errors.Join(s.InsertSession(t.Context(), session("old")), s.InsertSignInLink(t.Context(), link("old"))); err != nil {
		t.Fatal(err)
	}
	young := session("young")
	young.CreatedAt, young.ExpiresAt = start.Add(30*time.Minute), start.Add(2*time.Hour)
	if err := s.InsertSession(t.Context(), young); err != nil {
		t.Fatal(err)
	}
	must[signin.Session](t)(s.Session(t.Context(), session("old").Digest, young.CreatedAt))
	if _, err := s.TakeSignInLink(t.Context(), link("old").Digest, young.CreatedAt); !errors.Is(err, signin.ErrNotFound) {
		t.Errorf("the old link: %v, want ErrNotFound", err)
	}
}
