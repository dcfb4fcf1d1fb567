package console_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestPolicyIsShown(t *testing.T) {
	k := newKit(t)
	k.write(k, "global/team.rego", "package policy.global.team\n\nhide contains \"<i>not</i> for agents\" if data.helpers.wipes\n\nhide contains \"drop\" if input.tool.name == \"drop\"\n")
	k.write(k, "helpers.rego", "package helpers\n\nwipes if input.tool.name == \"wipe\"\n")
	k.reload(k)
	b := k.as("vera")
	b.get("/policy").is(http.StatusOK, "in force", k.policy, k.loader.Current().Revision().Digest, "8 rules",
		"policy.servers.stripe.deny", "Refund cap", `href="/policy/file?path=servers%2fstripe.rego#L6"`,
		"not-indexed", "1 rule is not indexed", `href="/policy/file?path=global%2fteam.rego#L3"`, "helpers.rego").without("Try other rules", "failed")
	p := b.get("/policy/file?path=servers/stripe.rego").is(http.StatusOK, `id="L6"`, `<span class="l mark" id="L6">`, "Refund exceeds the policy limit.", `id="L26"`)
	if n := strings.Count(p.body, `<span class="l mark"`); n != 6 {
		t.Errorf("%d rules are marked", n)
	}
	b.get("/policy/file?path=global/team.rego").is(http.StatusOK, "&lt;i&gt;not&lt;/i&gt;", "(not-indexed)")
	b.get("/policy/file?path=../../etc/passwd").is(http.StatusNotFound, "The policy page has its files.")
	k.as("ada").get("/policy").is(http.StatusOK, "Try other rules")

	// What does not load stays out, and the page says why.
	k.write(k, "global/team.rego", "package policy.global.team\n\nhide contains \"x\" if {\n")
	if err := k.loader.Reload(t.Context()); err == nil {
		t.Fatal("a broken policy loads")
	}
	b.get("/policy").is(http.StatusOK, "The last attempt to load it failed", "global/team.rego:4", "What was in force stays in force", "8 rules")
}

func TestNoPolicyIsShown(t *testing.T) {
	k := newKit(t)
	empty := newPointOf(k, map[string]string{"x.txt": ""})
	k.options.Policy = empty.loader
	k.restart()
	k.as("vera").get("/policy").is(http.StatusOK, "none in force", "every call is denied", "no .rego file was found")
	k.as("vera").get("/policy/file?path=x").is(http.StatusNotFound, "No policy is in force")
	k.as("ada").get("/playground").is(http.StatusConflict, "No policy is in force")
	k.as("ada").post("/playground", "file", "x").is(http.StatusConflict, "No policy is in force")
	id := k.decides("create_refund", `{"amount":70000}`)
	k.as("vera").get("/decisions/"+id).is(http.StatusOK, "Another policy was in force")
}
