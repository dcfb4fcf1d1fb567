package identity

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestZeroGrantCoversNothing(t *testing.T) {
	var g Grant
	if g.CoversServer("stripe") || g.CoversServer("") {
		t.Error("a grant without servers covers one")
	}
}

func TestCoversServer(t *testing.T) {
	for _, c := range []struct {
		servers []string
		name    string
		want    bool
	}{
		{[]string{"stripe"}, "stripe", true},
		{[]string{"files", "stripe"}, "stripe", true},
		{[]string{"stripe"}, "stripe2", false},
		{[]string{"stripe"}, "strip", false},
		{[]string{"stripe"}, "Stripe", false},
		{[]string{"stripe"}, "", false},
		{[]string{"*"}, "anything", true},
		{[]string{"*"}, "", false},
		{[]string{"str*"}, "stripe", false}, // servers are names, not globs
	} {
		g := Grant{Servers: c.servers}
		if got := g.CoversServer(c.name); got != c.want {
			t.Errorf("%q covers %q: %v", c.servers, c.name, got)
		}
	}
}

func TestCoversTool(t *testing.T) {
	for _, c := range []struct {
		tools []string
		name  string
		want  bool
	}{
		{nil, "anything", true},
		{nil, "", false},
		{[]string{"*"}, "anything", true},
		{[]string{"*"}, "", false},
		{[]string{"create_*"}, "create_refund", true},
		{[]string{"create_*"}, "create_", true},
		{[]string{"create_*"}, "recreate_refund", false},
		{[]string{"get_?"}, "get_é", true},
		{[]string{"get_?"}, "get_", false},
		{[]string{"a/*"}, "a/b/c", true}, // no character ends a *
		{[]string{"*_read", "list"}, "list", true},
		{[]string{"*_read", "list"}, "x_read_y", false},
		{[]string{"*a*b*"}, "xxaxxbxx", true},
		{[]string{"*a*b*"}, "xxbxxaxx", false},
		{[]string{"list"}, "List", false},
	} {
		g := Grant{Tools: c.tools}
		if got := g.CoversTool(c.name); got != c.want {
			t.Errorf("%q covers %q: %v", c.tools, c.name, got)
		}
	}
}

var smallText = rapid.StringOfN(rapid.RuneFrom([]rune("ab*?é_")), 0, 8, -1)

func TestGlobsAgreeWithRegularExpressions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		glob := smallText.Draw(t, "glob")
		name := smallText.Draw(t, "name")
		expr := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(glob))
		want := regexp.MustCompile(`(?s)^` + expr + `$`).MatchString(name)
		if got := matchGlob(glob, name); got != want {
			t.Fatalf("%q matches %q: %v, want %v", glob, name, got, want)
		}
	})
}

// A glob of many stars against a long name takes no exponential time: with
// naive backtracking this would not end.
func TestGlobIsNotExponential(t *testing.T) {
	if matchGlob(strings.Repeat("*a", 100)+"b", strings.Repeat("a", 10_000)) {
		t.Error("matched")
	}
}

// SECURITY T7: a grant that is narrowed never covers what it did not before.
func TestNarrowingAGrantNeverWidensIt(t *testing.T) {
	names := rapid.SliceOfN(smallText, 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		wide := Grant{Servers: names.Draw(t, "servers"), Tools: names.Draw(t, "tools")}
		narrow := wide
		if len(wide.Servers) > 0 {
			narrow.Servers = wide.Servers[1:]
		}
		if len(wide.Tools) > 1 { // taking the last one would mean all
			narrow.Tools = wide.Tools[1:]
		}
		if len(wide.Tools) == 0 {
			narrow.Tools = []string{smallText.Draw(t, "tool")}
		}
		name := smallText.Draw(t, "name")
		if narrow.CoversServer(name) && !wide.CoversServer(name) {
			t.Fatalf("server %q", name)
		}
		if narrow.CoversTool(name) && !wide.CoversTool(name) {
			t.Fatalf("tool %q", name)
		}
	})
}

