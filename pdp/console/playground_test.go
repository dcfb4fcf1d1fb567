package console_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/console"
)

const kitFile = "servers/stripe.rego"

// kitInput is a refund as the policy sees it.
const kitInput = `{"method":"tools/call","server":{"name":"stripe"},"subject":{"id":"ann","type":"person"},"grant":{"id":"g"},
	"tool":{"name":"create_refund","class":"financial"},"arguments":{"amount":70000},"context":{"time":"2026-11-25T12:00:00Z"}}`

func TestPlaygroundBeginsWithADecision(t *testing.T) {
	k := newKit(t)
	b := k.as("ada")
	b.get("/playground").is(http.StatusOK, "What the policy sees of a call, as JSON", "Refund exceeds", ">servers/stripe.rego</label>")
	k.write(k, "aaa.rego", "package aaa\n")
	k.reload(k)
	id := k.decides("create_refund", `{"amount":70000}`)
	b.get("/playground").is(http.StatusOK, "&#34;amount&#34;: 70000", "From <a href=\"/decisions/"+id, ">servers/stripe.rego</label>")
	b.get("/playground?decision="+id).is(http.StatusOK, "&#34;amount&#34;: 70000", ">servers/stripe.rego</label>")
	b.get("/playground?decision="+id+"&file=aaa.rego").is(http.StatusOK, "&#34;amount&#34;: 70000", "package aaa", ">aaa.rego</label>")
	b.get("/playground?file=nothing.rego").is(http.StatusNotFound, "no such file")
	b.get("/playground?decision=nothing").is(http.StatusNotFound, "There is no decision of that id", "Refund exceeds")
	malformed := k.records(func(r *audit.Record) { r.ReasonCode = "malformed" })
	b.get("/playground?decision="+malformed).is(http.StatusUnprocessableEntity, "No policy was asked for that decision")
	masked := k.decides("create_refund", `{"amount":70000,"card":"4111"}`)
	b.get("/playground?decision="+masked).is(http.StatusOK, "[masked]", "fill in what you want to try").without("4111")
	long := k.decides("create_refund", `{"amount":70000,"note":"`+strings.Repeat("x", 20<<10)+`"}`)
	b.get("/playground?decision="+long).is(http.StatusOK, "too long for the record")
}

func TestPlaygroundShowsWhatChanges(t *testing.T) {
	k := newKit(t)
	b := k.as("ada")
	before := k.record.Status().Entries
	same := b.post("/playground", "file", kitFile, "source", kitPolicy, "input", kitInput)
	same.is(http.StatusOK, "The decision is: deny", "nothing was edited", "policy.servers.stripe.deny#refund-cap", "Refund exceeds the policy limit.", "Listed for this subject.").
		without("As edited")
	edited := strings.ReplaceAll(kitPolicy, "<= 50000", "<= 90000")
	p := b.post("/playground", "file", kitFile, "source", strings.ReplaceAll(edited, "\n", "\r\n"), "input", kitInput)
	p.is(http.StatusOK, "The decision changes: deny → allow", "By the policy in force", "As edited", "Refunds within the cap",
		"refund-total", "0 of 60000", "70000 for this call", "no room for it", "&lt;= 90000")
	// Nothing came of it.
	if got := k.record.Status().Entries; got != before {
		t.Errorf("%d entries on the trail, before %d", got, before)
	}
	if counters := k.as("ada").get("/quotas"); !strings.Contains(counters.body, "Nothing has been counted") {
		t.Error("the playground has counted the call")
	}
	if files := k.loader.Current().Files(); files[0].Source != kitPolicy {
		t.Error("the playground has changed the policy in force")
	}
	// A rule that lost is named, too.
	both := strings.ReplaceAll(kitPolicy, "amount > 0\n\tinput.arguments.amount <= 50000", "amount > 0")
	b.post("/playground", "file", kitFile, "source", both, "input", kitInput).is(http.StatusOK, "The decision stays: deny", "did not win", "Refunds within the cap")
	asking := kitPolicy + "\napprove contains {\"reason\": \"ask\", \"approvers\": [\"group:finance\"], \"required\": 2} if input.tool.name == \"create_refund\"\n"
	b.post("/playground", "file", kitFile, "source", strings.ReplaceAll(asking, "deny contains", "later contains"), "input", kitInput).
		is(http.StatusOK, "deny → approve", "Asks group:finance, 2 of them.")
}

