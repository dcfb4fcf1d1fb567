package console

import (
	"context"
	"errors"
	"fmt"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

const accountsPath = "/accounts"

// accountList is the accounts that a person may see: their own; an admin's is all.
type accountList struct {
	List []accountView
	// More are those that the person could connect.
	More []credential.AccountRef
	All  bool
}

// accountView is an account as pages show it.
type accountView struct {
	credential.Connected
	Own bool
	URL string // of the page on which it is connected again; "" where it can't be
}

func (c *Console) accountsPage(v *visit) error {
	if c.accounts == nil {
		return errNoPage
	}
	page := accountList{All: v.Person.Role >= signin.Admin}
	whose := v.Person.ID
	if page.All {
		whose = ""
	}
	list, err := c.accounts.Accounts(v.r.Context(), whose)
	if err != nil {
		return err
	}
	known, own := map[credential.AccountRef]bool{}, map[credential.AccountRef]bool{}
	could := c.accounts.Connectable()
	for _, a := range could {
		known[a] = true
	}
	for _, a := range list {
		view := accountView{Connected: a, Own: a.Holder == v.Person.ID}
		kind := credential.AccountRef{Server: a.Server, Name: a.Name}
		if known[kind] {
			view.URL = connectPath(kind, a.Holder)
		}
		own[kind] = own[kind] || view.Own
		page.List = append(page.List, view)
	}
	for _, a := range could {
		if !own[a] {
			page.More = append(page.More, a)
		}
	}
	return v.show("accounts", page)
}

// connectPath is the page that connects an account, on this console.
func connectPath(a credential.AccountRef, holder string) string {
	return local(credential.ConnectURL("/", a.Server, a.Name, holder))
}

// disconnect forgets an account: calls that need it are refused until it is connected
// again. What the authorization server keeps of it is not ours to end.
func (c *Console) disconnect(v *visit) error {
	a, err := c.account(v, v.form("holder"))
	if err != nil {
		return err
	}
	a.Server, a.Name = v.form("server"), v.form("name")
	err = c.recorded(v, audit.Act{Act: "disconnect-account", Target: a.String()}, func(ctx context.Context) error {
		return c.accounts.Disconnect(ctx, a)
	})
	if errors.Is(err, credential.ErrNotFound) {
		return notFound("There is no such account: somebody has disconnected it already.")
	}
	if err != nil {
		return fmt.Errorf("disconnect an account: %w", err)
	}
	return v.done(accountsPath, "disconnected")
}
