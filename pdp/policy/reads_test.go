package policy

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestArgumentsRead says which arguments a policy reads. The library itself
// reads `notifications`, of subscriptions/listen.
func TestArgumentsRead(t *testing.T) {
	for source, want := range map[string][]string{
		`allow contains "x" if input.tool.name == "t"`:                            {},
		`allow contains "x" if input.arguments.a.b > 3`:                           {"a"},
		`allow contains "x" if input["arguments"]["a"]`:                           {"a"},
		`allow contains input.arguments.reason if input.arguments.b`:              {"b", "reason"},
		`allow contains "x" if input.tool[input.arguments.key]`:                   {"key"},
		`h if not input.arguments.c`:                                              {"c"},
		`quota contains {"name": "q", "cost": input.arguments.n} if input.method`: {"n"},
		`allow contains "x" if input.arguments`:                                   nil,
		`allow contains "x" if { a := input.arguments; a.b }`:                     nil,
		`allow contains "x" if count(input.arguments) > 0`:                        nil,
		`allow contains "x" if input.arguments[_] == 5`:                           nil,
		`allow contains "x" if input.arguments[input.tool.name]`:                  nil,
		`allow contains "x" if { some k; input[k] == 5 }`:                         nil,
		`allow contains "x" if object.get(input, ["arguments", "a"], 0) == 5`:     nil,
		`allow contains "x" if { x := input; x.arguments.a }`:                     nil,
		`allow contains "x" if { x := [input]; x[0].arguments.a }`:                nil,
		`allow contains "x" if input == {"arguments": {}}`:                        nil,
		`h := input`: nil,
	} {
		s := buildOne(t, source)
		if s.reads.all != (want == nil) {
			t.Errorf("%s\nreads all arguments: %v", source, s.reads.all)
		}
		if want == nil {
			continue
		}
		got := slices.DeleteFunc(slices.Sorted(maps.Keys(s.reads.names)), func(name string) bool { return name == "notifications" })
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
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