func TestPlaygroundSaysWhatIsWrong(t *testing.T) {
	k := newKit(t)
	b := k.as("ada")
	for what, c := range map[string]struct {
		source, input string
		status        int
		text          []string
	}{
		"does not parse": {"package policy.servers.stripe\n\nallow contains \"x\" if {\n", kitInput, http.StatusUnprocessableEntity, []string{"The file does not build", "servers/stripe.rego:4", "By the policy in force"}},
		"does not compile": {
			"package policy.servers.stripe\n\nallow contains \"x\" if http.send({\"url\": \"http://127.0.0.1\"})\n", kitInput,
			http.StatusUnprocessableEntity,
			[]string{"servers/stripe.rego:3", "http.send"},
		},
		"fails":               {strings.ReplaceAll(kitPolicy, "\"Reading is free\" if", "1 if input.tool.name == \"create_refund\"\n\nallow contains \"Reading is free\" if"), strings.ReplaceAll(kitInput, "70000", "1"), http.StatusOK, []string{"the policy could not decide", "a member must be a reason"}},
		"no JSON":             {kitPolicy, `{"method":`, http.StatusUnprocessableEntity, []string{"Not an input document"}},
		"unknown member":      {kitPolicy, `{"method":"ping","server":{"name":"s"},"x":1}`, http.StatusUnprocessableEntity, []string{"Not an input document"}},
		"no input":            {kitPolicy, " ", http.StatusUnprocessableEntity, []string{"There is no input to decide on"}},
		"a long file":         {kitPolicy + strings.Repeat("#", 256<<10), kitInput, http.StatusUnprocessableEntity, []string{"longer than 256 KiB"}},
		"a long input":        {kitPolicy, kitInput + strings.Repeat(" ", 256<<10), http.StatusUnprocessableEntity, []string{"longer than 256 KiB"}},
		"hostile":             {"package policy.servers.stripe\n</textarea><script>alert(1)</script>", kitInput, http.StatusUnprocessableEntity, []string{"&lt;/textarea&gt;"}},
		"a quota at fault":    {kitPolicy, strings.ReplaceAll(kitInput, "70000", "-1"), http.StatusOK, []string{"The decision is: deny", "No rule allows this call with these arguments."}},
		"a cost that is none": {strings.ReplaceAll(kitPolicy, "input.arguments.amount > 0", "true"), strings.ReplaceAll(kitInput, "70000", "-1"), http.StatusOK, []string{"deny → allow", "costs against quota", "is negative"}},
	} {
		p := b.post("/playground", "file", kitFile, "source", c.source, "input", c.input)
		if p.status != c.status {
			t.Errorf("%s: %d %s", what, p.status, p.body)
		}
		p.is(c.status, c.text...).without("<script>alert")
	}
	b.post("/playground", "file", "nothing.rego", "source", "", "input", kitInput).is(http.StatusNotFound, "no such file any more")
	b.post("/playground", "file", kitFile, "source", strings.Repeat("x", 5<<20)).is(http.StatusRequestEntityTooLarge)
}

// TestPlaygroundIsBounded: rules that go on and on are given up, and take no
// decision along; while they are, their author tries nothing else.
func TestPlaygroundIsBounded(t *testing.T) {
	k := newKit(t)
	console.SetTryTime(t, 300*time.Millisecond)
	slow := kitPolicy + "\nallow contains \"late\" if count([x | x := numbers.range(1, 20000)[_]; y := numbers.range(1, 20000)[_]; x + y == 0]) == 1\n"
	b := k.as("ada")
	// The evaluation ends in time, or else the try as a whole: which of the two
	// bounds comes first is the machine's affair.
	if p := b.post("/playground", "file", kitFile, "source", slow, "input", kitInput); p.status == http.StatusOK {
		p.is(http.StatusOK, "the evaluation ran out of time", "numbers.range")
	} else {
		p.is(http.StatusUnprocessableEntity, "was given up", "numbers.range")
	}
	k.decides("get_balance", `{}`)
	k.as("vera").get("/decisions").is(http.StatusOK, "get_balance", `<span class="tag good">allow</span>`)

	release := console.HoldTries(k.console, "ada")
	b.post("/playground", "file", kitFile, "source", kitPolicy, "input", kitInput).is(http.StatusTooManyRequests, "still under way", "Refund exceeds")
	release()
	console.HoldTries(k.console, "fine")
	release = console.HoldTries(k.console, "abel")
	b.post("/playground", "file", kitFile, "source", kitPolicy, "input", kitInput).is(http.StatusTooManyRequests, "Others are trying")
	release()
	b.post("/playground", "file", kitFile, "source", kitPolicy, "input", kitInput).is(http.StatusOK, "The decision is: deny")
}
