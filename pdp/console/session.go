package console

import (
	"fmt"
	"net/http"
	"time"

	"github.com/mcpermit/mcpermit/pdp/signin"
)

// cookies are the names of ours, and whether they go over TLS only. The prefix
// keeps a neighbouring host from setting them.
type cookies struct {
	session, signIn, oidc string
	secure                bool
}

func newCookies(secure bool) cookies {
	prefix := ""
	if secure {
		prefix = "__Host-"
	}
	return cookies{session: prefix + "mcpermit-session", signIn: prefix + "mcpermit-sign-in", oidc: prefix + "mcpermit-oidc", secure: secure}
}

// setCookie gives the visitor a cookie for so long; with no time it takes it away.
func (v *visit) setCookie(name, value string, life time.Duration) {
	age := int(life / time.Second)
	if age <= 0 {
		age = -1
	}
	http.SetCookie(v.w, &http.Cookie{ //nolint:gosec // Secure goes by console.url: over plain HTTP it would not come back
		Name: name, Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, Secure: v.c.cookies.secure, SameSite: http.SameSiteLaxMode,
	})
}

// begin signs a person in: always with a new secret, so that one which somebody
// else has planted is of no use.
func (v *visit) begin(p signin.Person) error {
	if v.session.Digest != (signin.Digest{}) {
		if err := v.c.store.DeleteSession(v.r.Context(), v.session.Digest); err != nil {
			return fmt.Errorf("end the session before: %w", err)
		}
	}
	secret, digest := signin.NewSecret()
	now := v.c.now().UTC().Truncate(time.Microsecond)
	s := signin.Session{Digest: digest, Person: p, CreatedAt: now, ExpiresAt: now.Add(v.c.life)}
	if err := v.c.store.InsertSession(v.r.Context(), s); err != nil {
		return fmt.Errorf("begin a session: %w", err)
	}
	next := v.next()
	v.setCookie(v.c.cookies.session, secret, v.c.life)
	v.setCookie(v.c.cookies.signIn, "", 0)
	v.c.log.InfoContext(v.r.Context(), "signed in to the console", "person", p.ID, "role", p.Role.String())
	return v.redirect(next)
}

// signOut ends the session, here and in the browser.
func (c *Console) signOut(v *visit) error {
	if err := c.store.DeleteSession(v.r.Context(), v.session.Digest); err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	v.setCookie(c.cookies.session, "", 0)
	c.log.InfoContext(v.r.Context(), "signed out of the console", "person", v.Person.ID)
	return v.done("/sign-in", "signed-out")
}
