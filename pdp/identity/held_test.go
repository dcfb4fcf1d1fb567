package identity

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var ada = Subject{ID: "ada", Type: Person, Groups: []string{"proven"}, Issuer: "https://idp.example", Actor: "agent:7", Scopes: []string{"x"}}

// newHolding has subjects that are proven by access tokens: ada, who needs no grant,
// and "needy", who is ada and does.
func newHolding(m *memory) *Authenticator {
	return NewAuthenticator(m, Options{Prover: proving{map[string]Proof{
		"ada": {Subject: ada}, "needy": {Subject: ada, NeedsGrant: true},
	}}})
}

func identifyByToken(t *testing.T, a *Authenticator, token string, chain ...[]byte) (*Identity, error) {
	t.Helper()
	return a.Identify(t.Context(), Evidence{BearerToken: token, Resource: resource, PeerCertificates: chain}, "stripe")
}

func holdFor(t *testing.T, a *Authenticator, g Grant) Grant {
	t.Helper()
	g.Subject, g.Held = Subject{ID: "ada", Type: Person, Groups: []string{"named"}}, true
	g, token := create(t, a, g)
	if token != "" {
		t.Fatalf("a grant that is held has the token %q", token)
	}
	return g
}

// I10: a listener takes one kind of token and not the other.
func TestI10_NeitherListenerTakesTheOthersTokens(t *testing.T) {
	a := newHolding(&memory{})
	_, token := create(t, a, Grant{})
	_, err := a.Identify(t.Context(), Evidence{BearerToken: token, Resource: resource}, "stripe")
	_ = refused(t, err, Invalid)
	_, err = a.Identify(t.Context(), Evidence{BearerToken: "ada"}, "stripe")
	_ = refused(t, err, Invalid)
	_, err = a.Identify(t.Context(), Evidence{BearerToken: "ada", PeerCertificates: [][]byte{{1}}}, "stripe")
	_ = refused(t, err, Invalid)

	without := NewAuthenticator(&memory{}, Options{})
	_, err = without.Identify(t.Context(), Evidence{BearerToken: "ada", Resource: resource}, "stripe")
	_ = refused(t, err, Invalid)
	_, err = without.Identify(t.Context(), Evidence{PeerCertificates: [][]byte{{1}}, Resource: resource}, "stripe")
	_ = refused(t, err, Missing)
}

func TestCertificatesAreForTheProver(t *testing.T) {
	a := newHolding(&memory{})
	who, err := a.Identify(t.Context(), Evidence{PeerCertificates: [][]byte{{1}}}, "stripe")
	if err != nil || who.Subject.ID != "by certificate" || who.Grant != nil {
		t.Errorf("%+v, %v", who, err)
	}
	_, err = a.Identify(t.Context(), Evidence{}, "stripe")
	_ = refused(t, err, Missing)
}

func TestAGrantThatIsHeldLimitsWhoWasProven(t *testing.T) {
	a := newHolding(&memory{})
	g := holdFor(t, a, Grant{Tools: []string{"get_*"}})
	who, err := identifyByToken(t, a, "needy")
	if err != nil {
		t.Fatal(err)
	}
	want := ada
	want.Groups = []string{"proven", "named"} // those that an administrator has given
	if diff := cmp.Diff(want, who.Subject); diff != "" {
		t.Errorf("the subject is not the proven one (-want +got):\n%s", diff)
	}
	if who.GrantID() != g.ID || who.CoversTool("create_x") || !who.CoversTool("get_x") {
		t.Errorf("under %+v", who.Grant)
	}
	if len(ada.Groups) != 1 {
		t.Errorf("what was proven has changed: %q", ada.Groups)
	}
}

// Where no grant is needed none is looked for: one that only limited could be revoked
// to do more.
func TestAGrantThatIsHeldIsNothingToWhoNeedsNone(t *testing.T) {
	m := &memory{}
	a := newHolding(m)
	holdFor(t, a, Grant{Tools: []string{"get_*"}})
	m.set(func() { m.away = errors.New("must not be asked") })
	who, err := identifyByToken(t, a, "ada")
	if err != nil || who.Grant != nil || cmp.Diff(ada, who.Subject) != "" {
		t.Errorf("%+v, %v", who, err)
	}
}

func TestWhoHoldsNoGrantForTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newHolding(&memory{})
		now := time.Now()
		revoked := holdFor(t, a, Grant{})
		holdFor(t, a, Grant{Servers: []string{"files"}})
		holdFor(t, a, Grant{ExpiresAt: now.Add(time.Second)})
		holdFor(t, a, Grant{NotBefore: now.Add(time.Hour)})
		if _, err := a.Revoke(t.Context(), revoked.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		_, err := identifyByToken(t, a, "needy")
		if r := refused(t, err, NotGranted); r.Subject == nil || r.Subject.ID != "ada" {
			t.Errorf("%+v", r)
		}
		if who, err := identifyByToken(t, a, "ada"); err != nil || who.Grant != nil {
			t.Errorf("%+v, %v", who, err)
		}
		_, err = identifyByToken(t, a, "nobody's")
		_ = refused(t, err, Invalid)
	})
}

func TestTheNewestGrantThatIsHeldForTheServerCounts(t *testing.T) {
	a := newHolding(&memory{})
	holdFor(t, a, Grant{})
	newest := holdFor(t, a, Grant{})
	holdFor(t, a, Grant{Servers: []string{"files"}})
	who, err := identifyByToken(t, a, "needy")
	if err != nil || who.GrantID() != newest.ID {
		t.Errorf("under %q, %v; want %q", who.GrantID(), err, newest.ID)
	}
}

