package policy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const withCap = `package policy.servers.s

# METADATA
# custom: {id: cap}
deny contains "too much" if input.arguments.amount > data.caps.refund

allow contains "pays" if input.tool.name == "pay"
`

func TestEditedIsBesideThePolicyInForce(t *testing.T) {
	files := map[string]string{
		"policy/servers/s.rego":      withCap,
		"policy/servers/s_test.rego": "package policy.servers.s_test\n",
		"policy/global/team.rego":    "package policy.global.team\n\nhide contains \"wiped\" if input.tool.name == \"wipe\"\n",
	}
	s := mustBuild(t, bundleOf(map[string]any{"caps": map[string]any{"refund": 100}}, files), Options{})
	want := []File{{"policy/global/team.rego", files["policy/global/team.rego"]}, {"policy/servers/s.rego", withCap}}
	if diff := cmp.Diff(want, s.Files()); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	ctx, call := context.Background(), callOf("pay", `{"amount":500}`)
	edited, err := s.Edited(ctx, "policy/servers/s.rego", strings.Replace(withCap, "> data.caps.refund", "> data.caps.refund * 10", 1), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if before, after := s.Decide(ctx, call), edited.Decide(ctx, call); before.Effect != Deny || after.Effect != Allow {
		t.Errorf("before %v, after %v, %v", before.Effect, after.Effect, after.Err)
	}
	if got := edited.Decide(ctx, callOf("wipe", "{}")); got.Effect != Hide {
		t.Errorf("the other file is gone: %v", got.Effect)
	}
	if edited.Revision() != (Revision{}) {
		t.Errorf("what is tried is called %+v", edited.Revision())
	}
	if diff := cmp.Diff(s.Decide(ctx, call), s.Aside(NewSlots(1)).Decide(ctx, call)); diff != "" {
		t.Errorf("aside (-in force +aside):\n%s", diff)
	}
}

func TestEditedSaysWhereItDoesNotBuild(t *testing.T) {
	s := mustBuild(t, bundleOf(map[string]any{"caps": map[string]any{"refund": 100}}, map[string]string{"policy/servers/s.rego": withCap}), Options{})
	for source, want := range map[string]string{
		"package policy.servers.s\n\nallow contains \"x\" if {":                       "policy/servers/s.rego:3",
		"package policy.servers.s\n\nallow contains \"x\" if nope(input)\n":           "policy/servers/s.rego:3",
		"package policy.servers.s\n\ndefault allow := true\n":                         "policy/servers/s.rego:3",
		"package policy.servers.s\n\nhide contains \"x\" if input.arguments.a == 1\n": "policy/servers/s.rego:3",
		"package system\n": "policy/servers/s.rego:1",
		"":                 "empty",
		"package policy.servers.s\n\nallow contains \"x\" if http.send({})\n": "policy/servers/s.rego:3",
	} {
		if _, err := s.Edited(t.Context(), "policy/servers/s.rego", source, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", source, err, want)
		}
	}
	if _, err := s.Edited(t.Context(), "../x.rego", withCap, Options{}); !errors.Is(err, ErrNoFile) {
		t.Errorf("no file: %v", err)
	}
}

// What people look at aside ends when they are told to stop, long before its
// deadline.
func TestEvaluationsAsideEndWithTheirContext(t *testing.T) {
	// Nothing in it takes long in one step, so that decisions would wait for it.
	slow := "package policy.servers.s\n\nmany := [" + strings.Repeat("1, ", 500) + "1]\n\nallow contains \"late\" if {\n\tsome x in many\n\tsome y in many\n\tsome z in many\n\tx + y == z + 7\n}\n"
	s := mustBuild(t, bundleOf(nil, map[string]string{"s.rego": slow}), Options{})
	edited, err := s.Edited(t.Context(), "s.rego", slow, Options{Slots: NewSlots(1)})
	if err != nil {
		t.Fatal(err)
	}
	for name, aside := range map[string]*Snapshot{"edited": edited, "aside": s.Aside(NewSlots(1))} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		begun := time.Now()
		if got := aside.Explain(ctx, callOf("pay", "{}")); got.Result.Err == nil || time.Since(begun) > explainDeadline/2 {
			t.Errorf("%s: %v after %v", name, got.Result.Err, time.Since(begun))
		}
	}
}
