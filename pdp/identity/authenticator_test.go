package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func create(t *testing.T, a *Authenticator, g Grant) (Grant, string) {
	t.Helper()
	if g.Subject.ID == "" {
		g.Subject.ID = "agent:1"
	}
	if g.Servers == nil {
		g.Servers = []string{"stripe"}
	}
	g, token, err := a.Create(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return g, token
}

// refusal identifies and expects to be refused.
func refusal(t *testing.T, a *Authenticator, token string) *Refusal {
	t.Helper()
	g, err := a.Identify(t.Context(), Evidence{BearerToken: token, Peer: "192.0.2.1:1"}, "stripe")
	var r *Refusal
	if !errors.As(err, &r) || g != nil {
		t.Fatalf("grant %v, error %v; want a refusal", g, err)
	}
	return r
}

func identified(t *testing.T, a *Authenticator, token string) *Grant {
	t.Helper()
	who, err := a.Identify(t.Context(), Evidence{BearerToken: token}, "stripe")
	if err != nil {
		t.Fatal(err)
	}
	return who.Grant
}

func TestIdentify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator(&memory{}, Options{})
		want, token := create(t, a, Grant{
			Subject: Subject{ID: "person:ü", Type: Person, Groups: []string{"finance"}},
			Servers: []string{"stripe", "files"}, Tools: []string{"get_*"},
			Labels: map[string]string{"team": "a"}, ExpiresAt: time.Now().Add(time.Hour),
		})
		if diff := cmp.Diff(&want, identified(t, a, token)); diff != "" {
			t.Errorf("grant (-want +got):\n%s", diff)
		}
	})
}

func TestASubjectWithoutATypeIsAnAgent(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	_, token := create(t, a, Grant{})
	if got := identified(t, a, token).Subject.Type; got != Agent {
		t.Errorf("type %q", got)
	}
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a := NewAuthenticator(m, Options{})
		expiring, expiringToken := create(t, a, Grant{ExpiresAt: time.Now().Add(time.Minute)})
		revoked, revokedToken := create(t, a, Grant{Subject: Subject{ID: "revoked"}})
		if _, err := a.Revoke(t.Context(), revoked.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)

		if r := refusal(t, a, ""); r.Code != Missing || r.Subject != nil {
			t.Errorf("no token: %+v", r)
		}
		if r := refusal(t, a, "mcpg_nonsense"); r.Code != Invalid || r.Subject != nil {
			t.Errorf("malformed: %+v", r)
		}
		_, unknown := newToken()
		if r := refusal(t, a, unknown); r.Code != Invalid || r.Subject != nil || r.GrantID != "" {
			t.Errorf("unknown: %+v", r)
		}
		if r := refusal(t, a, expiringToken); r.Code != Expired || r.Subject.ID != "agent:1" || r.GrantID != expiring.ID {
			t.Errorf("expired: %+v", r)
		}
		if r := refusal(t, a, revokedToken); r.Code != Revoked || r.Subject.ID != "revoked" || r.GrantID != revoked.ID {
			t.Errorf("revoked: %+v", r)
		}
	})
}

// I10: whoever knows a grant's public id, and how to make a checksum, has
// proven nothing, and the refusal says nothing of the grant.
func TestI10_TheIdAloneProvesNothing(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	g, token := create(t, a, Grant{})
	revoked, _ := create(t, a, Grant{})
	if _, err := a.Revoke(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{g.ID, revoked.ID} {
		body := tokenPrefix + id + randomBase62(secretLen)
		r := refusal(t, a, body+checksum(body))
		if r.Code != Invalid || r.Subject != nil || r.GrantID != "" {
			t.Errorf("forged: %+v", r)
		}
	}
	identified(t, a, token) // the cached record is that of the grant, not of whoever asked first
}

// I10: what the network says of the peer does not make an identity.
func TestI10_PeerIsNoIdentity(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	create(t, a, Grant{})
	_, err := a.Identify(t.Context(), Evidence{Peer: "127.0.0.1:1", PeerCertificates: [][]byte{{1}}}, "stripe")
	var r *Refusal
	if !errors.As(err, &r) || r.Code != Missing {
		t.Errorf("error %v", err)
	}
}

// A grant ends at the instant of its expiry, also while it is cached.
func TestExpiryIsToTheInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator(&memory{}, Options{})
		_, token := create(t, a, Grant{ExpiresAt: time.Now().Add(100 * time.Millisecond)})
		time.Sleep(100*time.Millisecond - time.Nanosecond)
		identified(t, a, token)
		time.Sleep(time.Nanosecond)
		if r := refusal(t, a, token); r.Code != Expired {
			t.Errorf("%+v", r)
		}
	})
}

