package console_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mcpermit/mcpermit/pdp/identity"
)

var (
	tokenShown = regexp.MustCompile(`mcpg_[0-9A-Za-z]{65}`)
	grantLink  = regexp.MustCompile(`href="/grants/([0-9A-Za-z]{16})"`)
)

// TestCreateGrant: the token is on the answer, good, and nowhere else.
func TestCreateGrant(t *testing.T) {
	k := newKit(t)
	b := k.as("ada")
	b.get("/grants/new").is(http.StatusOK, `name="subject"`, `value="stripe"`)
	p := b.post("/grants", "subject", "agent:refunds", "type", "agent", "owner", "olga", "life", "8h", "server", "stripe",
		"tools", "create_*\r\n get_charge \r\n", "groups", "support", "labels", "team=payments\r\nempty=").is(http.StatusOK, "shown on this page only")
	token := tokenShown.FindString(p.body)
	who, err := k.grants.Identify(t.Context(), identity.Evidence{BearerToken: token}, "stripe")
	if err != nil {
		t.Fatal(err)
	}
	g := who.Grant
	want := identity.Grant{
		ID: g.ID, Subject: identity.Subject{ID: "agent:refunds", Type: "agent", Groups: []string{"support"}}, Owner: "olga",
		Servers: []string{"stripe"}, Tools: []string{"create_*", "get_charge"}, Labels: map[string]string{"team": "payments", "empty": ""},
		CreatedAt: k.clock(), ExpiresAt: k.clock().Add(8 * time.Hour),
	}
	if diff := cmp.Diff(want, *g); diff != "" {
		t.Error(diff)
	}
	if id := grantLink.FindStringSubmatch(p.body); id == nil || id[1] != g.ID {
		t.Errorf("links to %q, want %s", id, g.ID)
	}
	for _, path := range []string{"/grants", "/grants/" + g.ID} {
		b.get(path).is(http.StatusOK, "agent:refunds", "olga", "create_*").without("mcpg_")
	}
	if k.stored(token) {
		t.Error("the token is stored")
	}
	if got, want := k.acts(), []string{"ada create-grant " + g.ID + ": taken"}; !slices.Equal(got, want) {
		t.Errorf("on record: %q, want %q", got, want)
	}
	for _, record := range k.acts() {
		if strings.Contains(record, "mcpg_") {
			t.Error("the token is on record")
		}
	}
}

func TestGrantFormSaysWhatIsWrong(t *testing.T) {
	k := newKit(t)
	b := k.as("ada")
	good := map[string]string{"subject": "agent:x", "type": "agent", "life": "1h", "server": "stripe"}
	for text, change := range map[string]map[string]string{
		"The subject&#39;s id is empty.":      {"subject": ""},
		"Choose at least one server.":         {"server": ""},
		"Choose when it expires.":             {"life": "1000y"},
		"is not key=value.":                   {"labels": "nonsense"},
		"Say how many uses":                   {"uses": "many"},
		"Say how many delegations":            {"delegations": "two"},
		"Delegations must be between 0 and 8": {"delegations": "9"},
		"it must be one of read":              {"class": "reading"},
		"The subject&#39;s type is":           {"type": "god"},
		"contains the unprintable character":  {"subject": "agent:\u202ex"},
		"the glob is longer than 256 bytes":   {"tools": strings.Repeat("a", 300)},
		"a name has 1 to 63 of a-z, 0-9 and ": {"server": "No Server"},
	} {
		fields := []string{"owner", "kept"}
		for name, value := range good {
			if v, ok := change[name]; ok {
				value = v
			}
			if value != "" {
				fields = append(fields, name, value)
			}
		}
		for name, value := range change {
			if _, ok := good[name]; !ok {
				fields = append(fields, name, value)
			}
		}
		b.post("/grants", fields...).is(http.StatusUnprocessableEntity, text, `value="kept"`).without("mcpg_")
	}
	if grants, err := k.grants.List(t.Context(), 10, true); err != nil || len(grants) != 0 {
		t.Errorf("%d grants, %v", len(grants), err)
	}
}

