package console

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp/identity"
)

// grantForm is the form for a new grant, as it was filled in.
type grantForm struct {
	Subject, Type, Owner  string
	Groups, Tools, Labels string
	Chosen                []string // servers
	Every                 bool     // server
	Life                  string

	Servers   []string
	Types     []string
	Lifetimes []lifetime
	Problem   string
}

// Has reports whether a server is chosen.
func (f grantForm) Has(server string) bool { return slices.Contains(f.Chosen, server) }

func newGrantForm(servers []string) grantForm {
	return grantForm{
		Type: identity.Agent, Life: "24h", Servers: servers,
		Types: []string{identity.Agent, identity.Person, identity.Workload}, Lifetimes: lifetimes,
	}
}

// newGrantPage shows the form, for the subject of the address if there is one.
func (c *Console) newGrantPage(v *visit) error {
	form := newGrantForm(c.servers)
	form.Subject = v.r.URL.Query().Get("subject")
	form.Owner = v.Person.ID
	return v.show("new-grant", form)
}

func readGrantForm(v *visit, servers []string) grantForm {
	f := newGrantForm(servers)
	f.Subject, f.Type, f.Owner, f.Life = v.form("subject"), v.form("type"), v.form("owner"), v.form("life")
	f.Groups, f.Tools, f.Labels = v.form("groups"), v.form("tools"), v.form("labels")
	f.Every = v.form("every") != ""
	f.Chosen = v.r.PostForm["server"]
	return f
}

// grant is what the form asks for. What a grant may hold is for identity to say.
func (f grantForm) grant(now time.Time) (identity.Grant, error) {
	g := identity.Grant{
		Subject: identity.Subject{ID: f.Subject, Type: f.Type, Groups: entries(f.Groups)},
		Owner:   f.Owner, Servers: f.Chosen, Tools: entries(f.Tools),
	}
	if f.Every {
		g.Servers = []string{"*"}
	}
	if len(g.Servers) == 0 {
		return g, errors.New("choose at least one server")
	}
	i := slices.IndexFunc(f.Lifetimes, func(l lifetime) bool { return l.Value == f.Life })
	if i < 0 {
		return g, errors.New("choose when it expires")
	}
	if length := f.Lifetimes[i].length; length > 0 {
		g.ExpiresAt = now.Add(length)
	}
	for _, entry := range entries(f.Labels) {
		key, value, ok := strings.Cut(entry, "=")
		if !ok {
			return g, fmt.Errorf("the label %q is not key=value", entry)
		}
		if g.Labels == nil {
			g.Labels = map[string]string{}
		}
		g.Labels[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return g, nil
}

// entries are the lines of a field.
func entries(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}