func TestMalformedTokensDoNotReachTheStore(t *testing.T) {
	m := &memory{}
	a := NewAuthenticator(m, Options{})
	_, token := create(t, a, Grant{})
	for i := range len(token) {
		_ = refusal(t, a, token[:i])
	}
	if n := m.readCount(); n != 0 {
		t.Errorf("%d reads", n)
	}
}

// However many calls come, the store is asked a few times a second.
func TestIdentifyDoesNotAskTheStoreEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a := NewAuthenticator(m, Options{})
		_, token := create(t, a, Grant{})
		for range 10_000 {
			identified(t, a, token)
			time.Sleep(time.Millisecond)
		}
		if n := m.readCount(); n > 10*3 {
			t.Errorf("%d reads in 10 seconds", n)
		}
	})
}

// I9, within one process: from the moment that Revoke has returned.
func TestI9_RevokeIsEffectiveWhenItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator(&memory{}, Options{})
		g, token := create(t, a, Grant{})
		identified(t, a, token) // now it is cached
		if _, err := a.Revoke(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		if r := refusal(t, a, token); r.Code != Revoked {
			t.Errorf("%+v", r)
		}
	})
}

// I9, the hard case: a read that began before the revocation, and comes back
// after it, must not bring the grant to life again.
func TestI9_ALateReadDoesNotUndoARevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a := NewAuthenticator(m, Options{})
		g, token := create(t, a, Grant{})

		hold := make(chan struct{})
		var first atomic.Bool
		m.set(func() {
			m.onRead = func(Record) {
				if first.CompareAndSwap(false, true) {
					<-hold
				}
			}
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			// Its call is concurrent with the revocation: either answer would do.
			_, _ = a.Identify(context.Background(), Evidence{BearerToken: token}, "stripe")
		})
		synctest.Wait() // the read has the unrevoked record in its hands
		if _, err := a.Revoke(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		close(hold)
		wg.Wait()
		if r := refusal(t, a, token); r.Code != Revoked {
			t.Errorf("%+v", r)
		}
	})
}

// I9 under load: no call that begins after Revoke has returned is let through.
func TestI9_NoCallPassesAfterRevokeUnderLoad(t *testing.T) {
	m := &memory{}
	a := NewAuthenticator(m, Options{})
	for range 50 {
		g, token := create(t, a, Grant{})
		var revoked, stop atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for !stop.Load() {
					before := revoked.Load()
					_, err := a.Identify(context.Background(), Evidence{BearerToken: token}, "stripe")
					if before && err == nil {
						t.Error("identified after the revocation")
						return
					}
				}
			})
		}
		if _, err := a.Revoke(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		revoked.Store(true)
		for range 100 {
			_ = refusal(t, a, token)
		}
		stop.Store(true)
		wg.Wait()
	}
}

// I9, across processes that share a store: within a second.
func TestI9_AnotherProcessRevokes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		here, there := NewAuthenticator(m, Options{}), NewAuthenticator(m, Options{})
		g, token := create(t, here, Grant{})
		for begin := range 100 { // at any age of the cached entry
			_ = begin
			identified(t, here, token)
			time.Sleep(7 * time.Millisecond)
		}
		identified(t, here, token)
		if _, err := there.Revoke(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		at := time.Now()
		for {
			_, err := here.Identify(t.Context(), Evidence{BearerToken: token}, "stripe")
			if err != nil {
				break
			}
			if time.Since(at) >= time.Second {
				t.Fatal("still identified after a second")
			}
			time.Sleep(time.Millisecond)
		}
		if r := refusal(t, here, token); r.Code != Revoked {
			t.Errorf("%+v", r)
		}
	})
}

// While the store is away, grants in use hold for less than a second; then,
// and for all others at once, nobody can be identified, and that is no refusal.
func TestI1_NobodyIsIdentifiedWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		a := NewAuthenticator(m, Options{})
		_, used := create(t, a, Grant{})
		_, unused := create(t, a, Grant{})
		identified(t, a, used)
		gone := errors.New("gone")
		m.set(func() { m.away = gone })

		check := func(token string) {
			t.Helper()
			g, err := a.Identify(t.Context(), Evidence{BearerToken: token}, "stripe")
			if r := (*Refusal)(nil); g != nil || !errors.Is(err, gone) || errors.As(err, &r) {
				t.Errorf("grant %v, error %v", g, err)
			}
		}
		check(unused)
		time.Sleep(700 * time.Millisecond)
		identified(t, a, used)
		time.Sleep(300 * time.Millisecond)
		check(used)

		m.set(func() { m.away = nil })
		identified(t, a, used)
		identified(t, a, unused)
	})
}

