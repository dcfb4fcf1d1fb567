package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

// visit is one request on its way through a page.
type visit struct {
	c *Console
	w http.ResponseWriter
	r *http.Request

	// Person is nobody where nobody is signed in.
	Person  signin.Person
	session signin.Session
	// secret is that of the session, or of the sign-in page: the one which the
	// visitor's forms belong to.
	secret string
	status int
}

// FormToken goes into every form, as the template "form" writes it.
func (v *visit) FormToken() string { return formToken(v.secret) }

// Path is the page's, for the navigation.
func (v *visit) Path() string { return v.r.URL.Path }

// Sections are the navigation, as far as it leads somewhere for the visitor.
func (v *visit) Sections() []section {
	var own []section
	for _, s := range sections {
		if v.Person.Role >= s.least && (s.Path != accountsPath || v.c.accounts != nil) {
			own = append(own, s)
		}
	}
	return own
}

// In reports whether the page belongs to a section.
func (v *visit) In(s section) bool {
	return v.r.URL.Path == s.Path || strings.HasPrefix(v.r.URL.Path, s.Path+"/")
}

// Notice is what the act before this page has done. Only its name is in the
// address, so that nobody can put words on our pages.
func (v *visit) Notice() string { return notices[v.r.URL.Query().Get("done")] }

// notices by name, as redirect's argument carries them.
var notices = map[string]string{
	"signed-out": "You are signed out.",
	"approved":   "Approved: the identical call may pass, once.",
	"voted":      "Your vote counts. The call waits for more.",
	"refused":    "Refused. The agent is told why.",
	"revoked":    "Revoked: the token is refused from now on.",
	"pinned":     "Pinned: from now on another definition is drift.",
	"classified": "Classified. The next decision goes by it.",
	"reset":      "Reset: nothing of it counts as used.",

	"connected":    "Connected. Calls carry the account from now on.",
	"disconnected": "Disconnected: calls that need the account are refused from now on.",
}

// form returns a field of the form without space at its ends.
func (v *visit) form(name string) string { return strings.TrimSpace(v.r.PostForm.Get(name)) }

// cookie returns a cookie's value, or nothing.
func (v *visit) cookie(name string) string {
	cookie, err := v.r.Cookie(name)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// here is the page's address, to come back to: that of an authorization server's answer
// without the code, which no page may show.
func (v *visit) here() string {
	if v.r.URL.Path == credential.CallbackPath {
		return v.r.URL.Path
	}
	return v.r.URL.RequestURI()
}

// redirect answers a form, so that loading the page again does not send it
// again. path is one of our own.
func (v *visit) redirect(path string) error {
	http.Redirect(v.w, v.r, path, http.StatusSeeOther)
	return nil
}

// done redirects to a page and has it say what was done.
func (v *visit) done(path, notice string) error {
	mark := "?"
	if strings.Contains(path, "?") {
		mark = "&"
	}
	return v.redirect(path + mark + url.Values{"done": {notice}}.Encode())
}

// show answers with a page of the templates.
func (v *visit) show(page string, data any) error {
	body, err := render(page, shown{v, data})
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(v.status)
	_, _ = v.w.Write(body) // the browser has gone, and there is nobody to tell
	return nil
}

// shown is what templates see: the visit, and what the page is about.
type shown struct {
	*visit
	Page any
}
