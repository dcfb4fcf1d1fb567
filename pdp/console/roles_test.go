package console_test

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/signin"
)

// reach says who may reach what. Every route has its line here, so that a new
// one, or one whose role changes, is somebody's decision.
var reach = map[string]signin.Role{
	"GET /{$}":                   signin.Viewer,
	"GET /sign-in":               signin.Nobody,
	"POST /sign-in":              signin.Nobody,
	"GET /sign-in/oidc":          signin.Nobody,
	"GET /sign-in/oidc/callback": signin.Nobody,
	"POST /sign-out":             signin.Viewer,

	"GET /approvals":               signin.Viewer,
	"GET /approvals/events":        signin.Viewer,
	"GET /approvals/{id}":          signin.Viewer,
	"POST /approvals/{id}/approve": signin.Approver,
	"POST /approvals/{id}/refuse":  signin.Approver,

	"GET /grants":              signin.Viewer,
	"GET /grants/new":          signin.Admin,
	"POST /grants":             signin.Admin,
	"GET /grants/{id}":         signin.Viewer,
	"GET /grants/{id}/revoke":  signin.Admin,
	"POST /grants/{id}/revoke": signin.Admin,

	"GET /decisions":        signin.Viewer,
	"GET /decisions/events": signin.Viewer,
	"GET /decisions/{id}":   signin.Viewer,

	"GET /servers":                  signin.Viewer,
	"GET /servers/{name}":           signin.Viewer,
	"GET /servers/{name}/tool":      signin.Viewer,
	"POST /servers/{name}/pin":      signin.Admin,
	"POST /servers/{name}/classify": signin.Admin,

	"GET /connect/{server}/{name}":  signin.Viewer,
	"POST /connect/{server}/{name}": signin.Viewer,
	"GET /oauth/callback":           signin.Viewer,
	"GET /oauth/client.json":        signin.Nobody,
	"GET /accounts":                 signin.Viewer,
	"POST /accounts/disconnect":     signin.Viewer,

	"GET /quotas":             signin.Viewer,
	"GET /quotas/{id}/reset":  signin.Admin,
	"POST /quotas/{id}/reset": signin.Admin,

	"GET /policy":      signin.Viewer,
	"GET /policy/file": signin.Viewer,

	"GET /playground":  signin.Admin,
	"POST /playground": signin.Admin,
}

// TestRoles visits every route as everybody.
func TestRoles(t *testing.T) {
	k := newKit(t)
	var there []string
	for _, r := range k.console.Routes() {
		there = append(there, r.Pattern)
	}
	if want := slices.Sorted(maps.Keys(reach)); !slices.Equal(slices.Sorted(slices.Values(there)), want) {
		t.Fatalf("the routes are %q, and TestRoles knows %q", there, want)
	}
	for pattern, least := range reach {
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.NewReplacer("{$}", "", "{id}", "none", "{name}", "none", "{server}", "none").Replace(path)
		for person, role := range map[string]signin.Role{
			"": signin.Nobody, "vera": signin.Viewer, "abel": signin.Approver, "ada": signin.Admin,
		} {
			b := k.browser()
			if person != "" {
				b = k.as(person)
			}
			var form url.Values
			if method == http.MethodPost {
				form = url.Values{}
				if person != "" {
					form.Set("form", b.get("/approvals").formToken())
				}
			}
			if strings.HasSuffix(path, "/events") { // which would go on
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				defer cancel()
				b.change = func(r *http.Request) { *r = *r.WithContext(ctx) }
			}
			p := b.send(method, path, form)
			switch refused := p.status == http.StatusUnauthorized || p.status == http.StatusForbidden && strings.Contains(p.body, "This takes the role"); {
			case role >= least && least > signin.Nobody && (refused || strings.HasPrefix(p.header.Get("Location"), "/sign-in?next")):
				t.Errorf("%s as %q: %d, though the role does", pattern, person, p.status)
			case role < least && role == signin.Nobody && method == http.MethodGet:
				p.leads("/sign-in?" + url.Values{"next": {path}}.Encode())
			case role < least && !refused:
				t.Errorf("%s as %q: %d, want a refusal", pattern, person, p.status)
			}
		}
	}
}

// TestUnknownPages are told apart from known ones only by who is signed in.
func TestUnknownPages(t *testing.T) {
	k := newKit(t)
	k.browser().get("/nothing/here").leads("/sign-in?next=%2Fnothing%2Fhere")
	k.as("vera").get("/nothing/here").is(http.StatusNotFound, "There is no such page.")
	k.as("vera").send(http.MethodPut, "/approvals", url.Values{}).without("call waits")
}