func TestGrantsThatAreHeldAndBound(t *testing.T) {
	der := certificate(t, "agent.example", "", "", "")
	for _, c := range []struct {
		boundTo []string
		chain   [][]byte
		ok      bool
	}{
		{[]string{"agent:7"}, nil, true}, // the actor
		{[]string{"agent:8"}, nil, false},
		{[]string{"agent:8", "agent.example"}, [][]byte{der}, true},
		{[]string{fingerprintOf(der)}, [][]byte{der}, true},
		{[]string{fingerprintOf([]byte("another"))}, [][]byte{der}, false},
	} {
		a := newHolding(&memory{})
		g := holdFor(t, a, Grant{BoundTo: c.boundTo})
		who, err := identifyByToken(t, a, "needy", c.chain...)
		if !c.ok {
			_ = refused(t, err, NotGranted)
		} else if err != nil || who.GrantID() != g.ID {
			t.Errorf("%v: %v", c.boundTo, err)
		}
	}
	// One that is not bound stands behind it.
	a := newHolding(&memory{})
	open := holdFor(t, a, Grant{})
	holdFor(t, a, Grant{BoundTo: []string{"agent:8"}})
	if who, err := identifyByToken(t, a, "needy"); err != nil || who.GrantID() != open.ID {
		t.Errorf("under %v, %v", who, err)
	}
}

// A grant that is held below another one ends with that.
func TestI9_AGrantThatIsHeldEndsWithTheOneAbove(t *testing.T) {
	a := newHolding(&memory{onlyOne: true})
	above, _ := create(t, a, Grant{Delegations: 1})
	holdFor(t, a, Grant{Parent: above.ID})
	if who, err := identifyByToken(t, a, "needy"); err != nil || who.RootID() != above.ID {
		t.Fatal(err)
	}
	if _, err := a.Revoke(t.Context(), above.ID); err != nil {
		t.Fatal(err)
	}
	_, err := identifyByToken(t, a, "needy")
	_ = refused(t, err, NotGranted)
}

// A new grant is in force at once here, and its revocation within a second
// elsewhere.
func TestI9_GrantsThatAreHeldAreCachedForLessThanASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		here, there := newHolding(m), newHolding(m)
		_, err := identifyByToken(t, here, "needy")
		_ = refused(t, err, NotGranted)
		g := holdFor(t, here, Grant{})
		if _, err := identifyByToken(t, here, "needy"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(399 * time.Millisecond)
		if _, err := identifyByToken(t, here, "needy"); err != nil {
			t.Fatal(err)
		}
		if _, err := there.Revoke(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second - time.Nanosecond)
		_, err = identifyByToken(t, here, "needy")
		_ = refused(t, err, NotGranted)
	})
}

func TestI1_NobodyIsIdentifiedWhenWhatTheyHoldCannotBeRead(t *testing.T) {
	m := &memory{}
	a := newHolding(m)
	m.set(func() { m.away = errors.New("gone") })
	who, err := identifyByToken(t, a, "needy")
	if r := (*Refusal)(nil); who != nil || err == nil || errors.As(err, &r) {
		t.Errorf("%v, %v", who, err)
	}
}

// I10: nobody gets a grant that is held by making up a token for it.
func TestI10_AGrantThatIsHeldHasNoToken(t *testing.T) {
	m := &memory{}
	a := newHolding(m)
	g := holdFor(t, a, Grant{})
	body := tokenPrefix + g.ID + randomBase62(secretLen)
	token := body + checksum(body)
	if r := refusal(t, a, token); r.Code != Invalid || r.Subject != nil {
		t.Errorf("%+v", r)
	}
	m.set(func() { m.records[0].TokenDigest = digestOf(token) }) // however it came to be
	a.grants.forget(g.ID)
	_ = refusal(t, a, token)
}

func TestBoundTokens(t *testing.T) {
	der := certificate(t, "agent.example", "dns.example", "ops@example.com", "spiffe://example/agent")
	other := certificate(t, fingerprintOf(der), "", "", "") // a name that looks like a fingerprint
	for _, c := range []struct {
		boundTo string
		chain   [][]byte
		ok      bool
	}{
		{fingerprintOf(der), [][]byte{der, other}, true},
		{fingerprintOf(der), [][]byte{other, der}, false}, // the leaf counts
		{fingerprintOf(der), [][]byte{other}, false},
		{fingerprintOf(der), nil, false},
		{"agent.example", [][]byte{der}, true},
		{"dns.example", [][]byte{der}, true},
		{"ops@example.com", [][]byte{der}, true},
		{"spiffe://example/agent", [][]byte{der}, true},
		{"spiffe://example/agent2", [][]byte{der}, false},
		{"agent.example", [][]byte{[]byte("no certificate")}, false},
		{"agent.example", [][]byte{{}}, false},
	} {
		t.Run(fmt.Sprint(c.boundTo, len(c.chain)), func(t *testing.T) {
			a := NewAuthenticator(&memory{}, Options{})
			g, token := create(t, a, Grant{BoundTo: []string{"nobody.example", c.boundTo}})
			who, err := a.Identify(t.Context(), Evidence{BearerToken: token, PeerCertificates: c.chain}, "stripe")
			if c.ok {
				if err != nil || who.GrantID() != g.ID {
					t.Fatal(err)
				}
				return
			}
			if r := refused(t, err, Invalid); r.GrantID != g.ID || r.Subject == nil {
				t.Errorf("%+v", r)
			}
		})
	}
}
