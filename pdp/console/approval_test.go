package console_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/audit"
)

func TestInboxShowsWhoWantsWhat(t *testing.T) {
	k := newKit(t)
	b := k.as("abel")
	b.get("/approvals").is(http.StatusOK, "No call waits for a person.")
	id := k.waits(call())
	b.get("/approvals").is(http.StatusOK, "1 call waits", "1 for you", `href="/approvals/`+id+`"`, "create_refund", "on stripe", "financial", "high risk",
		"agent:refunds", "of olga", "Refunds above 100.00 need a person", "big-refund", "0 of 1", "yours is missing", "1 h 0 min")
	k.as("ada").get("/approvals").is(http.StatusOK, "0 for you").without("yours is missing")
	k.pass(2 * time.Hour)
	b.get("/approvals").is(http.StatusOK, "No call waits for a person.")
	b.get("/approvals?all=1").is(http.StatusOK, "create_refund", "expired")
}

func TestApprovalPageShowsTheCall(t *testing.T) {
	k := newKit(t)
	a := call()
	a.Arguments = []byte(`{"z":9007199254740993, "a":"\u0070ay","n":{"list":[1.50,true,null]}}`)
	id := k.waits(a)
	k.as("abel").get("/approvals/"+id).is(http.StatusOK,
		"{\n  &#34;z&#34;: 9007199254740993,\n  &#34;a&#34;: &#34;pay&#34;,\n  &#34;n&#34;: {\n    &#34;list&#34;: [\n      1.50,", // as the server reads it
		`{&#34;z&#34;:9007199254740993, &#34;a&#34;:&#34;\u0070ay&#34;`,                                                            // as it was sent
		"servers/stripe.rego:12", "policy.servers.stripe.approve#big-refund", "Big refunds", "group:finance", "0 of 1", "olga", "agent:refunds",
		`href="/grants/grant-1"`, "tools/call", "Approve this call", "Refuse")
}

func TestAnswersToTheServerAreShown(t *testing.T) {
	k := newKit(t)
	a := call()
	plain := k.waits(a)
	a.Responses = []byte(`{"to":{"action":"accept","content":{"iban":"DE00","password":"hunter2"}}}`)
	id := k.waits(a)
	k.as("abel").get("/approvals/" + plain).is(http.StatusOK).without("Answers to the server")
	k.as("abel").get("/approvals/"+id).is(http.StatusOK, "Answers to the server", "&#34;iban&#34;: &#34;DE00&#34;").without("hunter2")
}

func TestApprove(t *testing.T) {
	k := newKit(t)
	id := k.waits(call())
	b := k.as("abel")
	b.post("/approvals/"+id+"/approve", "reason", "the customer called").leads("/approvals/" + id + "?done=approved")
	if got := k.state(id); got != "approved" {
		t.Fatal(got)
	}
	b.get("/approvals/"+id+"?done=approved").is(http.StatusOK, "Approved: the identical call may pass, once.", "approved</span> by <b>abel</b>", "the customer called", "console",
		"It is approved; there is nothing left to decide.").without("Approve this call")
	if got, want := k.acts(), []string{"abel approve " + id + ": taken"}; !slices.Equal(got, want) {
		t.Errorf("on record: %q, want %q", got, want)
	}
}

func TestTwoOfThem(t *testing.T) {
	k := newKit(t)
	a := call()
	a.Requirements = []approval.Requirement{{Approvers: []string{"group:finance"}, Required: 2}}
	id := k.waits(a)
	first := k.as("abel")
	first.post("/approvals/" + id + "/approve").leads("/approvals/" + id + "?done=voted")
	first.get("/approvals/"+id).is(http.StatusOK, "1 of 2", "You have approved it. It waits for others.").without("Approve this call")
	first.post("/approvals/" + id + "/approve").leads("/approvals/" + id + "?done=voted")
	if got := k.state(id); got != "pending" {
		t.Fatalf("one person approved twice, and it is %s", got)
	}
	k.as("fine").post("/approvals/" + id + "/approve").leads("/approvals/" + id + "?done=approved")
}

