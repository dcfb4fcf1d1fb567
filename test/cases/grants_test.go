package cases

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/test/gateway"
)

const grantsFile = "grants.yaml"

// person is a client of the corpus.
type person struct {
	Type    string            `yaml:"type"`
	Groups  []string          `yaml:"groups"`
	Servers []string          `yaml:"servers"`
	Tools   []string          `yaml:"tools"`
	Labels  map[string]string `yaml:"labels"`
	State   string            `yaml:"state"`
}

func loadPeople(t *testing.T) map[string]person {
	t.Helper()
	var people map[string]person
	loadYAML(t, grantsFile, &people)
	return people
}

// shortLived is how long the grants are good that have to be expired: times of
// grants are whole seconds.
const shortLived = 2 * time.Second

// issue gives everybody a token, by the command line of a running gateway.
func (w *way) issue(t *testing.T, g *gateway.Gateway, people map[string]person) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(people)) {
		p := people[name]
		args := []string{"grants", "create", "-o", "json", "--subject", name, "--type", p.Type}
		for flag, values := range map[string][]string{"--group": p.Groups, "--server": p.Servers, "--tool": p.Tools} {
			for _, v := range values {
				args = append(args, flag, v)
			}
		}
		for k, v := range p.Labels {
			args = append(args, "--label", k+"="+v)
		}
		if p.State == "expired" {
			args = append(args, "--expires", shortLived.String())
		}
		var grant struct{ ID, Token string }
		if err := json.Unmarshal(g.CLI(t, args...), &grant); err != nil {
			t.Fatal(err)
		}
		if p.State == "revoked" {
			g.CLI(t, "grants", "revoke", grant.ID)
		}
		w.remember(name, grant.ID, grant.Token)
	}
}

// issueHere does the same in process.
func (w *way) issueHere(t *testing.T, grants *identity.Authenticator, people map[string]person) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(people)) {
		p := people[name]
		g := identity.Grant{
			Subject: identity.Subject{ID: name, Type: p.Type, Groups: p.Groups},
			Servers: p.Servers, Tools: p.Tools, Labels: p.Labels, ExpiresAt: time.Now().Add(24 * time.Hour),
		}
		if p.State == "expired" {
			g.ExpiresAt = time.Now().Add(shortLived)
		}
		g, token, err := grants.Create(t.Context(), g)
		if err == nil && p.State == "revoked" {
			_, err = grants.Revoke(t.Context(), g.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.remember(name, g.ID, token)
	}
}

func (w *way) remember(name, id, token string) {
	w.tokens[name], w.grants[id] = token, "GRANT-"+name
}