// A failed revocation may have happened all the same: what is cached is not
// relied on.
func TestAFailedRevokeForgetsWhatIsCached(t *testing.T) {
	m := &memory{}
	a := NewAuthenticator(m, Options{})
	g, token := create(t, a, Grant{})
	identified(t, a, token)
	m.set(func() { m.away = errors.New("the answer was lost"); m.records[0].RevokedAt = time.Now() })
	if _, err := a.Revoke(t.Context(), g.ID); err == nil {
		t.Fatal("no error")
	}
	m.set(func() { m.away = nil })
	if r := refusal(t, a, token); r.Code != Revoked {
		t.Errorf("%+v", r)
	}
}

// A clock that is set back does not make an old entry fresh.
func TestAClockThatIsSetBack(t *testing.T) {
	m := &memory{}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	a := NewAuthenticator(m, Options{Now: func() time.Time { return now }})
	_, token := create(t, a, Grant{})
	identified(t, a, token)
	now = now.Add(-time.Hour)
	m.set(func() { m.records[0].RevokedAt = now })
	if r := refusal(t, a, token); r.Code != Revoked {
		t.Errorf("%+v", r)
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(func(context.Context, string) (int, error) { return 0, nil }, time.Now)
		put := func(n int, prefix string) {
			for i := range n {
				c.put(fmt.Sprint(prefix, i), &entry[int]{readAt: time.Now()}, 0)
			}
		}
		put(maxCached, "old")
		time.Sleep(staleness)
		put(1, "new") // the old ones have run out and make room
		if n := c.size.Load(); n != 1 {
			t.Errorf("%d entries, want 1", n)
		}
		put(2*maxCached, "fresh")
		entries := 0
		c.entries.Range(func(any, any) bool { entries++; return true })
		if entries > maxCached || int64(entries) != c.size.Load() {
			t.Errorf("%d entries, counted %d, at most %d", entries, c.size.Load(), maxCached)
		}
	})
}

func TestCreateRefusesAndStoresNothing(t *testing.T) {
	m := &memory{}
	a := NewAuthenticator(m, Options{})
	g, token, err := a.Create(t.Context(), Grant{Subject: Subject{ID: "x"}})
	if !errors.Is(err, ErrInvalidGrant) || token != "" || g.ID != "" || len(m.records) != 0 {
		t.Errorf("%v %q %v, %d stored", g, token, err, len(m.records))
	}
}

// What the caller puts where only Create may is not taken over.
func TestCreateDecidesIdAndTimes(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	g, _ := create(t, a, Grant{ID: "chosen", CreatedAt: time.Unix(1, 0), RevokedAt: time.Unix(1, 0)})
	if g.ID == "chosen" || g.CreatedAt.Year() < 2000 || !g.RevokedAt.IsZero() {
		t.Errorf("%+v", g)
	}
}

func TestGetListRevokeOfUnknownIds(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	if _, err := a.Get(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := a.Revoke(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Revoke: %v", err)
	}
}

func TestI6_EvidenceAndRefusalsDoNotShowTheToken(t *testing.T) {
	m := &memory{}
	a := NewAuthenticator(m, Options{})
	g, token := create(t, a, Grant{})
	e := Evidence{BearerToken: token, Peer: "192.0.2.1:1"}

	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	log.Info("x", "evidence", e, "pointer", &e, "group", slog.GroupValue(slog.Any("e", e)))
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "evidence", e)
	fmt.Fprintf(&out, "%v %+v %#v %s %v\n", e, e, e, e, &e)

	forged := tokenPrefix + g.ID + randomBase62(secretLen)
	for _, bad := range []string{token[:40], forged + checksum(forged)} {
		fmt.Fprintln(&out, refusal(t, a, bad))
	}
	m.set(func() { m.away = errors.New("gone") })
	_, other := newToken()
	_, err := a.Identify(t.Context(), Evidence{BearerToken: other}, "stripe")
	fmt.Fprintln(&out, err)

	for _, secret := range []string{token[21:40], forged[21:], other[21:]} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("a token is shown in:\n%s", out.String())
		}
	}
	if !strings.Contains(out.String(), "192.0.2.1:1") {
		t.Error("the evidence is not shown at all")
	}
}