func TestRefuse(t *testing.T) {
	k := newKit(t)
	id := k.waits(call())
	b := k.as("abel")
	b.post("/approvals/"+id+"/refuse", "reason", "  ").is(http.StatusUnprocessableEntity, "Say why you refuse", "Approve this call")
	if got := k.state(id); got != "pending" {
		t.Fatal(got)
	}
	b.post("/approvals/"+id+"/refuse", "reason", "not this customer").leads("/approvals/" + id + "?done=refused")
	if got := k.state(id); got != "refused" {
		t.Fatal(got)
	}
	b.get("/approvals/"+id).is(http.StatusOK, "not this customer")
	b.post("/approvals/"+id+"/approve").is(http.StatusConflict, "It was too late: the call is refused.")
	k.browser() // the pages of others say so as well
	k.as("fine").get("/approvals/"+id).is(http.StatusOK, "It is refused; there is nothing left to decide.")
}

// TestWhoMayNotDecide: the page says why, and the act is refused and on record.
func TestWhoMayNotDecide(t *testing.T) {
	k := newKit(t)
	own, agents := call(), call()
	own.Subject = approval.Subject{ID: "abel", Type: "person"}
	agents.Owner, agents.Arguments = "abel", []byte(`{}`)
	for what, c := range map[string]struct {
		person string
		call   approval.Approval
		text   string
	}{
		"own call":         {"abel", own, "This is your own call, or your own agent&#39;s"},
		"own agent's call": {"abel", agents, "This is your own call, or your own agent&#39;s"},
		"not named":        {"ada", call(), "None of the rules that asked names you"},
		"a viewer":         {"vera", call(), "You are signed in as a viewer"},
	} {
		id := k.waits(c.call)
		b := k.as(c.person)
		b.get("/approvals/"+id).is(http.StatusOK, c.text).without("Approve this call", "/approve")
		before := len(k.acts())
		for _, act := range []string{"approve", "refuse"} {
			b.post("/approvals/"+id+"/"+act, "reason", "x").is(http.StatusForbidden)
		}
		if got := k.state(id); got != "pending" {
			t.Errorf("%s: it is %s", what, got)
		}
		if got := len(k.acts()) - before; c.person != "vera" && got != 2 {
			t.Errorf("%s: %d acts on record, want 2", what, got)
		}
	}
}

func TestWhatIsNotRecordedIsNotDone(t *testing.T) {
	k := newKit(t)
	id := k.waits(call())
	b := k.as("abel")
	k.record.fails.Store(true)
	b.post("/approvals/"+id+"/approve").is(http.StatusServiceUnavailable, "could not be recorded, so it was not taken").without("disk")
	if got := k.state(id); got != "pending" {
		t.Error(got)
	}
}

func TestUnknownApproval(t *testing.T) {
	k := newKit(t)
	b := k.as("abel")
	b.get("/approvals/nothing").is(http.StatusNotFound, "There is no approval of that id.")
	b.post("/approvals/nothing/approve").is(http.StatusNotFound)
	b.post("/approvals/nothing/refuse", "reason", "x").is(http.StatusNotFound)
}

func TestMaskedValuesAreNotShown(t *testing.T) {
	k := newKit(t)
	before := call()
	before.Arguments, before.Masked = []byte(`{"amount":1,"iban":"DE00111122223333","password":"hunter2"}`), []string{"/iban"}
	k.waits(before)
	k.pass(time.Minute)
	a := before
	a.Arguments = []byte(`{"amount":2,"iban":"DE99888877776666","password":"hunter3"}`)
	id := k.waits(a)
	k.as("abel").get("/approvals/"+id).is(http.StatusOK, "[masked]", "Some values are masked", "the last call").
		without("DE00", "DE99", "hunter")
}

