package console

import (
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/identity"
)

// TestPages opens every page in every look.
func TestPages(t *testing.T) {
	s := newSite(t)
	guest := newBrowser(t)
	guest.open(s.url + "/")
	guest.shows("mcpermit console login")
	guest.judged("sign-in")
	guest.open(s.link("abel"))
	guest.judged("sign-in-link")
	guest.open(s.url + "/sign-in?link=wrong")
	guest.press("main button")
	guest.shows("does not sign in any more")
	guest.judged("sign-in-refused")

	b := s.as("ada")
	b.judged("inbox-empty")
	before := call()
	before.Arguments = []byte(`{"amount": 4200, "charge":"ch_3NkX2eLkdIwHu7ix", "reason":"requested_by_customer", "metadata":{"ticket":"48101"}}`)
	first := s.waits(before)
	if _, err := s.book.Refuse(t.Context(), first, approval.Approver{ID: "abel", Groups: []string{"finance"}}, "The parcel is on its way: see the ticket.", "cli"); err != nil {
		t.Fatal(err)
	}
	id := s.waits(call())
	others := call()
	others.Server, others.Name, others.ToolClass, others.ToolRisk = "files", "delete_directory", "destructive", "critical"
	others.Reason, others.Requirements = "Deleting needs two of operations", []approval.Requirement{{Approvers: []string{"group:ops"}, Required: 2}}
	others.Rules = []approval.Rule{{Path: "policy.servers.files.approve", ID: "delete", File: "servers/files.rego", Line: 31, Title: "Deleting"}}
	other := s.waits(others)
	b.open(s.url + "/approvals")
	b.judged("inbox")
	b.open(s.url + "/approvals?all=1")
	b.judged("inbox-all")
	b.open(s.url + "/approvals/" + id)
	b.judged("approval")
	b.press("#refuse")
	b.shows("Say why you refuse")
	b.judged("approval-problem")
	b.open(s.url + "/approvals/" + first)
	b.judged("approval-refused")
	b.open(s.url + "/approvals/" + other)
	b.judged("approval-of-others")
	b.open(s.url + "/approvals/none")
	b.judged("not-found")

	b.open(s.url + "/grants")
	b.judged("grants-empty")
	b.open(s.url + "/grants/new")
	b.judged("grant-new")
	b.do(chromedp.SendKeys("#subject", "agent:refunds", chromedp.ByQuery))
	b.press("#create")
	b.shows("Choose at least one server.")
	b.judged("grant-problem")
	b.do(chromedp.Click("#server-1", chromedp.ByQuery))
	b.press("#create")
	b.shows("shown on this page only")
	b.judged("grant-created")
	b.press("main p:last-child a")
	b.judged("grant")
	b.open(s.url + "/grants")
	b.judged("grants")
	b.press("tbody a")
	b.press("main a.danger")
	b.judged("grant-revoke")
}

func TestApproveAndRefuse(t *testing.T) {
	s := newSite(t)
	b := s.as("abel")
	id := s.waits(call())
	// The inbox keeps itself up to date.
	b.shows("1 call waits", "create_refund")
	b.press("tbody a")
	b.shows("Approve this call", `"amount": 12500`)
	b.do(chromedp.SendKeys("#reason", "the carrier confirms it", chromedp.ByQuery))
	b.press("#approve")
	b.shows("Approved: the identical call may pass, once.", "the carrier confirms it")
	if a := s.becomes(id, approval.Approved); a.Votes[0].Person != "abel" || a.Votes[0].Via != "console" {
		t.Errorf("%+v", a.Votes)
	}

	second := call()
	second.Arguments = []byte(`{"amount": 99000}`)
	id = s.waits(second)
	b.open(s.url + "/approvals/" + id)
	b.shows("Compared with the last call", "99000")
	b.do(chromedp.SendKeys("#reason", "too much", chromedp.ByQuery))
	b.press("#refuse")
	b.shows("Refused. The agent is told why.")
	if a := s.becomes(id, approval.Refused); a.Votes[0].Reason != "too much" {
		t.Errorf("%+v", a.Votes)
	}
}

