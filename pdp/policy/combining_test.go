package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v4"
)

// combiningCase is one policy of testdata/combining.yaml and what it decides.
type combiningCase struct {
	Name   string
	Policy string
	// Attachments are the rules of attachments, by the name.
	Attachments map[string]string

	Calls []combiningCall
}

type combiningCall struct {
	Method, Tool, Prompt, Resource, Direction, Time string

	Subject   Subject
	Policies  []string // of the grant
	Arguments map[string]any

	Effect, Cause, Reason, Error string

	Rules     []string
	Listed    *bool
	Approvals []Approval
	Quotas    []Quota
	Mask      []string
	Scopes    []string

	Credential string
}

func (c combiningCase) modules() map[string]string {
	modules := map[string]string{"policy/s.rego": c.Policy}
	for name, rules := range c.Attachments {
		modules["policy/"+name+".rego"] = "package policy.attachments[\"" + name + "\"]\n" + rules
	}
	return modules
}

func (c combiningCall) input(t *testing.T) *Input {
	t.Helper()
	document := map[string]any{
		"server":  map[string]any{"name": "s"},
		"method":  c.Method,
		"subject": map[string]any{"id": c.Subject.ID, "type": c.Subject.Type, "groups": c.Subject.Groups, "scopes": c.Subject.Scopes},
		"context": map[string]any{"direction": c.Direction, "time": c.Time},
	}
	if c.Policies != nil {
		document["grant"] = map[string]any{"id": "g", "policies": c.Policies}
	}
	if c.Tool != "" {
		document["method"] = "tools/call"
		document["tool"] = map[string]any{"name": c.Tool, "class": "unknown"}
	}
	if c.Prompt != "" {
		document["prompt"] = map[string]any{"name": c.Prompt}
	}
	if c.Arguments != nil {
		document["arguments"] = c.Arguments
	}
	b, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	in, err := InputFromJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	in.Resource = c.Resource // also those that InputFromJSON refuses
	return in
}

func (c combiningCall) want() Result {
	want := Result{Reason: c.Reason, Approvals: c.Approvals, Quotas: c.Quotas, Mask: c.Mask, Scopes: c.Scopes, Credential: c.Credential}
	for effect, name := range effectNames {
		if name == c.Effect {
			want.Effect = Effect(effect)
		}
	}
	want.Cause = CauseRule
	for cause, name := range causeNames {
		if name == c.Cause {
			want.Cause = Cause(cause)
		}
	}
	return want
}

// TestCombining decides the calls of testdata/combining.yaml, with and without
// the rule index, and reading all arguments or only those that rules read.
func TestCombining(t *testing.T) {
	b, err := os.ReadFile("testdata/combining.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var groups []combiningCase
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&groups); err != nil {
		t.Fatal(err)
	}
	for _, group := range groups {
		t.Run(group.Name, func(t *testing.T) {
			s := mustBuild(t, bundleOf(nil, group.modules()), Options{})
			plain := *s
			plain.indexing, plain.reads = false, readEverything
			for i, call := range group.Calls {
				name := fmt.Sprintf("%d %s%s", i, call.Tool, call.Method)
				t.Run(name, func(t *testing.T) { call.check(t, s) })
				t.Run(name+" plain", func(t *testing.T) { call.check(t, &plain) })
			}
		})
	}
}

func (c combiningCall) check(t *testing.T, s *Snapshot) {
	in := c.input(t)
	got := s.Decide(context.Background(), in)
	if c.Error != "" {
		if got.Err == nil || !strings.Contains(got.Err.Error(), c.Error) {
			t.Errorf("error %v, want one that says %q", got.Err, c.Error)
		}
		got.Err = nil
	}
	var rules []string
	for _, r := range got.Rules {
		rules = append(rules, strings.TrimSuffix(r.Path[strings.LastIndex(r.Path, ".")+1:]+"#"+r.ID, "#"))
	}
	if diff := cmp.Diff(c.Rules, rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	got.Rules = nil
	if diff := cmp.Diff(c.want(), got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if c.Listed != nil {
		item := Item{Tool: in.Tool, Prompt: in.Prompt, Resource: in.Resource}
		if listed := isListed(t, s, in, item); listed != *c.Listed {
			t.Errorf("listed: %v, want %v", listed, *c.Listed)
		}
	}
}
