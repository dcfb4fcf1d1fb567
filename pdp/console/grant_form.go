package console

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	ChosenClasses         []string
	Uses, Delegations     string

	Classes   []string
	Servers   []string
	Types     []string
	Lifetimes []lifetime
	Problem   string
}

// Has reports whether a server is chosen.
func (f grantForm) Has(server string) bool { return slices.Contains(f.Chosen, server) }

// HasClass reports whether a class is chosen.
func (f grantForm) HasClass(class string) bool { return slices.Contains(f.ChosenClasses, class) }

func newGrantForm(servers []string) grantForm {
	return grantForm{
		Type: identity.Agent, Life: "24h", Servers: servers, Classes: identity.EffectClasses(),
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
	f.Chosen, f.ChosenClasses = v.r.PostForm["server"], v.r.PostForm["class"]
	f.Uses, f.Delegations = v.form("uses"), v.form("delegations")
	return f
}

// grant is what the form asks for. What a grant may hold is for identity to say.
func (f grantForm) grant(now time.Time) (identity.Grant, error) {
	g := identity.Grant{
		Subject: identity.Subject{ID: f.Subject, Type: f.Type, Groups: entries(f.Groups)},
		Owner:   f.Owner, Servers: f.Chosen, Tools: entries(f.Tools), Classes: f.ChosenClasses,
	}
	var err error
	if g.MaxUses, err = count(f.Uses); err != nil {
		return g, errors.New("say how many uses as a whole number, or leave it empty for any number")
	}
	delegations, err := count(f.Delegations)
	if err != nil {
		return g, errors.New("say how many delegations as a whole number, or leave it empty for none")
	}
	g.Delegations = int(delegations)
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

// count is a whole number; 0 where nothing was filled in.
func count(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	return strconv.ParseInt(text, 10, 32)
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
