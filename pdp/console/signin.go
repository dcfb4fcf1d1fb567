package console

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp/signin"
)

const (
	// linkLife is how long a link signs in.
	linkLife = 10 * time.Minute
	// signInLife is how long the sign-in page stays good.
	signInLife = time.Hour
)

func (c *Console) signInRoutes() []route {
	return []route{
		{pattern: "GET /sign-in", serve: c.signInPage},
		{pattern: "POST /sign-in", serve: c.signInByLink},
		{pattern: "GET /sign-in/oidc", serve: c.toProvider},
		{pattern: "GET " + callbackPath, serve: c.fromProvider},
		{pattern: "POST /sign-out", least: signin.Viewer, serve: c.signOut},
	}
}

// NewLink returns a link that signs the person in once, and when it expires.
// Without an id it is for the operator. ErrNotFound: nobody of that id is
// configured.
func (c *Console) NewLink(ctx context.Context, id string) (string, signin.Link, error) {
	p, ok := c.people.named(id)
	if !ok {
		return "", signin.Link{}, signin.ErrNotFound
	}
	secret, digest := signin.NewSecret()
	l := signin.Link{Digest: digest, Person: p, ExpiresAt: c.now().UTC().Truncate(time.Microsecond).Add(linkLife)}
	if err := c.store.InsertSignInLink(ctx, l); err != nil {
		return "", signin.Link{}, fmt.Errorf("keep a sign-in link: %w", err)
	}
	return c.url.String() + "/sign-in?" + url.Values{"link": {secret}}.Encode(), l, nil
}

// signInPage looks the same for every link: it does not say which are good.
// Opening it does nothing, since mail programs and chats open links too.
func (c *Console) signInPage(v *visit) error {
	next := v.r.URL.Query().Get("next")
	if next == "" {
		next = v.next()
	}
	v.secret = rand.Text() + "." + base64.RawURLEncoding.EncodeToString([]byte(local(next)))
	v.setCookie(c.cookies.signIn, v.secret, signInLife)
	return v.show("sign-in", signIn{Link: v.r.URL.Query().Get("link"), Next: local(next), OIDC: c.provider.configured(), As: !c.people.implied})
}

type signIn struct {
	Link    string
	Next    string
	OIDC    bool
	As      bool // links have to say for whom
	Problem string
}

// next is where the visitor was on the way to, as the sign-in page's cookie has it.
func (v *visit) next() string {
	_, encoded, _ := strings.Cut(v.cookie(v.c.cookies.signIn), ".")
	path, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return "/"
	}
	return local(string(path))
}

// signInByLink uses up a link.
func (c *Console) signInByLink(v *visit) error {
	if !c.attempts.allow(v.r) {
		return errTooOften
	}
	l, err := c.store.TakeSignInLink(v.r.Context(), signin.DigestOf(v.form("link")), c.now())
	p, known := c.people.now(l.Person)
	if errors.Is(err, signin.ErrNotFound) || err == nil && !known {
		v.status = http.StatusForbidden
		return v.show("sign-in", signIn{OIDC: c.provider.configured(), As: !c.people.implied, Problem: "That link does not sign in any more: it works once, for ten minutes."})
	}
	if err != nil {
		return fmt.Errorf("use a sign-in link: %w", err)
	}
	return v.begin(p)
}