func TestComparedWithTheLastCall(t *testing.T) {
	k := newKit(t)
	other := call()
	other.Subject.ID, other.Arguments = "agent:other", []byte(`{"amount":77777}`)
	k.waits(other)
	k.pass(time.Minute)
	first := k.waits(call())
	b := k.as("abel")
	b.get("/approvals/" + first).is(http.StatusOK).without("Compared with the last call")
	k.pass(time.Minute)
	a := call()
	a.Arguments = []byte(`{"amount": 990000, "charge":"ch_1"}`)
	second := k.waits(a)
	b.get("/approvals/"+second).is(http.StatusOK, "Compared with the last call", `href="/approvals/`+first+`"`,
		"- </span>  &#34;amount&#34;: 12500,</del>", "+ </span>  &#34;amount&#34;: 990000,</ins>").without("77777")

	// A later call in the audit trail is nearer.
	k.pass(time.Minute)
	err := k.record.Record(t.Context(), &audit.Record{
		Time: k.clock(), DecisionID: "decision-9", Subject: &audit.Subject{ID: "agent:refunds", Type: "agent"}, Server: "stripe", Effect: "allow",
		Frame: audit.Frame{Method: "tools/call", Name: "create_refund"}, Arguments: []byte(`{"amount": 5, "charge":"ch_1"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	k.pass(time.Minute)
	a.Arguments = []byte(`{"amount": 6, "charge":"ch_1"}`)
	b.get("/approvals/"+k.waits(a)).is(http.StatusOK, "&#34;amount&#34;: 5,</del>", "&#34;amount&#34;: 6,</ins>", "allow")
	k.pass(time.Minute)
	a.Arguments, a.GrantID = []byte(`{"charge":"ch_1", "amount": 6 }`), "grant-2"
	b.get("/approvals/"+k.waits(a)).is(http.StatusOK, "Compared with the last call")
}

// TestHostileStrings puts them wherever others write text.
func TestHostileStrings(t *testing.T) {
	k := newKit(t)
	const markup, turned = `"><script>alert(1)</script><img src=x onerror=alert(2)>`, "pay\u202e001\u200b"
	a := call()
	a.Name, a.Reason, a.ToolClass, a.ToolRisk = markup+turned, markup+turned, markup, markup
	a.Subject = approval.Subject{ID: markup + turned, Type: "agent", Groups: []string{markup + turned}}
	a.Owner, a.Server = markup+turned, markup
	a.Rules = []approval.Rule{{Path: markup + turned, ID: markup, File: markup, Line: 3, Title: turned, Reason: markup}}
	a.Requirements = []approval.Requirement{{Approvers: []string{markup + turned, "group:finance"}, Required: 1}}
	a.Policy = approval.Policy{Revision: markup, Digest: markup}
	a.Arguments = []byte(`{"</code><script>alert(3)</script>":"javascript:alert(4)","x":"` + turned + `","y":"\u001b[2J\u0000"}`)
	id := k.waits(a)
	b := k.as("abel")
	for _, p := range []*page{b.get("/approvals"), b.get("/approvals/" + id), b.get("/approvals?all=1"), b.get("/grants?who=" + "%22%3E%3Cscript%3Ealert(1)")} {
		p.is(http.StatusOK).without("<script>", "<img src=x", "onerror=alert(2)>", "\u202e", "\u200b", "\x1b", "\x00")
		if n := strings.Count(p.body, "<script"); n != 1 {
			t.Errorf("%d scripts, want ours alone", n)
		}
	}
	b.get("/approvals/"+id).is(http.StatusOK, `pay\u202e001\u200b`, `\u001b[2J\u0000`)
	b.post("/approvals/"+id+"/refuse", "reason", markup+turned).leads("/approvals/" + id + "?done=refused")
	b.get("/approvals/"+id).is(http.StatusOK, "&lt;script&gt;alert(1)").without("<script>alert", "\u202e")
	b.get("/approvals?done=%3Cscript%3E").is(http.StatusOK).without("<script>", "&lt;script&gt;")
}