func TestGrantsThatAreRefused(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for name, change := range map[string]func(g *Grant){
		"no subject":              func(g *Grant) { g.Subject.ID = "" },
		"control character":       func(g *Grant) { g.Subject.ID = "a\x00b" },
		"line break":              func(g *Grant) { g.Subject.ID = "a\nb" },
		"bidirectional override":  func(g *Grant) { g.Subject.ID = "a\u202eb" },
		"zero-width space":        func(g *Grant) { g.Subject.ID = "a\u200bb" },
		"invalid UTF-8":           func(g *Grant) { g.Subject.ID = "a\xff" },
		"long subject":            func(g *Grant) { g.Subject.ID = strings.Repeat("a", 257) },
		"space around":            func(g *Grant) { g.Subject.ID = " a" },
		"owner out of control":    func(g *Grant) { g.Owner = "olga\u202e" },
		"other type":              func(g *Grant) { g.Subject.Type = "robot" },
		"empty group":             func(g *Grant) { g.Subject.Groups = []string{""} },
		"too many groups":         func(g *Grant) { g.Subject.Groups = make([]string, 257) },
		"no server":               func(g *Grant) { g.Servers = nil },
		"server in upper case":    func(g *Grant) { g.Servers = []string{"Stripe"} },
		"server with a slash":     func(g *Grant) { g.Servers = []string{"a/b"} },
		"server glob":             func(g *Grant) { g.Servers = []string{"str*"} },
		"empty server":            func(g *Grant) { g.Servers = []string{""} },
		"too many servers":        func(g *Grant) { g.Servers = make([]string, 1025) },
		"empty glob":              func(g *Grant) { g.Tools = []string{""} },
		"class in a glob":         func(g *Grant) { g.Tools = []string{"get_[ab]"} },
		"alternatives in a glob":  func(g *Grant) { g.Tools = []string{"{a,b}"} },
		"escape in a glob":        func(g *Grant) { g.Tools = []string{`a\*`} },
		"empty label":             func(g *Grant) { g.Labels = map[string]string{"": "x"} },
		"label with a line break": func(g *Grant) { g.Labels = map[string]string{"a": "x\ny"} },
		"expired":                 func(g *Grant) { g.ExpiresAt = now.Add(-time.Second) },
		"expires now":             func(g *Grant) { g.ExpiresAt = now },
		"over before it is good":  func(g *Grant) { g.NotBefore = g.ExpiresAt },
		"unknown class":           func(g *Grant) { g.Classes = []string{"reading"} },
		"empty class":             func(g *Grant) { g.Classes = []string{""} },
		"too many classes":        func(g *Grant) { g.Classes = slices.Repeat([]string{"read"}, 65) },
		"policy with a dash":      func(g *Grant) { g.Policies = []string{"office-hours"} },
		"long policy":             func(g *Grant) { g.Policies = []string{strings.Repeat("a", 64)} },
		"too many policies":       func(g *Grant) { g.Policies = slices.Repeat([]string{"a"}, 65) },
		"negative uses":           func(g *Grant) { g.MaxUses = -1 },
		"negative delegations":    func(g *Grant) { g.Delegations = -1 },
		"too many delegations":    func(g *Grant) { g.Delegations = 9 },
		"short fingerprint":       func(g *Grant) { g.BoundTo = []string{"sha256:00"} },
		"fingerprint in capitals": func(g *Grant) { g.BoundTo = []string{"sha256:" + strings.Repeat("A", 64)} },
		"bound to nothing":        func(g *Grant) { g.BoundTo = []string{""} },
		"bound out of control":    func(g *Grant) { g.BoundTo = []string{"a\u202eb"} },
		"bound to too many":       func(g *Grant) { g.BoundTo = slices.Repeat([]string{"a"}, 65) },
	} {
		g := Grant{
			Subject: Subject{ID: "agent:1", Type: Agent}, Servers: []string{"stripe"},
			Tools: []string{"get_*"}, Labels: map[string]string{"team": ""}, ExpiresAt: now.Add(time.Microsecond),
			NotBefore: now, Classes: effectClasses, Policies: []string{"office_hours_2"}, MaxUses: 1, Delegations: 8,
			BoundTo: []string{"sha256:" + strings.Repeat("a", 64), "spiffe://example/agent", "agent.example"},
		}
		if err := g.validate(now); err != nil {
			t.Fatalf("a good grant is refused: %v", err)
		}
		change(&g)
		err := g.validate(now)
		if !errors.Is(err, ErrInvalidGrant) {
			t.Errorf("%s: %v, want ErrInvalidGrant", name, err)
			continue
		}
		if strings.ContainsAny(err.Error(), "\x00\n\u202e\u200b") {
			t.Errorf("%s: the error carries the character on: %q", name, err)
		}
	}
}

// The classes that a grant may name are those that rules see.
func TestClassesAreThoseOfTheInputDocument(t *testing.T) {
	b, err := os.ReadFile("../../rego/schemas/input.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Tool struct {
				Properties struct {
					Class struct{ Enum []string }
				}
			}
		}
	}
	if err := json.Unmarshal(b, &schema); err != nil {
		t.Fatal(err)
	}
	if want := schema.Properties.Tool.Properties.Class.Enum; !slices.Equal(effectClasses, want) {
		t.Errorf("%v, want %v", effectClasses, want)
	}
}
