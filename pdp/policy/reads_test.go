package policy

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// libraryReads are what the library itself reads, whatever the policy.
var libraryReads = []string{"arguments.notifications", "context.direction", "method", "prompt", "resource", "server.name"}

// paths are what is read beside libraryReads, in their form.
func (r *inputReads) paths() []string {
	var all []string
	for member, n := range r.members {
		if n.all {
			all = append(all, member)
			continue
		}
		for name := range n.set {
			all = append(all, member+"."+name)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(all, func(path string) bool { return slices.Contains(libraryReads, path) })
}

// TestInputReads says what a policy reads of its input; nil is everything.
func TestInputReads(t *testing.T) {
	for source, want := range map[string][]string{
		`allow contains "x" if input.tool.name == "t"`:                            {"tool.name"},
		`allow contains "x" if input.arguments.a.b > 3`:                           {"arguments.a"},
		`allow contains "x" if input["arguments"]["a"]`:                           {"arguments.a"},
		`allow contains input.arguments.reason if input.arguments.b`:              {"arguments.b", "arguments.reason"},
		`allow contains "x" if input.tool[input.arguments.key]`:                   {"arguments.key", "tool"},
		`allow contains "x" if "admins" in input.subject.groups`:                  {"subject.groups"},
		`allow contains "x" if input.subject.claims.level[_] == 1`:                {"subject.claims"},
		`allow contains "x" if input.grant == null`:                               {"grant"},
		`allow contains "x" if input.grant.labels.team == "pay"`:                  {"grant.labels"},
		`allow contains "x" if count(input.grant.policies) == 0`:                  {"grant.policies"},
		`allow contains "x" if input.subject.actor.id == "a"`:                     {"subject.actor"},
		`h if not input.arguments.c`:                                              {"arguments.c"},
		`quota contains {"name": "q", "cost": input.arguments.n} if input.method`: {"arguments.n"},
		`allow contains "x" if input.arguments`:                                   {"arguments"},
		`allow contains "x" if { a := input.arguments; a.b }`:                     {"arguments"},
		`allow contains "x" if count(input.arguments) > 0`:                        {"arguments"},
		`allow contains "x" if input.arguments[_] == 5`:                           {"arguments"},
		`allow contains "x" if input.arguments[input.tool.name]`:                  {"arguments", "tool.name"},
		`allow contains "x" if { some k; input[k] == 5 }`:                         nil,
		`allow contains "x" if object.get(input, ["arguments", "a"], 0) == 5`:     nil,
		`allow contains "x" if { x := input; x.arguments.a }`:                     nil,
		`allow contains "x" if { x := [input]; x[0].arguments.a }`:                nil,
		`allow contains "x" if input == {"arguments": {}}`:                        nil,
		`h := input`: nil,
	} {
		s := buildOne(t, source)
		if s.reads.all != (want == nil) {
			t.Errorf("%s\nreads everything: %v", source, s.reads.all)
		}
		if want == nil {
			continue
		}
		if diff := cmp.Diff(want, s.reads.paths(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s\nreads (-want +got):\n%s", source, diff)
		}
	}
}

// TestUnreadArgumentsAreStillChecked has what is wrong where no rule looks.
func TestUnreadArgumentsAreStillChecked(t *testing.T) {
	s := buildOne(t, `allow contains "x" if input.arguments.a == 1`)
	for arguments, want := range map[string]Effect{
		`{"a":1,"b":{"c":[1,2,{"d":null}]}}`: Allow,
		`{"b":{"a":2},"a":1}`:                Allow,
		`{"a":1,"b":{"c":1,"c":2}}`:          Deny,
		`{"a":1,"b":[1,]}`:                   Deny,
		`{"a":1,"b":2,"b":3}`:                Deny,
		"{\"a\":1,\"b\":\"\xff\"}":           Deny,
	} {
		if got := s.Decide(context.Background(), callOf("t", arguments)); got.Effect != want {
			t.Errorf("%s: %+v, want %v", arguments, got, want)
		}
	}
}