// A grant that narrows shows what it narrows to.
func TestGrantPagesShowWhatNarrows(t *testing.T) {
	k := newKit(t)
	b := k.as("ada")
	b.get("/grants/new").is(http.StatusOK, `name="class" value="read"`, `name="uses"`, `name="delegations"`)
	p := b.post("/grants", "subject", "agent:x", "type", "agent", "life", "8h", "server", "stripe", "class", "read", "class", "write", "uses", "5", "delegations", "2")
	p.is(http.StatusOK, "shown on this page only")
	g, err := k.grants.Get(t.Context(), grantLink.FindStringSubmatch(p.body)[1])
	if err != nil || !slices.Equal(g.Classes, []string{"read", "write"}) || g.MaxUses != 5 || g.Delegations != 2 {
		t.Fatalf("%+v, %v", g, err)
	}
	b.get("/grants/"+g.ID).is(http.StatusOK, "0 of 5", "2 levels below it", ">read<", ">write<", "never")
	below, _, err := k.grants.Create(t.Context(), identity.Grant{
		Subject: identity.Subject{ID: "agent:y"}, Parent: g.ID, Policies: []string{"office_hours"}, Held: true,
		BoundTo: []string{"spiffe://example/y"}, NotBefore: k.clock().Add(time.Hour), MaxUses: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.get("/grants/"+below.ID).is(http.StatusOK, `href="/grants/`+g.ID+`"`, "office_hours", "spiffe://example/y", "its subject holds it", "Good from", "upcoming", "Revoke …")
	k.pass(2 * time.Hour)
	who := &identity.Identity{Grant: &below}
	if err := k.grants.Use(t.Context(), "d", who); err != nil {
		t.Fatal(err)
	}
	k.grants.Note(who, identity.Called, k.clock())
	if err := k.grants.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.get("/grants/"+below.ID).is(http.StatusOK, "1 of 1", "used up", "1 call, 0 denied", "Revoke …")
	b.get("/grants").is(http.StatusOK, "Last used", "used up")
	b.get("/grants/"+g.ID+"/revoke").is(http.StatusOK, "every grant that was made from it")
}

func TestRevokeGrant(t *testing.T) {
	k := newKit(t)
	g, token, err := k.grants.Create(t.Context(), identity.Grant{Subject: identity.Subject{ID: "agent:x"}, Servers: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	b := k.as("ada")
	b.get("/grants/"+g.ID).is(http.StatusOK, "active", "every server", "every tool", "never", "Revoke …")
	b.get("/grants/"+g.ID+"/revoke").is(http.StatusOK, "Revoke the grant of agent:x?", "Keep it")
	if _, err := k.grants.Identify(t.Context(), identity.Evidence{BearerToken: token}, "stripe"); err != nil {
		t.Fatalf("looking at the page revoked it: %v", err)
	}
	b.post("/grants/"+g.ID+"/revoke", "reason", "lost").leads("/grants/" + g.ID + "?done=revoked")
	if _, err := k.grants.Identify(t.Context(), identity.Evidence{BearerToken: token}, "stripe"); err == nil {
		t.Error("the token is still good")
	}
	b.get("/grants/"+g.ID+"?done=revoked").is(http.StatusOK, "Revoked: the token is refused", "revoked").without("Revoke …")
	if got, want := k.acts(), []string{"ada revoke-grant " + g.ID + ": taken"}; !slices.Equal(got, want) {
		t.Errorf("on record: %q, want %q", got, want)
	}
	b.get("/grants/none").is(http.StatusNotFound)
	b.post("/grants/none/revoke").is(http.StatusNotFound)
}

// TestUnrecordedGrants: neither made nor ended.
func TestUnrecordedGrants(t *testing.T) {
	k := newKit(t)
	g, token, err := k.grants.Create(t.Context(), identity.Grant{Subject: identity.Subject{ID: "agent:x"}, Servers: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	b := k.as("ada")
	k.record.fails.Store(true)
	b.post("/grants", "subject", "agent:y", "type", "agent", "life", "1h", "server", "stripe").is(http.StatusServiceUnavailable, "so it was not done").without("mcpg_", "disk")
	if active, err := k.grants.List(t.Context(), 10, false); err != nil || len(active) != 1 {
		t.Errorf("%d active grants, %v", len(active), err)
	}
	b.post("/grants/"+g.ID+"/revoke").is(http.StatusServiceUnavailable, "so it was not done")
	if _, err := k.grants.Identify(t.Context(), identity.Evidence{BearerToken: token}, "stripe"); err != nil {
		t.Error(err)
	}
}

func TestGrantFilters(t *testing.T) {
	k := newKit(t)
	for _, g := range []identity.Grant{
		{Subject: identity.Subject{ID: "agent:alpha"}, Servers: []string{"stripe"}, Owner: "olga"},
		{Subject: identity.Subject{ID: "agent:beta"}, Servers: []string{"files"}, ExpiresAt: k.clock().Add(time.Minute)},
		{Subject: identity.Subject{ID: "agent:gamma"}, Servers: []string{"*"}},
	} {
		if _, _, err := k.grants.Create(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	k.pass(time.Hour)
	b := k.as("vera")
	for path, want := range map[string]string{
		"/grants":                          "agent:alpha agent:gamma",
		"/grants?all=1":                    "agent:alpha agent:beta agent:gamma",
		"/grants?who=ALPHA":                "agent:alpha",
		"/grants?who=olga":                 "agent:alpha",
		"/grants?server=files":             "agent:gamma",
		"/grants?all=1&server=files":       "agent:beta agent:gamma",
		"/grants?server=stripe&who=agent:": "agent:alpha agent:gamma",
		"/grants?who=nobody":               "",
	} {
		p := b.get(path).is(http.StatusOK).without("New grant")
		var got []string
		for _, id := range []string{"agent:alpha", "agent:beta", "agent:gamma"} {
			if strings.Contains(p.body, ">"+id+"</a>") {
				got = append(got, id)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