// TestPagesOfOthersFollow: what one person decides, another one's page shows.
func TestPagesOfOthersFollow(t *testing.T) {
	s := newSite(t)
	id := s.waits(call())
	b := s.as("abel")
	b.open(s.url + "/approvals/" + id)
	b.shows("Approve this call")
	if _, err := s.book.Refuse(t.Context(), id, approval.Approver{ID: "ada", Groups: []string{"finance"}}, "no", "cli"); err != nil {
		t.Fatal(err)
	}
	b.shows("It is refused; there is nothing left to decide.")
	b.open(s.url + "/approvals")
	b.shows("No call waits for a person.", "Live")
	s.waits(call2())
	b.shows("1 call waits")
}

func call2() approval.Approval {
	a := call()
	a.Arguments = []byte(`{"amount":2}`)
	return a
}

var token = regexp.MustCompile(`mcpg_[0-9A-Za-z]{65}`)

func TestCreateAndRevokeAGrant(t *testing.T) {
	s := newSite(t)
	b := s.as("ada")
	b.open(s.url + "/grants")
	b.press("a[href='/grants/new']")
	b.do(chromedp.SendKeys("#subject", "agent:refunds", chromedp.ByQuery), chromedp.Click("#every", chromedp.ByQuery), chromedp.SendKeys("#tools", "create_*", chromedp.ByQuery))
	b.press("#create")
	b.shows("shown on this page only")
	secret := token.FindString(b.text())
	who, err := s.grants.Identify(t.Context(), identity.Evidence{BearerToken: secret}, "stripe")
	if err != nil {
		t.Fatal(err)
	}
	b.open(s.url + "/grants")
	b.shows("agent:refunds", "active")
	if strings.Contains(b.text(), "mcpg_") {
		t.Error("the token is shown again")
	}
	b.press("tbody a")
	b.press("main a.danger")
	b.shows("Revoke the grant of agent:refunds?")
	b.press("#revoke")
	b.shows("Revoked: the token is refused from now on.")
	if _, err := s.grants.Identify(t.Context(), identity.Evidence{BearerToken: secret}, "stripe"); err == nil {
		t.Errorf("grant %s is still good", who.GrantID())
	}
}

