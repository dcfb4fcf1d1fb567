package pdp_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// seeing is a policy that lets everything of the input show in its answer.
const seeing = `package policy.servers.stripe

deny contains sprintf("%v", [object.remove(input, ["arguments"])]) if input.tool.name == "show"

deny contains sprintf("%v", [input]) if input.method in {"prompts/get", "resources/read", "completion/complete", "resources/subscribe"}

allow contains sprintf("%v", [input]) if input.tool.name == "pass"

approve contains {"reason": sprintf("%v", [input.context])} if input.tool.name == "ask"

hide contains "never" if input.tool.name == "hidden"

mask contains "/secret" if input.tool.name == "masked"

allow contains "yes" if input.tool.name == "masked"
`

// records returns what is on record, by decision id.
func (p *point) records(t *testing.T) map[string]*audit.Record {
	t.Helper()
	all := map[string]*audit.Record{}
	err := p.log.Trail().Query(t.Context(), audit.Filter{}, 0, func(r *audit.Record) error {
		all[r.DecisionID] = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestI12_DecisionsReplay makes every kind of decision, and then again from its
// record: the policy shows all that it sees, so that nothing may be missing.
func TestI12_DecisionsReplay(t *testing.T) {
	snapshot := build(t, seeing)
	p := newPoint(t)
	p.Policy = func() *policy.Snapshot { return snapshot }
	p.Servers["stripe"] = pdp.Server{Labels: map[string]string{"env": "prod", "a": "b"}, Trusted: true}
	grant, token, err := p.grants.Create(t.Context(), identity.Grant{
		Subject: identity.Subject{ID: "bob", Type: "agent", Groups: []string{"ops", "night"}}, Servers: []string{"stripe"}, Tools: []string{"*"},
		Labels: map[string]string{"team": "pay"}, ExpiresAt: p.Now().Add(1e12),
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, name, arguments string) *v1.DecideRequest {
		req := p.call(name, arguments)
		req.Evidence.BearerToken, req.Method = token, method
		req.Client = &v1.Client{Name: "client", Version: "1.2"}
		req.Context.Session, req.Context.ProtocolVersion, req.Context.Pep = "a-secret-session", "2025-11-25", "edge-1"
		if method == "tools/call" {
			req.Target.Definition = []byte(`{"name":"` + name + `","annotations":{"readOnlyHint":true,"title":"x"},"inputSchema":{"type":"object"}}`)
		}
		return req
	}
	requests := []*v1.DecideRequest{
		ask("tools/call", "show", `{"b":1.50,"a":[null,true]}`), ask("tools/call", "pass", `{"x":{"y":"z"}}`), ask("tools/call", "pass", ""),
		ask("tools/call", "ask", `{}`), ask("tools/call", "hidden", `{}`), ask("tools/call", "nobody", `{"q":1}`),
		ask("prompts/get", "p", ""), ask("prompts/get", "p", `{"k":"v"}`), ask("resources/read", "file:///A/../b", `{"uri":"file:///A/../b"}`),
		ask("resources/subscribe", "file:///c", `{"uri":"file:///c"}`),
		ask("completion/complete", "p", `{"ref":{"type":"ref/prompt","name":"p"}}`), ask("completion/complete", "file:///{x}", `{"ref":{"type":"ref/resource","uri":"file:///{x}"}}`),
		ask("ping", "", ""), ask("tools/list", "", ""), ask("vendor/x", "", `{"z":1}`),
	}
	want := map[string]*v1.DecideResponse{}
	for _, req := range requests {
		res := p.decide(t, req)
		want[res.GetDecisionId()] = res
	}
	for id, r := range p.records(t) {
		in, err := pdp.InputOf(r)
		if err != nil {
			t.Errorf("%s %s: %v", r.Frame.Method, r.Frame.Name, err)
			continue
		}
		if in.Grant.ID != grant.ID {
			t.Errorf("grant %q", in.Grant.ID)
		}
		got, res := snapshot.Decide(t.Context(), in), want[id]
		if rules := rulesOf(got); !slices.Equal(rules, rulesIn(res)) {
			t.Errorf("%s %s: decided by (-) and replayed by (+):\n%s", r.Frame.Method, r.Frame.Name, cmp.Diff(rulesIn(res), rules))
		}
		if res.GetReasonCode() == v1.ReasonCode_REASON_CODE_NO_MATCH && got.Cause != policy.CauseNoMatch {
			t.Errorf("%s %s: replayed as %+v", r.Frame.Method, r.Frame.Name, got)
		}
		document, err := pdp.Recorded{Trail: p.log.Trail()}.RecordedInput(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		again, err := policy.InputFromJSON(document)
		if err != nil {
			t.Fatalf("%s: %v", document, err)
		}
		if diff := cmp.Diff(got, snapshot.Decide(t.Context(), again), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: from the record (-) and from its document (+):\n%s", r.Frame.Method, diff)
		}
	}
	if len(want) != len(requests) || len(p.records(t)) != len(requests) {
		t.Errorf("%d decisions, %d records", len(want), len(p.records(t)))
	}
}

// rulesIn and rulesOf are what fired, each with the reason that it gave.
func rulesIn(res *v1.DecideResponse) (all []string) {
	for _, r := range res.GetRules() {
		all = append(all, fmt.Sprintf("%s %s:%d %s", r.GetPath(), r.GetFile(), r.GetLine(), r.GetReason()))
	}
	return all
}

func rulesOf(result policy.Result) (all []string) {
	for _, r := range result.Rules {
		all = append(all, fmt.Sprintf("%s %s:%d %s", r.Path, r.File, r.Line, r.Reason))
	}
	return all
}

func TestWhatCannotBeReplayedSaysWhy(t *testing.T) {
	snapshot := build(t, seeing)
	p := newPoint(t)
	p.Policy = func() *policy.Snapshot { return snapshot }
	large := `{"x":"` + fmt.Sprintf("%0*d", 20<<10, 0) + `"}`
	faulty := p.call("pass", `{}`)
	faulty.Fault = &v1.Fault{Rule: "syntax", Reason: "no"}
	for _, c := range []struct {
		req  *v1.DecideRequest
		want error
	}{
		{p.call("masked", `{"secret":"s","x":1}`), pdp.ErrMasked},
		{p.call("pass", large), pdp.ErrTruncated},
		{faulty, pdp.ErrNotByPolicy},
	} {
		res := p.decide(t, c.req)
		r := p.records(t)[res.GetDecisionId()]
		if _, err := pdp.InputOf(r); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.req.GetTarget().GetName(), err, c.want)
		}
		_, err := pdp.Recorded{Trail: p.log.Trail()}.RecordedInput(context.Background(), res.GetDecisionId())
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("RecordedInput: %v", err)
		}
	}
	// People may look at what is left.
	for _, r := range p.records(t) {
		document, err := pdp.DocumentOf(r)
		switch {
		case r.Input == nil && !errors.Is(err, pdp.ErrNotByPolicy):
			t.Errorf("a document that no policy saw: %s, %v", document, err)
		case r.Input != nil && (err != nil || !strings.Contains(string(document), `"method":"tools/call"`)):
			t.Errorf("%s: %s, %v", r.Frame.Name, document, err)
		case len(r.Masked) > 0 && (strings.Contains(string(document), `"s"`) || !strings.Contains(string(document), `"x":1`)):
			t.Errorf("masked: %s", document)
		}
	}
	if _, err := (pdp.Recorded{Trail: p.log.Trail()}).RecordedInput(context.Background(), "nothing"); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown decision: %v", err)
	}
}
