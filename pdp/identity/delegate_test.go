package identity

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func delegate(t *testing.T, a *Authenticator, token string, want Grant) (Grant, string, error) {
	t.Helper()
	who, err := a.Identify(t.Context(), Evidence{BearerToken: token}, "stripe")
	if err != nil {
		t.Fatal(err)
	}
	if want.Subject.ID == "" {
		want.Subject.ID = "agent:2"
	}
	return a.Delegate(t.Context(), who, want)
}

func TestADelegatedGrantHasWhatIsLeftOut(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	parent, token := create(t, a, Grant{
		Subject: Subject{ID: "ada", Type: Person, Groups: []string{"finance", "ops"}}, Servers: []string{"stripe", "files"}, Tools: []string{"get_*"},
		Classes: []string{"read"}, Labels: map[string]string{"env": "test"}, ExpiresAt: time.Now().Add(time.Hour), Delegations: 2, MaxUses: 5,
	})
	got, below, err := delegate(t, a, token, Grant{
		Subject: Subject{ID: "agent:2", Groups: []string{"ops"}}, ID: "chosen", Owner: "mallory", Held: true, Parent: "x", BoundTo: []string{"x"}, Delegations: 1,
		Policies: []string{"office_hours"}, Labels: map[string]string{"env": "test"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Grant{
		ID: got.ID, Subject: Subject{ID: "ada/agent:2", Type: Agent, Groups: []string{"ops"}}, Owner: "ada", // who may not approve its calls
		Servers: parent.Servers, Tools: parent.Tools, Classes: parent.Classes, Labels: parent.Labels, Policies: []string{"office_hours"},
		Parent: parent.ID, Delegations: 1, CreatedAt: got.CreatedAt, ExpiresAt: parent.ExpiresAt,
	}
	if diff := cmp.Diff(want, got); diff != "" || got.ID == "chosen" {
		t.Errorf("the grant (-want +got):\n%s", diff)
	}
	identified(t, a, below)
	again, _, err := delegate(t, a, below, Grant{})
	if err != nil || again.Owner != "ada" || again.Subject.ID != "ada/agent:2/agent:2" || again.Delegations != 0 {
		t.Errorf("%+v, %v", again, err)
	}
}

// T7: whoever could name a subject at will would have what rules, quotas and
// credentials give to another.
func TestT7_ADelegatedSubjectIsBelowItsHolder(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	_, token := create(t, a, Grant{Subject: Subject{ID: "bot"}, Delegations: 8})
	_, person := create(t, a, Grant{Subject: Subject{ID: "ada", Type: Person}, Delegations: 8})
	for _, c := range []struct{ token, id, kind, want string }{
		{token, "admin", Agent, "bot/admin"},
		{token, "bot", Agent, "bot/bot"},
		{token, "bot/helper", Agent, "bot/helper"},
		{token, "bots/helper", Agent, "bot/bots/helper"},
		{person, "ada", Agent, "ada/ada"},
		{person, "ada", Person, "ada"},
	} {
		g, _, err := delegate(t, a, c.token, Grant{Subject: Subject{ID: c.id, Type: c.kind}})
		if err != nil || g.Subject.ID != c.want {
			t.Errorf("%s %s: %q, %v; want %q", c.kind, c.id, g.Subject.ID, err, c.want)
		}
	}
	for says, want := range map[string]Subject{"for persons": {ID: "eve", Type: Person}, "for workloads": {ID: "spiffe://example.org/x", Type: Workload}} {
		if _, _, err := delegate(t, a, token, Grant{Subject: want}); !errors.Is(err, ErrInvalidGrant) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// T7: what rules go by is not for the holder of a grant to say.
func TestT7_DelegationsThatWouldWiden(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	_, token := create(t, a, Grant{
		Subject: Subject{ID: "agent:1", Groups: []string{"ops"}}, Servers: []string{"stripe"}, Classes: []string{"read"},
		Labels: map[string]string{"env": "test"}, ExpiresAt: time.Now().Add(time.Hour), Delegations: 1, MaxUses: 5,
	})
	for says, want := range map[string]Grant{
		`server "files"`:        {Servers: []string{"stripe", "files"}},
		`server "*"`:            {Servers: []string{"*"}},
		`class "write"`:         {Classes: []string{"write"}},
		"expires at":            {ExpiresAt: time.Now().Add(2 * time.Hour)},
		"0 further":             {Delegations: 1},
		"5 uses":                {MaxUses: 6},
		`group "admins"`:        {Subject: Subject{ID: "x", Groups: []string{"ops", "admins"}}},
		`label "env"`:           {Labels: map[string]string{"env": "prod"}},
		`label "tier"`:          {Labels: map[string]string{"tier": "gold"}},
		"administrator":         {Subject: Subject{ID: "ada", Type: Person}},
		"delegations must":      {Delegations: -1},
		"max uses":              {MaxUses: -1},
		"before it is good":     {NotBefore: time.Now().Add(time.Hour + time.Minute)},
		"not in the future":     {ExpiresAt: time.Now().Add(-time.Minute)},
		`policy "Office Hours"`: {Policies: []string{"Office Hours"}},
	} {
		g, below, err := delegate(t, a, token, want)
		if !errors.Is(err, ErrInvalidGrant) || !strings.Contains(err.Error(), says) || below != "" || g.ID != "" {
			t.Errorf("%+v: %v, want an error that says %q", want, err, says)
		}
	}
	if _, _, err := delegate(t, a, token, Grant{MaxUses: 5, Classes: []string{"read"}}); err != nil {
		t.Errorf("no wider at all: %v", err)
	}
}

func TestWhoMayNotDelegate(t *testing.T) {
	m := &memory{}
	a := newHolding(m)
	_, token := create(t, a, Grant{})
	_, _, err := delegate(t, a, token, Grant{})
	_ = refused(t, err, NotGranted)

	who, err := identifyByToken(t, a, "ada") // without a grant
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = a.Delegate(t.Context(), who, Grant{Subject: Subject{ID: "x"}})
	_ = refused(t, err, NotGranted)
}

func TestGrantsRightBelowAreBounded(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	_, token := create(t, a, Grant{Delegations: 1})
	for range maxBelow {
		if _, _, err := delegate(t, a, token, Grant{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := delegate(t, a, token, Grant{}); !errors.Is(err, ErrInvalidGrant) {
		t.Errorf("one more: %v", err)
	}
}

func TestCreateBelowWhatIsNoGood(t *testing.T) {
	m := &memory{onlyOne: true}
	a := NewAuthenticator(m, Options{})
	grants, _ := line(t, a, 2)
	if _, err := a.Revoke(t.Context(), grants[0].ID); err != nil {
		t.Fatal(err)
	}
	for _, parent := range []string{"nobody", grants[0].ID, grants[1].ID, grants[2].ID} {
		if _, _, err := a.Create(t.Context(), Grant{Subject: Subject{ID: "x"}, Parent: parent}); !errors.Is(err, ErrInvalidGrant) {
			t.Errorf("below %s: %v", parent, err)
		}
	}
}