// TestKeyboardOnly goes from the link to the vote without a mouse.
func TestKeyboardOnly(t *testing.T) {
	s := newSite(t)
	id := s.waits(call())
	b := newBrowser(t)
	b.open(s.link("abel"))
	b.tabTo("main button")
	b.leaves(chromedp.KeyEvent(kb.Enter))
	b.shows("Sign out")
	// The first stop is the way past the navigation.
	b.do(chromedp.KeyEvent(kb.Tab))
	if !b.focused(".skip") {
		t.Error("the first stop is not the skip link")
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	b.tabTo("tbody a")
	b.leaves(chromedp.KeyEvent(kb.Enter))
	b.shows("Approve this call")
	b.tabTo("#reason")
	b.do(chromedp.KeyEvent("fine"))
	b.tabTo("#approve")
	b.leaves(chromedp.KeyEvent(kb.Enter))
	b.shows("Approved: the identical call may pass, once.")
	s.becomes(id, approval.Approved)
}

// tabTo presses Tab until the element has the focus, and holds that one can see
// where the focus is at every stop.
func (b *browser) tabTo(selector string) {
	b.Helper()
	for range 60 {
		if b.focused(selector) {
			return
		}
		b.do(chromedp.KeyEvent(kb.Tab))
		var visible bool
		b.do(chromedp.Evaluate(`(() => { const e = document.activeElement; return e === document.body || getComputedStyle(e).outlineStyle !== "none" && parseFloat(getComputedStyle(e).outlineWidth) >= 2 })()`, &visible))
		if !visible {
			var what string
			b.do(chromedp.Evaluate("document.activeElement.outerHTML", &what))
			b.Errorf("the focus does not show on %s", what)
		}
	}
	b.Fatalf("no way by Tab to %s", selector)
}

func (b *browser) focused(selector string) bool {
	b.Helper()
	var is bool
	b.do(chromedp.Evaluate(`document.activeElement !== document.body && document.activeElement.matches(`+"`"+selector+"`"+`)`, &is))
	return is
}

// TestWithoutJavaScript does everything that there is to do.
func TestWithoutJavaScript(t *testing.T) {
	s := newSite(t)
	id, refused := s.waits(call()), s.waits(call2())
	b := newBrowser(t)
	b.do(emulation.SetScriptExecutionDisabled(true))
	b.open(s.link("ada"))
	b.press("main button")
	b.press("a[href='/approvals/" + id + "']")
	b.press("#approve")
	s.becomes(id, approval.Approved)
	b.open(s.url + "/approvals/" + refused)
	b.do(chromedp.SendKeys("#reason", "no", chromedp.ByQuery))
	b.press("#refuse")
	s.becomes(refused, approval.Refused)
	b.open(s.url + "/grants/new")
	b.do(chromedp.SendKeys("#subject", "agent:x", chromedp.ByQuery), chromedp.Click("#server-0", chromedp.ByQuery))
	b.press("#create")
	b.press("main p:last-child a")
	b.press("main a.danger")
	b.press("#revoke")
	b.press("header button")
	grants, err := s.grants.List(t.Context(), 10, true)
	if err != nil || len(grants) != 1 || grants[0].RevokedAt.IsZero() {
		t.Errorf("grants: %+v, %v", grants, err)
	}
}

// TestHostileStringsAreInert: no dialog, no script, no markup, no turned text.
// The browser's listener fails the test when anything runs.
func TestHostileStringsAreInert(t *testing.T) {
	s := newSite(t)
	const markup = `"'></title></textarea></code><script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>{{7*7}}javascript:alert(4)`
	a := call()
	a.Name, a.Reason, a.ToolClass, a.ToolRisk, a.Owner, a.Server = markup, markup+"\u202e", markup, markup, markup, markup
	a.Subject = approval.Subject{ID: markup + "\u202e\u200b", Type: "agent", Groups: []string{markup}}
	a.Rules = []approval.Rule{{Path: markup, ID: markup, File: markup, Line: 1, Title: markup, Reason: markup + "2"}}
	a.Arguments = []byte(`{"</code></pre><script>alert(5)</script>":"<iframe srcdoc='<script>alert(6)</script>'>","u":"javascript:alert(7)","t":"` + "\u202e\u2066" + `"}`)
	id := s.waits(a)
	b := s.as("abel")
	for _, path := range []string{"/approvals", "/approvals/" + id, "/approvals?all=1", "/grants?who=%22%3E%3Cscript%3Ealert(8)%3C/script%3E"} {
		b.open(s.url + path)
		var foreign int
		b.do(chromedp.Evaluate(`document.querySelectorAll("main script, main img, main svg, main iframe, main style, main [onerror], main [onload]").length + document.scripts.length - 1`, &foreign))
		if foreign != 0 {
			t.Errorf("%s: %d elements are not ours", path, foreign)
		}
		if strings.ContainsAny(b.text(), "\u202e\u200b\u2066") {
			t.Errorf("%s: characters that turn or hide text", path)
		}
	}
	b.open(s.url + "/approvals/" + id)
	b.shows(`\u202e\u2066`, `<script>alert(5)</script>`)
	b.do(chromedp.SendKeys("#reason", markup, chromedp.ByQuery))
	b.press("#refuse")
	b.shows("Refused. The agent is told why.", "<script>alert(1)</script>")
}

// TestContentPolicyHolds tries what an injected script would.
func TestContentPolicyHolds(t *testing.T) {
	s := newSite(t)
	for what, script := range map[string]string{
		"inline script": `new Promise((done) => { window.ran = false; const e = document.createElement("script"); try { e.textContent = "window.ran = true" } catch { return done(false) } document.body.append(e); done(window.ran) })`,
		"handler":       `new Promise((done) => { try { document.body.innerHTML = "<img src=x onerror='window.ran = true'>" } catch { return done(false) } setTimeout(() => done(window.ran === true), 300) })`,
		"other site":    `fetch("http://localhost:1/").then(() => true, (e) => !String(e).includes("Failed to fetch"))`,
	} {
		b := newBrowser(t, "Content Security Policy", "TrustedScript", "TrustedHTML")
		b.open(s.url + "/sign-in")
		var ran bool
		b.do(chromedp.Evaluate(script, &ran, awaited))
		if ran {
			t.Errorf("%s: it ran", what)
		}
	}
}
