package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

func (c *Console) connectRoutes() []route {
	return []route{
		{pattern: "GET /connect/{server}/{name}", least: signin.Viewer, serve: c.connectPage},
		{pattern: "POST /connect/{server}/{name}", least: signin.Viewer, serve: c.connect},
		{pattern: "GET " + credential.CallbackPath, least: signin.Viewer, serve: c.connected},
		{pattern: "GET " + credential.ClientDocumentPath, serve: c.clientDocument},
		{pattern: "GET " + accountsPath, least: signin.Viewer, serve: c.accountsPage},
		{pattern: "POST " + accountsPath + "/disconnect", least: signin.Viewer, serve: c.disconnect},
	}
}

// connectView is what a person is asked to agree to.
type connectView struct {
	credential.Offer
	// Own: the person is the holder.
	Own bool
	// Connected is the account that is there already, or nil.
	Connected *credential.Connected
	Changed   bool
}

// account is the one that the path and the holder name, if the person may connect it:
// everybody their own, admins everybody's.
func (c *Console) account(v *visit, holder string) (credential.AccountRef, error) {
	if c.accounts == nil {
		return credential.AccountRef{}, errNoPage
	}
	if holder == "" {
		holder = v.Person.ID
	}
	if holder != v.Person.ID && v.Person.Role < signin.Admin {
		return credential.AccountRef{}, &problem{http.StatusForbidden, fmt.Sprintf("This account is for %s to connect, or for an admin in their place. You are signed in as %s.", holder, v.Person.ID)}
	}
	return credential.AccountRef{Server: v.r.PathValue("server"), Name: v.r.PathValue("name"), Holder: holder}, nil
}

func (c *Console) connectPage(v *visit) error {
	a, err := c.account(v, v.r.URL.Query().Get("holder"))
	if err != nil {
		return err
	}
	return c.showOffer(v, a, false)
}

// showOffer shows who is asked for what, before anybody is sent there.
func (c *Console) showOffer(v *visit, a credential.AccountRef, changed bool) error {
	o, err := c.accounts.Offer(v.r.Context(), a)
	if err != nil {
		return c.connectProblem(v, a, err)
	}
	page := connectView{Offer: o, Own: o.Holder == v.Person.ID, Changed: changed}
	list, err := c.accounts.Accounts(v.r.Context(), o.Holder)
	if err != nil {
		return err
	}
	for _, connected := range list {
		if connected.AccountRef == o.AccountRef {
			page.Connected = &connected
		}
	}
	return v.show("connect", page)
}

// connect sends the person to the authorization server: by a page that goes on by
// itself and not by a redirect, since browsers hold redirects of a form to the hosts
// that the form's page may send forms to, and where an authorization server sends
// people on to is not known here.
func (c *Console) connect(v *visit) error {
	a, err := c.account(v, v.form("holder"))
	if err != nil {
		return err
	}
	address, err := c.accounts.Begin(v.r.Context(), a, v.Person.ID, v.form("terms"))
	if errors.Is(err, credential.ErrChanged) {
		v.status = http.StatusConflict
		return c.showOffer(v, a, true)
	}
	if err != nil {
		return c.connectProblem(v, a, err)
	}
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("the address of an authorization server: %w", err)
	}
	v.w.Header().Set("Refresh", "0; url="+u.String())
	return v.show("leave", leaveView{URL: u.String(), Host: u.Host})
}

type leaveView struct{ URL, Host string }

// connected takes what the authorization server sends the person back with.
func (c *Console) connected(v *visit) error {
	if c.accounts == nil {
		return errNoPage
	}
	a, err := c.accounts.Finish(v.r.Context(), v.Person.ID, v.r.URL.Query())
	if err != nil {
		return c.connectProblem(v, credential.AccountRef{Holder: v.Person.ID}, err)
	}
	if _, err := c.account(v, a.Holder); err != nil {
		return err // no admin any more
	}
	err = c.recorded(v, audit.Act{Act: "connect-account", Target: a.AccountRef.String()}, func(ctx context.Context) error {
		return a.Connect(ctx)
	})
	if err != nil {
		return c.connectProblem(v, a.AccountRef, err)
	}
	return v.done(accountsPath, "connected")
}

// connectProblem says in words why an account is not connected.
func (c *Console) connectProblem(v *visit, a credential.AccountRef, err error) error {
	unknown, flow := (*credential.UnknownError)(nil), (*credential.FlowError)(nil)
	switch {
	case errors.As(err, &unknown):
		return notFound("There is no account of that name that could be connected.")
	case errors.As(err, &flow):
		c.log.WarnContext(v.r.Context(), "an account could not be connected", "server", a.Server, "credential", a.Name, "holder", a.Holder, "person", v.Person.ID, "error", err)
		return &problem{http.StatusBadGateway, sentence(flow.Reason)}
	}
	return err
}

// clientDocument is what authorization servers read to know the gateway.
func (c *Console) clientDocument(v *visit) error {
	if c.accounts == nil {
		return errNoPage
	}
	text, ok := c.accounts.ClientDocument()
	if !ok {
		return errNoPage
	}
	v.w.Header().Set("Content-Type", "application/json")
	v.w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = v.w.Write(text) // whoever asked has gone
	return nil
}
