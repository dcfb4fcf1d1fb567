package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/audit"
)

// shownIDs are the decisions that a list shows, in its order.
func (p *page) shownIDs() string {
	var ids []string
	for _, m := range regexp.MustCompile(`<th scope="row" class="when"><a href="/decisions/([^"]+)"`).FindAllStringSubmatch(p.body, -1) {
		ids = append(ids, m[1])
	}
	return strings.Join(ids, " ")
}

func TestDecisionsAreFiltered(t *testing.T) {
	k := newKit(t)
	b := k.as("vera")
	b.get("/decisions").is(http.StatusOK, "Nothing has been decided yet.")
	k.records(func(r *audit.Record) {
		r.DecisionID, r.Effect, r.ReasonCode, r.Grant = "one", "allow", "policy", "grant-1"
	})
	k.pass(time.Hour)
	k.records(func(r *audit.Record) {
		r.DecisionID, r.Server, r.Subject.ID, r.Frame.Name, r.ReasonCode = "two", "files", "bob", "read_file", "no_match"
	})
	k.pass(time.Hour)
	k.records(func(r *audit.Record) {
		r.DecisionID, r.Frame.Method, r.Frame.Name, r.Effect = "three", "resources/read", "file:///etc/passwd", "hide"
	})
	for query, want := range map[string]string{
		"":                                  "three two one",
		"subject=bob":                       "two",
		"subject=+bob+":                     "two",
		"grant=grant-1":                     "one",
		"server=files":                      "two",
		"method=resources/read":             "three",
		"tool=create_refund":                "one",
		"effect=hide":                       "three",
		"code=no_match":                     "two",
		"since=90m":                         "three two",
		"since=2026-11-25T13:00":            "three two",
		"until=2026-11-25T13:00":            "one",
		"since=2026-11-25T12:30&until=30m":  "two",
		"subject=agent:refunds&effect=deny": "",
		"subject=nobody":                    "",
	} {
		p := b.get("/decisions?" + query).is(http.StatusOK)
		if got := p.shownIDs(); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
		if want == "" {
			p.is(http.StatusOK, "No decision is like that.", "Show all")
		}
	}
	// The form has what was asked for, and says what is wrong with it.
	b.get("/decisions?subject=bob&effect=deny&since=90m").is(http.StatusOK, `value="bob"`, `<option selected>deny</option>`, `value="90m"`,
		`data-live="/decisions/events?effect=deny&amp;since=90m&amp;subject=bob"`)
	b.get("/decisions?since=yesterday").is(http.StatusUnprocessableEntity, "“yesterday” is no time", "2026-11-25T14:30", `value="yesterday"`)
	b.get("/decisions?since=1h&until=2h").is(http.StatusUnprocessableEntity, "has to be earlier")
	b.get("/decisions?before=x").is(http.StatusUnprocessableEntity, "begin with the newest")
}

func TestDecisionsArePaged(t *testing.T) {
	k := newKit(t)
	var want []string
	for range 120 {
		want = append([]string{k.records(nil)}, want...)
	}
	k.records(func(r *audit.Record) { r.Subject.ID = "bob" })
	b := k.as("vera")
	older := regexp.MustCompile(`href="([^"]+)" id="older"`)
	var got []string
	address, pages := "/decisions?subject=agent:refunds", 0
	for address != "" && pages < 10 {
		p := b.get(address).is(http.StatusOK)
		got = append(got, strings.Fields(p.shownIDs())...)
		if pages++; pages > 1 {
			p.without("data-live=").is(http.StatusOK, `href="/decisions?subject=agent%3Arefunds" id="newest"`)
		}
		m := older.FindStringSubmatch(p.body)
		if address = ""; m != nil {
			address = strings.ReplaceAll(m[1], "&amp;", "&")
		}
	}
	if pages < 3 || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%d pages: %q", pages, got)
	}
}

// TestDecisionsStayUpToDate: the list's stream has an event when there is a new
// decision that the list would show, and ends with the session.
func TestDecisionsStayUpToDate(t *testing.T) {
	k := newKit(t)
	b := k.as("vera")
	server := httptest.NewServer(k.console)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/decisions/events?effect=allow", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.cookies {
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || !strings.HasPrefix(got, "text/event-stream") {
		t.Fatalf("%d %s", res.StatusCode, got)
	}
	// read returns what comes next, or "" at the end.
	read := func() string {
		chunk := make([]byte, 1024)
		n, _ := res.Body.Read(chunk)
		return string(chunk[:n])
	}
	if first := read(); !strings.HasPrefix(first, "retry:") {
		t.Fatalf("it begins with %q", first)
	}
	// What has been decided since the page was made is not missed.
	if event := read(); event != "data: changed\n\n" {
		t.Fatalf("the first event is %q", event)
	}
	k.records(func(r *audit.Record) { r.Effect = "allow" })
	if event := read(); event != "data: changed\n\n" {
		t.Errorf("the event is %q", event)
	}
	b.post("/sign-out")
	k.records(func(r *audit.Record) { r.Effect = "allow" })
	for range 5 {
		if read() == "" {
			return
		}
	}
	t.Error("somebody who has signed out is still told of decisions")
}

