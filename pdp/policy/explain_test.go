package policy

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const explained = `
# METADATA
# custom: {id: cap}
deny contains "too much" if input.arguments.amount > 100

allow contains "pays" if input.tool.name == "pay"

approve contains "ask" if input.tool.name == "pay"

hide contains "wiped" if input.tool.name == "wipe"
`

func TestExplainNamesWhatDidNotWin(t *testing.T) {
	s := buildOne(t, explained)
	in := callOf("pay", `{"amount":500}`)
	got := s.Explain(context.Background(), in)
	if diff := cmp.Diff(s.Decide(context.Background(), in), got.Result); diff != "" {
		t.Errorf("decided (-) and explained (+):\n%s", diff)
	}
	rule := func(set, id, reason string, line int) Rule {
		return Rule{Path: "policy.servers.s." + set, ID: id, File: "policy/servers/s.rego", Line: line, Reason: reason}
	}
	want := []FiredRule{
		{setDeny, rule("deny", "cap", "too much", 6)},
		{setApprove, rule("approve", "", "ask", 10)},
		{setAllow, rule("allow", "", "pays", 8)},
	}
	if diff := cmp.Diff(want, got.Fired); diff != "" {
		t.Errorf("fired (-want +got):\n%s", diff)
	}
	if !got.Listed {
		t.Error("the tool is not listed, but some refunds can be approved")
	}
	if !strings.Contains(got.Trace, "policy/servers/s.rego:6") || !strings.Contains(got.Trace, "input.arguments.amount") {
		t.Errorf("the trace does not show the rule:\n%s", got.Trace)
	}
	if got := s.Explain(context.Background(), callOf("wipe", `{}`)); got.Listed || got.Result.Effect != Hide {
		t.Errorf("a hidden tool: %+v", got.Result)
	}
}

// TestExplainNamesScopesCredentialsAndAttachments has them all speak of one call.
func TestExplainNamesScopesCredentialsAndAttachments(t *testing.T) {
	s := mustBuild(t, bundleOf(nil, map[string]string{
		"s.rego": `package policy.servers.s
allow contains "pays" if true
# METADATA
# custom: {id: paying}
scope contains "pay:all" if input.tool.name == "pay"
credential contains "read-only" if input.subject.type == "person"
`,
		"a.rego": `package policy.attachments.a
approve contains "ask" if true
scope contains "pay:some" if true
`,
	}), Options{})
	in := callOf("pay", `{}`)
	in.Grant.Policies = []string{"a"}
	in.Subject.Scopes = []string{"pay:all"}
	got := s.Explain(t.Context(), in)
	if diff := cmp.Diff(s.Decide(t.Context(), in), got.Result); diff != "" {
		t.Errorf("decided (-) and explained (+):\n%s", diff)
	}
	if r := got.Result; r.Effect != Deny || r.Cause != CauseScope || !got.Listed {
		t.Errorf("got %+v, listed: %v", r, got.Listed)
	}
	want := []FiredRule{
		{setApprove, Rule{Path: "policy.attachments.a.approve", File: "a.rego", Line: 2, Reason: "ask"}},
		{setAllow, Rule{Path: "policy.servers.s.allow", File: "s.rego", Line: 2, Reason: "pays"}},
		{setScope, Rule{Path: "policy.attachments.a.scope", File: "a.rego", Line: 3, Reason: "pay:some"}},
		{setScope, Rule{Path: "policy.servers.s.scope", ID: "paying", File: "s.rego", Line: 5, Reason: "pay:all"}},
		{setCredential, Rule{Path: "policy.servers.s.credential", File: "s.rego", Line: 6, Reason: "read-only"}},
	}
	if diff := cmp.Diff(want, got.Fired); diff != "" {
		t.Errorf("fired (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Rule{want[2].Rule, want[3].Rule}, got.Result.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	in.Subject.Scopes = append(in.Subject.Scopes, "pay:some")
	if r := s.Explain(t.Context(), in).Result; r.Effect != Approve || r.Credential != "read-only" {
		t.Errorf("got %+v", r)
	}
	in.Grant.Policies = append(in.Grant.Policies, "gone")
	if ex := s.Explain(t.Context(), in); ex.Result.Reason != "The grant's policy gone is not in force." || ex.Listed {
		t.Errorf("got %+v", ex.Result)
	}
}

// TestI12_ExplainDecidesAlike explains the calls of a world.
func TestI12_ExplainDecidesAlike(t *testing.T) {
	s := mustBuild(t, bundleOf(worldData, generated{"s.rego": "package policy.servers.s\n" + fixedHelpers + explained}), Options{})
	for _, tool := range worldTools {
		for _, arguments := range worldArguments() {
			in := worldInput(worldSubjects[1], worldTimes[0])
			in.Tool, in.Arguments = &tool, arguments
			document, err := in.Document()
			if err != nil {
				t.Fatal(err)
			}
			recorded, err := InputFromJSON(document)
			if err != nil {
				t.Fatal(err)
			}
			want := s.Decide(context.Background(), in)
			if diff := cmp.Diff(want, s.Decide(context.Background(), recorded), sameResult); diff != "" {
				t.Fatalf("decided (-) and replayed from %s (+):\n%s", document, diff)
			}
			if diff := cmp.Diff(want, s.Explain(context.Background(), recorded).Result, sameResult); diff != "" {
				t.Fatalf("decided (-) and explained from %s (+):\n%s", document, diff)
			}
		}
	}
}

func TestExplainShowsWhereItWentWrong(t *testing.T) {
	s := buildOne(t, `allow contains "x" if to_number(input.arguments.amount) > 5`)
	got := s.Explain(context.Background(), callOf("pay", `{"amount":"five"}`))
	if got.Result.Cause != CauseError || got.Result.Effect != Deny || got.Result.Err == nil {
		t.Errorf("result %+v", got.Result)
	}
	if !strings.Contains(got.Trace, "to_number") {
		t.Errorf("the trace does not show the call:\n%s", got.Trace)
	}
	if got := s.Explain(context.Background(), callOf("pay", `[]`)); got.Result.Err == nil || got.Trace != "" {
		t.Errorf("an unreadable input: %+v", got)
	}
}
