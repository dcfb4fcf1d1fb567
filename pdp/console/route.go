package console

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/mcpermit/mcpermit/pdp/signin"
)

// route is one page, or one act on a page.
type route struct {
	// pattern is one of http.ServeMux, with its method.
	pattern string
	// least is the role that it takes. Nobody: whoever comes.
	least signin.Role
	// body is how many bytes a form may have, if not formBytes.
	body int64
	// stream is set for answers that go on for longer than an answer may take.
	stream bool
	serve  func(*visit) error
}

// formBytes bounds a form where its route does not.
const formBytes = 64 << 10

// section is one entry of the navigation.
type section struct {
	Path, Title string
	least       signin.Role
}

// sections are the navigation, each for who has the role.
var sections = []section{
	{"/approvals", "Approvals", signin.Viewer},
	{"/decisions", "Decisions", signin.Viewer},
	{"/grants", "Grants", signin.Viewer},
	{"/servers", "Servers", signin.Viewer},
	{accountsPath, "Accounts", signin.Viewer},
	{"/quotas", "Quotas", signin.Viewer},
	{"/policy", "Policy", signin.Viewer},
	{"/playground", "Playground", signin.Admin},
}

// routes is everything that there is. TestRoles holds who may reach what.
func (c *Console) routes() []route {
	routes := []route{{pattern: "GET /{$}", least: signin.Viewer, serve: func(v *visit) error { return v.redirect("/approvals") }}}
	routes = append(routes, c.signInRoutes()...)
	routes = append(routes, c.approvalRoutes()...)
	routes = append(routes, c.grantRoutes()...)
	routes = append(routes, c.decisionRoutes()...)
	routes = append(routes, c.serverRoutes()...)
	routes = append(routes, c.connectRoutes()...)
	routes = append(routes, c.quotaRoutes()...)
	routes = append(routes, c.policyRoutes()...)
	routes = append(routes, c.playgroundRoutes()...)
	return routes
}

func (c *Console) mux() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /assets/", assets())
	for _, r := range c.routes() {
		mux.Handle(r.pattern, c.guarded(r))
	}
	mux.Handle("/", c.guarded(route{least: signin.Viewer, serve: func(*visit) error { return errNoPage }}))
	return mux
}

// problem is an answer that is not the page that was asked for, in words for
// the person who reads it.
type problem struct {
	status int
	text   string
}

func (p *problem) Error() string { return p.text }

var (
	errNoPage     = &problem{http.StatusNotFound, "There is no such page."}
	errSignIn     = &problem{http.StatusUnauthorized, "Sign in first."}
	errSignedOut  = &problem{http.StatusUnauthorized, "You are not signed in any more. Nothing was done."}
	errStale      = &problem{http.StatusForbidden, "This form is not from a page that you have open. Nothing was done: go back, load the page again, and repeat it."}
	errForm       = &problem{http.StatusBadRequest, "The form can't be read."}
	errFormTooBig = &problem{http.StatusRequestEntityTooLarge, "That is more than this form takes."}
	errElsewhere  = &problem{http.StatusForbidden, "Another site has sent this form. Nothing was done."}
	errTooOften   = &problem{http.StatusTooManyRequests, "Too many attempts to sign in. Try again in a minute."}
)

// notFound and badRequest say what is wrong in words for the person.
func notFound(text string) error   { return &problem{http.StatusNotFound, text} }
func badRequest(text string) error { return &problem{http.StatusUnprocessableEntity, text} }

// fail answers with what went wrong. Errors that are no problem are told to the
// log only.
func (c *Console) fail(v *visit, err error) {
	if errors.Is(err, errSignIn) {
		err = v.redirect("/sign-in?" + url.Values{"next": {v.here()}}.Encode())
	}
	if err == nil {
		return
	}
	p := (*problem)(nil)
	if !errors.As(err, &p) {
		if v.r.Context().Err() != nil {
			return // the browser has gone
		}
		c.log.ErrorContext(v.r.Context(), "a page of the console failed", "path", v.r.URL.Path, "error", err)
		p = &problem{http.StatusInternalServerError, "That did not work. The log of the decision point says why."}
	}
	v.status = p.status
	if err := v.show("problem", problemPage{Title: http.StatusText(p.status), Text: p.text}); err != nil {
		c.log.ErrorContext(v.r.Context(), "a page of the console failed", "path", v.r.URL.Path, "error", err)
		http.Error(v.w, p.text, p.status)
	}
}

type problemPage struct{ Title, Text string }
