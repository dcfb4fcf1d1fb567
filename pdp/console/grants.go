package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

// grantsLength is how many grants the list looks through.
const grantsLength = 2000

func (c *Console) grantRoutes() []route {
	return []route{
		{pattern: "GET /grants", least: signin.Viewer, serve: c.grantsPage},
		{pattern: "GET /grants/new", least: signin.Admin, serve: c.newGrantPage},
		{pattern: "POST /grants", least: signin.Admin, serve: c.createGrant},
		{pattern: "GET /grants/{id}", least: signin.Viewer, serve: c.grantPage},
		{pattern: "GET /grants/{id}/revoke", least: signin.Admin, serve: c.revokePage},
		{pattern: "POST /grants/{id}/revoke", least: signin.Admin, serve: c.revokeGrant},
	}
}

// grantView is a grant as pages show it.
type grantView struct {
	identity.Grant
	State string // "active", "upcoming", "used up", "expired" or "revoked"
	Live  bool   // neither expired nor revoked
	Left  string // until it expires; empty: never
}

func (c *Console) viewGrant(g identity.Grant) grantView {
	now := c.now()
	v := grantView{Grant: g, State: "active", Live: g.RevokedAt.IsZero() && (g.ExpiresAt.IsZero() || now.Before(g.ExpiresAt))}
	if !g.ExpiresAt.IsZero() {
		v.Left = span(g.ExpiresAt.Sub(now))
	}
	switch {
	case !g.RevokedAt.IsZero():
		v.State = "revoked"
	case !v.Live:
		v.State = "expired"
	case now.Before(g.NotBefore):
		v.State = "upcoming"
	case g.MaxUses > 0 && g.Uses >= g.MaxUses:
		v.State = "used up"
	}
	return v
}

// grantList is the list of grants, and what it was narrowed down by.
type grantList struct {
	Who, Server string
	All         bool
	Servers     []string
	List        []grantView
	Full        bool
}

func (c *Console) grantsPage(v *visit) error {
	q := v.r.URL.Query()
	page := grantList{Who: strings.TrimSpace(q.Get("who")), Server: q.Get("server"), All: q.Get("all") != "", Servers: c.servers}
	grants, err := c.grants.List(v.r.Context(), grantsLength, page.All)
	if err != nil {
		return err
	}
	for _, g := range grants {
		about := strings.ToLower(g.Subject.ID + "\n" + g.Owner + "\n" + g.ID)
		if strings.Contains(about, strings.ToLower(page.Who)) && (page.Server == "" || g.CoversServer(page.Server)) {
			page.List = append(page.List, c.viewGrant(g))
		}
	}
	page.Full = len(grants) == grantsLength
	return v.show("grants", page)
}

// grant finds the one that the path names.
func (c *Console) grant(v *visit) (grantView, error) {
	g, err := c.grants.Get(v.r.Context(), v.r.PathValue("id"))
	if errors.Is(err, identity.ErrNotFound) {
		return grantView{}, notFound("There is no grant of that id.")
	}
	return c.viewGrant(g), err
}

func (c *Console) grantPage(v *visit) error {
	g, err := c.grant(v)
	if err != nil {
		return err
	}
	return v.show("grant", g)
}

func (c *Console) revokePage(v *visit) error {
	g, err := c.grant(v)
	if err != nil {
		return err
	}
	return v.show("revoke", g)
}

func (c *Console) revokeGrant(v *visit) error {
	g, err := c.grant(v)
	if err != nil {
		return err
	}
	err = c.recorded(v, audit.Act{Act: "revoke-grant", Target: g.ID, Reason: v.form("reason")}, func(ctx context.Context) error {
		_, err := c.grants.Revoke(ctx, g.ID)
		return err
	})
	if err != nil {
		return err
	}
	return v.done("/grants/"+g.ID, "revoked")
}

// createGrant makes a grant and shows its token, which no other page does.
func (c *Console) createGrant(v *visit) error {
	form := readGrantForm(v, c.servers)
	want, err := form.grant(c.now())
	if err != nil {
		form.Problem = sentence(err.Error())
		v.status = http.StatusUnprocessableEntity
		return v.show("new-grant", form)
	}
	g, token, err := c.grants.Create(v.r.Context(), want)
	if errors.Is(err, identity.ErrInvalidGrant) {
		form.Problem = sentence(strings.TrimPrefix(err.Error(), identity.ErrInvalidGrant.Error()+": "))
		v.status = http.StatusUnprocessableEntity
		return v.show("new-grant", form)
	}
	if err != nil {
		return err
	}
	act := audit.Act{Act: "create-grant", Target: g.ID, Person: v.Person.ID, Via: "console", Result: "taken", Reason: "for " + g.Subject.ID}
	if err := c.recordAct(v.r.Context(), act); err != nil {
		return c.grants.Withdraw(v.r.Context(), g.ID, err)
	}
	return v.show("created", createdGrant{grantView: c.viewGrant(g), Token: token})
}

type createdGrant struct {
	grantView
	Token string
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

// lifetimes are what the form offers.
var lifetimes = []lifetime{
	{"1h", "1 hour", time.Hour},
	{"8h", "8 hours", 8 * time.Hour},
	{"24h", "1 day", 24 * time.Hour},
	{"168h", "7 days", 7 * 24 * time.Hour},
	{"720h", "30 days", 30 * 24 * time.Hour},
	{"2160h", "90 days", 90 * 24 * time.Hour},
	{"never", "Never", 0},
}

type lifetime struct {
	Value, Text string
	length      time.Duration
}
