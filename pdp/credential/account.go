package credential

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// errLost says that what the vault keeps of an account is of no use any more.
var errLost = errors.New("the authorization server takes the refresh token no more")

// account refreshes what the holder has connected.
type account struct {
	b *Broker
	c *brokered
	a Account
}

func (*account) holder(of string) string { return of }

func (g *account) absent(holder string) error {
	if holder == "" {
		return fmt.Errorf("calls of %s need an account, and there is nobody whose it could be", g.c.server)
	}
	return &AccountNeeded{Server: g.c.server, Name: g.c.name, Holder: holder}
}

// fits holds that tokens go to whom they were meant for, also when the configuration
// has changed since.
func (g *account) fits(t tokens) bool {
	return covers(t.Resource, g.c.url) && (g.a.Issuer == "" || g.a.Issuer == t.Issuer)
}

// obtain refreshes (RFC 6749, section 6).
func (g *account) obtain(ctx context.Context, holder string, before tokens) (tokens, error) {
	if before.RefreshToken == "" || !g.fits(before) {
		return tokens{}, g.absent(holder)
	}
	t, err := g.b.tokens(ctx, g.c, tokenRequest{
		url: before.TokenURL, client: before.ClientID, secret: g.a.secretOf(before.ClientID, before.ClientSecret), method: before.AuthMethod,
		grant: "refresh_token", resource: before.Resource, form: url.Values{"refresh_token": {before.RefreshToken}},
	})
	switch {
	case refused(err, "invalid_grant"), refused(err, "invalid_client") && before.ClientID != g.a.ClientID:
		return tokens{}, fmt.Errorf("%w: %w", errLost, err)
	case err != nil:
		return tokens{}, err
	}
	t.Issuer, t.ClientSecret = before.Issuer, before.ClientSecret
	if len(t.Scopes) == 0 {
		t.Scopes = before.Scopes
	}
	return t, nil
}

// secretOf is that of the client that tokens were given to: of the configuration, or
// else the one that is kept with them.
func (a Account) secretOf(clientID, kept string) string {
	if clientID == a.ClientID {
		return a.ClientSecret
	}
	return kept
}

// AccountRef names an account: the server, the credential of it, and whose it is.
type AccountRef struct{ Server, Name, Holder string }

func (a AccountRef) String() string { return a.Server + "/" + a.Name + " of " + a.Holder }

// accountOf finds the credential of a ref; an empty name becomes the default's.
func (b *Broker) accountOf(a *AccountRef) (*brokered, error) {
	c, err := b.credential(a.Server, a.Name)
	if err != nil {
		return nil, err
	}
	if c == nil || c.Account == nil {
		return nil, &UnknownError{Server: a.Server, Name: a.Name}
	}
	a.Name = c.name
	return c, nil
}

// Connected is an account, without its tokens.
type Connected struct {
	AccountRef
	// Since is when it was connected first, RenewedAt when its tokens were renewed
	// last.
	Since     time.Time
	RenewedAt time.Time
	// ExpiresAt is when the access token runs out; zero: it does not say.
	ExpiresAt  time.Time
	Generation int64
}

// Accounts lists the accounts of a holder, of all for "", by server, name and holder.
// What the gateway has for itself is none.
func (b *Broker) Accounts(ctx context.Context, holder string) ([]Connected, error) {
	if b.list == nil {
		return nil, errors.New("the credential broker was given no list")
	}
	kept, err := b.list(ctx, KindAccount)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	var list []Connected
	for _, s := range kept {
		server, name, _ := strings.Cut(s.Name, "/")
		a := AccountRef{Server: server, Name: name, Holder: s.Holder}
		if s.Holder == "" || holder != "" && s.Holder != holder {
			continue
		}
		if c, err := b.credential(server, name); err == nil && c != nil && c.Account == nil {
			continue // such as an assertion's
		}
		list = append(list, Connected{AccountRef: a, Since: s.CreatedAt, RenewedAt: s.UpdatedAt, ExpiresAt: s.ExpiresAt, Generation: s.Generation})
	}
	return list, nil
}

// Connectable lists what people can connect, by server and name.
func (b *Broker) Connectable() []AccountRef {
	var list []AccountRef
	for _, server := range sortedKeys(b.servers) {
		for _, name := range sortedKeys(b.servers[server].byName) {
			if b.servers[server].byName[name].Account != nil {
				list = append(list, AccountRef{Server: server, Name: name})
			}
		}
	}
	return list
}

// Disconnect deletes an account, also one that the configuration names no more. It
// returns ErrNotFound where there is none. Replicas that have it in memory go on with
// it for less than a second.
func (b *Broker) Disconnect(ctx context.Context, a AccountRef) error {
	k := Key{Kind: KindAccount, Name: a.Server + "/" + a.Name, Holder: a.Holder}
	if err := b.vault.Delete(ctx, k); err != nil {
		return err
	}
	b.memory.forget(k)
	return nil
}

// Rotate renews the tokens of an account, or of the gateway itself, now, whether or
// not they are about to run out. The errors are those of [Broker.Renew].
func (b *Broker) Rotate(ctx context.Context, a AccountRef) error {
	c, err := b.credential(a.Server, a.Name)
	if err != nil {
		return err
	}
	if c == nil || c.grant == nil {
		return &UnknownError{Server: a.Server, Name: a.Name}
	}
	holder := c.grant.holder(a.Holder)
	h, err := b.look(ctx, c.key(holder))
	if err != nil {
		return err
	}
	_, err = b.renewal(ctx, c, holder, h.generation, false)
	return err
}
