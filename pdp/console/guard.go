package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp/signin"
)

// answerTime bounds how long an answer may take, and its reader.
const answerTime = 30 * time.Second

// guarded is the one place that decides who reaches a page: a request under
// one of the console's own names, from one of its own pages if it does
// something, of a person who has the role.
func (c *Console) guarded(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		v := &visit{c: c, w: w, r: req, status: http.StatusOK}
		if !r.stream {
			bound(w, answerTime)
		}
		if err := c.admit(v, r); err != nil {
			c.fail(v, err)
			return
		}
		if err := r.serve(v); err != nil {
			c.fail(v, err)
		}
	})
}

// admit says who visits, and an error when the route is not for them.
func (c *Console) admit(v *visit, r route) error {
	acts := v.r.Method != http.MethodGet && v.r.Method != http.MethodHead
	if acts && c.crossOrigin.Check(v.r) != nil {
		return errElsewhere
	}
	if err := c.identify(v); err != nil {
		return err
	}
	switch {
	case r.least == signin.Nobody:
		v.secret = v.cookie(c.cookies.signIn)
	case v.Person.Role == signin.Nobody && acts:
		return errSignedOut
	case v.Person.Role == signin.Nobody:
		return errSignIn
	case v.Person.Role < r.least:
		return &problem{http.StatusForbidden, fmt.Sprintf("You are signed in as %s, with the role %s. This takes the role %s.", v.Person.ID, v.Person.Role, r.least)}
	}
	if !acts {
		return nil
	}
	return v.readForm(r.body)
}

// readForm reads a form that has the token of one of our own pages.
func (v *visit) readForm(most int64) error {
	if most == 0 {
		most = formBytes
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, most)
	if err := v.r.ParseForm(); err != nil {
		if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
			return errFormTooBig
		}
		return errForm
	}
	if !hmac.Equal([]byte(v.r.PostForm.Get("form")), []byte(v.FormToken())) || v.secret == "" {
		return errStale
	}
	return nil
}

// identify finds the session of the visitor, if there is one.
func (c *Console) identify(v *visit) error {
	secret := v.cookie(c.cookies.session)
	if secret == "" {
		return nil
	}
	s, err := c.store.Session(v.r.Context(), signin.DigestOf(secret), c.now())
	if errors.Is(err, signin.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up a session: %w", err)
	}
	if p, ok := c.people.now(s.Person); ok {
		v.Person, v.secret, v.session = p, secret, s
	}
	return nil
}

// formToken proves that a form comes from a page that was made for whoever has
// the cookie: other sites cannot read the one or the other.
func formToken(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("mcpermit console form 1"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// hosts are the names under which the console answers. Others are another
// site's that its owner has pointed here, so as to read our pages in a browser.
type hosts map[string]bool

func newHosts(admin string, u *url.URL) hosts {
	h := hosts{"localhost": true, "127.0.0.1": true, "::1": true, strings.ToLower(u.Hostname()): true}
	if host, _, err := net.SplitHostPort(admin); err == nil && host != "" && !net.ParseIP(host).IsUnspecified() {
		h[strings.ToLower(host)] = true
	}
	return h
}

func (h hosts) allow(host string) bool {
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	}
	name = strings.TrimSuffix(strings.ToLower(strings.Trim(name, "[]")), ".")
	return name != "" && h[name]
}

// contentPolicy lets a page load what is ours and nothing else; nothing may
// frame it, and no text becomes a script.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
}

// bound sets how long the answer may take. Where the writer has no deadlines,
// as in tests, nothing takes long.
func bound(w http.ResponseWriter, d time.Duration) {
	control := http.NewResponseController(w)
	at := time.Now().Add(d)
	_ = control.SetReadDeadline(at)
	_ = control.SetWriteDeadline(at)
}

// local returns path if it is one of our own pages, else "/": where a person
// lands after signing in is not for a link to say.
func local(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" ||
		!strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\t\r\n") {
		return "/"
	}
	return u.RequestURI()
}
