package console

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/mcpermit/mcpermit/pdp/console"
	"github.com/mcpermit/mcpermit/pdp/signin"
	"github.com/mcpermit/mcpermit/test/provider"
)

// provided has people sign in with a real provider, and these groups.
func provided(t *testing.T) func(*console.Options) {
	t.Helper()
	return func(o *console.Options) {
		t.Helper()
		o.OIDC = console.OIDC{
			Issuer: startProvider(t, o.URL+"/sign-in/oidc/callback", map[string]any{
				"nina": map[string]any{"name": "Nina N.", "preferred_username": "nina", "groups": []string{"finance", "all"}},
				"otto": map[string]any{"name": "Otto O.", "preferred_username": "otto", "groups": []string{"all", "security", "finance"}},
				"vera": map[string]any{"name": "Somebody", "preferred_username": "vera", "groups": []string{"security"}},
				"eve":  map[string]any{"name": "Eve E.", "preferred_username": "eve", "groups": []string{"all"}},
			}),
			ClientID: "console", ClientSecret: "a secret of the test", SubjectClaim: "preferred_username",
			Roles: map[signin.Role][]string{signin.Approver: {"finance"}, signin.Admin: {"security"}},
		}
	}
}

// startProvider starts a provider of which the console is a client, and returns its
// issuer.
func startProvider(t *testing.T, redirect string, people map[string]any) string {
	t.Helper()
	return provider.Start(t, provider.Options{People: people, Clients: []map[string]any{{
		"client_id": "console", "client_secret": "a secret of the test", "token_endpoint_auth_method": "client_secret_basic",
		"redirect_uris": []string{redirect}, "grant_types": []string{"authorization_code"},
	}}}).Issuer
}

// atProvider goes from the console's page to the provider, and says who one is.
func (b *browser) atProvider(s *site, login string) {
	b.Helper()
	b.open(s.url + "/approvals?all=1")
	b.press("a[href='/sign-in/oidc']")
	b.do(chromedp.SendKeys("input[name=login]", login, chromedp.ByQuery), chromedp.SendKeys("input[name=password]", "any", chromedp.ByQuery))
	b.press("button[type=submit]")
	b.press("button[type=submit]") // the console may know
}

// The provider's pages take a font from elsewhere, which there is no need to have.
const elsewhere = "net::ERR_"

// TestSignInWithAProvider: groups become roles, at a real provider.
func TestSignInWithAProvider(t *testing.T) {
	s := newSite(t, provided(t))
	for login, shown := range map[string]string{
		"nina": "Nina N. approver",
		"otto": "Otto O. admin",
		"vera": "Vera Viewer viewer", // as the configuration says, whatever the provider does
	} {
		b := newBrowser(t, elsewhere)
		b.atProvider(s, login)
		b.shows("Signed in as "+shown, "No call has waited for a person yet.")
		var at string
		b.do(chromedp.Evaluate("location.pathname + location.search", &at))
		if at != "/approvals?all=1" {
			t.Errorf("%s: signed in to %s", login, at)
		}
		b.press("header button")
		b.shows("You are signed out.")
	}
}

// TestProviderWithoutARole: the provider knows her, and the console has nothing
// for her.
func TestProviderWithoutARole(t *testing.T) {
	s := newSite(t, provided(t))
	b := newBrowser(t, elsewhere)
	b.atProvider(s, "eve")
	b.shows("You are signed in as eve, but none of your groups may use this console.")
	b.judged("sign-in-without-a-role")
	b.open(s.url + "/decisions")
	b.shows("Sign in with your organisation")
}

// TestProvidersAnswerForAnother: what the provider sends back is good for the
// browser that has asked, once.
func TestProvidersAnswerForAnother(t *testing.T) {
	s := newSite(t, provided(t))
	// Mallory signs in up to the last step, and keeps the address that would do it.
	mallory := newBrowser(t, elsewhere)
	stopped := mallory.stopsAt("/sign-in/oidc/callback")
	mallory.open(s.url + "/sign-in")
	mallory.press("a[href='/sign-in/oidc']")
	mallory.do(chromedp.SendKeys("input[name=login]", "otto", chromedp.ByQuery), chromedp.SendKeys("input[name=password]", "any", chromedp.ByQuery))
	mallory.press("button[type=submit]")
	mallory.do(chromedp.Click("button[type=submit]", chromedp.ByQuery))
	var answer string
	select {
	case answer = <-stopped:
	case <-time.After(patience):
		t.Fatalf("the provider sends nobody back: %s", mallory.text())
	}

	victim := newBrowser(t, elsewhere)
	victim.open(answer)
	victim.shows("This answer does not belong to a sign-in that you have begun here.")
	// Neither does one of her own sign-in help, which has another state.
	victim.open(s.url + "/sign-in")
	victim.press("a[href='/sign-in/oidc']")
	victim.open(answer)
	victim.shows("This answer does not belong to a sign-in that you have begun here.")
	victim.open(s.url + "/decisions")
	victim.shows("Sign in with your organisation")
}
