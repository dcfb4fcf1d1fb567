package cases

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/test/gateway"
)

const grantsFile = "grants.yaml"

// person is a client of the corpus. README.md says how grants.yaml is written.
type person struct {
	Type    string            `yaml:"type"`
	Owner   string            `yaml:"owner"`
	Groups  []string          `yaml:"groups"`
	Servers []string          `yaml:"servers"`
	Tools   []string          `yaml:"tools"`
	Classes []string          `yaml:"classes"`
	Labels  map[string]string `yaml:"labels"`

	Policies    []string `yaml:"policies"`
	MaxUses     int64    `yaml:"max_uses"`
	BoundTo     []string `yaml:"bound_to"`
	Parent      string   `yaml:"parent"` // whose grant it was made from
	Delegations int      `yaml:"delegations"`

	State string `yaml:"state"`
}

func loadPeople(t *testing.T) map[string]person {
	t.Helper()
	var people map[string]person
	loadYAML(t, grantsFile, &people)
	for name, p := range people {
		if _, known := people[p.Parent]; p.Parent != "" && (!known || people[p.Parent].Parent != "") {
			t.Fatalf("%s: %s: the parent %q is nobody, or has one itself", grantsFile, name, p.Parent)
		}
		if !slices.Contains([]string{"", "expired", "revoked", "early"}, p.State) {
			t.Fatalf("%s: %s: there is no state %q", grantsFile, name, p.State)
		}
	}
	return people
}

// parentsFirst are the names in the order in which their grants can be made.
func parentsFirst(people map[string]person) []string {
	names := slices.Sorted(maps.Keys(people))
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(min(len(people[a].Parent), 1), min(len(people[b].Parent), 1))
	})
	return names
}

const (
	// shortLived is how long the grants are good that have to be expired: times of
	// grants are whole seconds.
	shortLived = 2 * time.Second
	// notYet is when the grants become good that must not be.
	notYet = time.Hour
)

// issue gives everybody a token, by the command line of a running gateway, and
// then takes some back.
func (w *way) issue(t *testing.T, g *gateway.Gateway, people map[string]person) {
	t.Helper()
	for _, name := range parentsFirst(people) {
		var grant struct{ ID, Token string }
		if err := json.Unmarshal(g.CLI(t, people[name].createArgs(name, w.made)...), &grant); err != nil {
			t.Fatal(err)
		}
		w.remember(name, grant.ID, grant.Token)
	}
	for name, p := range people {
		if p.State == "revoked" {
			g.CLI(t, "grants", "revoke", w.made[name])
		}
	}
}

// createArgs are the words of the command line that makes the grant.
func (p person) createArgs(name string, made map[string]string) []string {
	args := []string{"grants", "create", "-o", "json", "--subject", name, "--type", p.Type}
	for flag, values := range map[string][]string{
		"--group": p.Groups, "--server": p.Servers, "--tool": p.Tools, "--class": p.Classes, "--policy": p.Policies, "--bound-to": p.BoundTo,
	} {
		for _, v := range values {
			args = append(args, flag, v)
		}
	}
	for k, v := range p.Labels {
		args = append(args, "--label", k+"="+v)
	}
	for flag, v := range map[string]string{"--owner": p.Owner, "--parent": made[p.Parent]} {
		if v != "" {
			args = append(args, flag, v)
		}
	}
	for flag, n := range map[string]int64{"--max-uses": p.MaxUses, "--delegations": int64(p.Delegations)} {
		if n > 0 {
			args = append(args, flag, strconv.FormatInt(n, 10))
		}
	}
	switch p.State {
	case "expired":
		args = append(args, "--expires", shortLived.String())
	case "early":
		args = append(args, "--not-before", notYet.String())
	}
	return args
}

// issueHere does the same in process.
func (w *way) issueHere(t *testing.T, grants *identity.Authenticator, people map[string]person) {
	t.Helper()
	for _, name := range parentsFirst(people) {
		g, token, err := grants.Create(t.Context(), people[name].grant(name, w.made))
		if err != nil {
			t.Fatal(err)
		}
		w.remember(name, g.ID, token)
	}
	for name, p := range people {
		if p.State != "revoked" {
			continue
		}
		if _, err := grants.Revoke(t.Context(), w.made[name]); err != nil {
			t.Fatal(err)
		}
	}
}

// grant is what has to be made.
func (p person) grant(name string, made map[string]string) identity.Grant {
	g := identity.Grant{
		Subject: identity.Subject{ID: name, Type: p.Type, Groups: p.Groups}, Owner: p.Owner,
		Servers: p.Servers, Tools: p.Tools, Classes: p.Classes, Policies: p.Policies, Labels: p.Labels,
		MaxUses: p.MaxUses, BoundTo: p.BoundTo, Parent: made[p.Parent], Delegations: p.Delegations,
	}
	if p.Parent == "" { // below another it is good for as long as that
		g.ExpiresAt = time.Now().Add(24 * time.Hour)
	}
	switch p.State {
	case "expired":
		g.ExpiresAt = time.Now().Add(shortLived)
	case "early":
		g.NotBefore = time.Now().Add(notYet)
	}
	return g
}

func (w *way) remember(name, id, token string) {
	w.tokens[name], w.made[name], w.grants[id] = token, id, "GRANT-"+name
}