func TestDecisionHasEverything(t *testing.T) {
	k := newKit(t)
	id := k.decides("create_refund", `{"amount":70000,"card":"4111","note":"a"}`)
	b := k.as("ada")
	p := b.get("/decisions/"+id).is(http.StatusOK,
		"create_refund", "Refund exceeds the policy limit.", `<span class="tag bad">deny</span>`, "a rule of the policy",
		"Refund cap", "policy.servers.stripe.deny#refund-cap", `href="/policy/file?path=servers%2fstripe.rego#L6"`,
		// the rule, from its comment to its end
		"# custom: {id: refund-cap}", "not input.arguments.amount &lt;= 50000", `<span class="l mark"><span class="n" aria-hidden="true">6</span>deny contains`,
		`<a class="mono" href="/grants/`+k.grant.ID+`"`, "agent:refunds", "a client 1", `<a href="/servers/stripe"`,
		"Masked: <code>/card</code>", "Nothing was forwarded.", "The input document", `&#34;protocol_version&#34;`,
		"Before it", strings.Repeat("0", 64), "sha256:"+strings.Repeat("64", 32), "120 bytes", `href="/playground?decision=`+id+`"`, "filled in there")
	p.without("4111", "hide contains", "Another policy was in force")
	k.as("abel").get("/decisions/"+id).is(http.StatusOK, "create_refund").without("/playground")

	id = k.decides("create_refund", `{"amount":20000}`)
	k.record.Outcome(id, audit.Outcome{Forwarded: true, Status: 200, IsError: true, Bytes: 1, DurationUS: 1500, Error: "<b>no"})
	k.records(nil) // with which the outcome is written
	b.get("/decisions/"+id).is(http.StatusOK, "refund-total", "20000 of 60000", `value="33"`, "resets", "1 byte<", "1.5ms", "&lt;b&gt;no")

	// Once another policy is in force, lines of this one would be others.
	k.write(k, "servers/stripe.rego", "# new\n"+kitPolicy)
	k.reload(k)
	b.get("/decisions/"+id).is(http.StatusOK, "Another policy was in force then", "servers/stripe.rego:").without("amount &lt;= 50000", "/policy/file")
	b.get("/decisions/nothing").is(http.StatusNotFound, "no decision of that id", "Look for it by")
}

func TestDecisionThatNoPolicyMade(t *testing.T) {
	k := newKit(t)
	id := k.records(func(r *audit.Record) {
		r.Subject, r.ReasonCode, r.Fault = nil, "malformed", &audit.Fault{Rule: "duplicate-name", Reason: "two <names>"}
	})
	k.as("abel").get("/decisions/"+id).is(http.StatusOK, "duplicate-name", "two &lt;names&gt;", "No policy was asked.", "not known").without("/playground?decision")
	id = k.records(func(r *audit.Record) {
		r.Effect, r.ReasonCode, r.Approval = "approve", "approval_required", &audit.Approval{ID: "appr-1", State: "pending"}
	})
	k.as("abel").get("/decisions/"+id).is(http.StatusOK, `<a href="/approvals/appr-1">`, "pending")
}

// Everything that agents and servers say is text on our pages, and shows itself.
func TestHostileDecisions(t *testing.T) {
	k := newKit(t)
	evil := "\"><script>alert(1)</script><img src=x onerror=alert(1)>\u202egpj.exe\u200b"
	id := k.records(func(r *audit.Record) {
		r.Frame.Name, r.Frame.Method, r.Subject.ID, r.Server, r.Reason, r.ReasonCode, r.Effect = evil, evil, evil, evil, evil, evil, evil
		r.Subject.Groups, r.Client, r.Tool = []string{evil}, &audit.Client{Name: evil, Version: evil}, &audit.Tool{Class: evil, Risk: evil, Pinned: evil}
		r.Rules = []audit.Rule{{Path: evil, ID: evil, File: "javascript:" + evil, Line: 1, Title: evil}}
		r.Quota = []audit.Quota{{Name: evil, Used: evil, Limit: evil}}
		r.Arguments = []byte(`{"x":"</code><script>alert(1)</script>\u202e"}`)
		r.Context.Peer, r.Context.PEP, r.TraceID, r.Grant = evil, evil, evil, "\"onmouseover=alert(1)"
	})
	b := k.as("abel")
	for _, path := range []string{"/decisions", "/decisions/" + id, "/decisions?" + url.Values{"subject": {evil}, "since": {evil}, "effect": {evil}, "code": {evil}}.Encode()} {
		b.get(path).without("<script>alert", "<img src=x", "\u202e", "\u200b", `"onmouseover=`, `href="javascript:`)
	}
	b.get("/decisions/"+id).is(http.StatusOK, `\u202e`, "&lt;script&gt;")
}
