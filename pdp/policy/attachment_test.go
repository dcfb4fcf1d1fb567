package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// width orders results from the strictest to the widest.
func width(r Result) int {
	switch {
	case r.Cause == CauseScope:
		return 2
	case r.Effect == Hide:
		return 0
	case r.Effect == Deny:
		return 1
	case r.Effect == Approve:
		return 3
	default:
		return 4
	}
}

// lost are the members of before that are not in after.
func lost[T any](before, after []T) []T {
	return slices.DeleteFunc(slices.Clone(before), func(x T) bool {
		return slices.ContainsFunc(after, func(y T) bool { return cmp.Equal(x, y) })
	})
}

// TestT7_AttachmentsOnlyNarrow decides generated calls under generated policies, with
// some attachments and with more: more of them never widen what becomes of a call,
// nor take away a quota, a scope, an approval or a mask, nor put anything on a list.
func TestT7_AttachmentsOnlyNarrow(t *testing.T) {
	narrowed := 0
	rapid.Check(t, func(t *rapid.T) {
		policy := generate(t, true)
		s := mustBuild(t, bundleOf(worldData, policy), Options{Deadline: time.Minute})
		for range 30 {
			in := drawFrame(t)
			in.Grant = &Grant{ID: "g", Policies: rapid.SliceOfDistinct(rapid.SampledFrom(worldAttachments), rapid.ID).Draw(t, "some")}
			before := s.Decide(context.Background(), in)
			listed := in.Tool != nil && isListed(t, s, in, Item{Tool: in.Tool})
			in.Grant.Policies = append(in.Grant.Policies, rapid.SampledFrom([]string{"narrow", "other", "gone"}).Draw(t, "more"))
			after := s.Decide(context.Background(), in)
			if diff := widened(before, after); diff != "" {
				t.Fatalf("%s under %q: %s\n%+v\n%+v\n%s", in.Method, in.Grant.Policies, diff, before, after, policy)
			}
			if in.Tool != nil && !listed && isListed(t, s, in, Item{Tool: in.Tool}) {
				t.Fatalf("%s is listed under %q alone\n%s", in.Tool.Name, in.Grant.Policies, policy)
			}
			if before.Err == nil && width(after) < width(before) {
				narrowed++
			}
		}
	})
	if t.Logf("%d calls were narrowed", narrowed); narrowed == 0 {
		t.Error("no attachment narrowed anything: the test compares nothing")
	}
}

// widened says in what after is wider than before.
func widened(before, after Result) string {
	passes := after.Effect == Approve || after.Effect == Allow
	switch {
	case after.Err != nil:
		return ""
	case before.Err != nil && passes:
		return "what failed passes"
	case before.Err != nil:
		return ""
	case width(after) > width(before):
		return "wider"
	case len(lost(before.Mask, after.Mask)) > 0:
		return "a mask is lost"
	case passes && len(lost(before.Quotas, after.Quotas)) > 0:
		return "a quota is lost"
	case before.Effect == Approve && passes && len(lost(before.Approvals, after.Approvals)) > 0:
		return "an approval is lost"
	case before.Cause == CauseScope && after.Cause == CauseScope && len(lost(before.Scopes, after.Scopes)) > 0:
		return "a scope is lost"
	case passes && after.Credential != before.Credential:
		return "another credential"
	}
	return ""
}

func attachmentsOf(names ...string) generated {
	g := generated{"policy/servers/s.rego": "package policy.servers.s\nallow contains \"all\" if true\n"}
	for _, name := range names {
		g[name+".rego"] = fmt.Sprintf("package policy.attachments.%s\ndeny contains %q if input.tool.name == %[2]q\n", name, name)
	}
	return g
}

// TestCombinationsAreKept puts each combination of attachments together once, in
// whatever order a grant names them, and keeps no more than so many.
func TestCombinationsAreKept(t *testing.T) {
	names := strings.Split("abcdefghijkl", "")
	s := mustBuild(t, bundleOf(nil, attachmentsOf(names...)), Options{})
	of := func(names ...string) *plan {
		p, unknown := s.plans.of("s", &Grant{Policies: names})
		if len(unknown) > 0 {
			t.Fatalf("unknown: %q", unknown)
		}
		return p
	}
	if of("b", "a", "b") != of("a", "b") {
		t.Error("a combination is put together twice")
	}
	if of("a") == of("b") || of() == of("a") {
		t.Error("combinations share a plan")
	}
	if _, unknown := s.plans.of("s", &Grant{Policies: []string{"z", "a", "y", "z"}}); !slices.Equal(unknown, []string{"y", "z"}) {
		t.Errorf("unknown: %q", unknown)
	}
	for i := range 1 << len(names) {
		var some []string
		for j, name := range names {
			if i>>j&1 == 1 {
				some = append(some, name)
			}
		}
		of(some...)
	}
	kept := 0
	s.plans.combined.Range(func(any, any) bool { kept++; return true })
	if kept != maxCombinations {
		t.Errorf("%d combinations are kept, want %d", kept, maxCombinations)
	}
	in := callOf("l", `{}`)
	in.Grant.Policies = names[1:] // among those that are not kept
	if r := s.Decide(t.Context(), in); r.Effect != Deny || r.Reason != "l" {
		t.Errorf("got %+v", r)
	}
	in.Tool.Name = "a"
	if r := s.Decide(t.Context(), in); r.Effect != Allow {
		t.Errorf("got %+v", r)
	}
}

// TestCombinationsAreSafeForConcurrentUse decides under the same new combinations
// from many goroutines.
func TestCombinationsAreSafeForConcurrentUse(t *testing.T) {
	names := strings.Split("abcdef", "")
	s := mustBuild(t, bundleOf(nil, attachmentsOf(names...)), Options{Slots: NewSlots(8)})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range names {
				for j := range names {
					in := callOf(names[j], `{}`)
					in.Grant.Policies = names[:i+1]
					want := Allow
					if j <= i {
						want = Deny
					}
					if r := s.Decide(context.Background(), in); r.Effect != want || r.Err != nil {
						t.Errorf("%s under %q: %+v", names[j], names[:i+1], r)
					}
					if listed, err := s.List(context.Background(), in, []Item{{Tool: in.Tool}}); err != nil || listed[0] != (want == Allow) {
						t.Errorf("%s under %q is listed: %v, %v", names[j], names[:i+1], listed, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestDecideKeepsNothingOfTheInput changes what Decide was given, as the caller may,
// while a late evaluation goes on.
func TestDecideKeepsNothingOfTheInput(t *testing.T) {
	s := buildOne(t, `scope contains "a" if true`)
	in := callOf("t", `{}`)
	in.Subject.Scopes, in.Grant.Policies = []string{"a"}, []string{"x"}
	c := s.courseOf(in)
	in.Subject.Scopes[0], in.Grant.Policies[0] = "b", "y"
	if !slices.Equal(c.scopes, []string{"a"}) || !slices.Equal(c.unknown, []string{"x"}) {
		t.Errorf("got %+v", c)
	}
}

// TestI1_WhoHasNoScopesLacksThem: who has come with a grant token has no scopes.
func TestI1_WhoHasNoScopesLacksThem(t *testing.T) {
	s := buildOne(t, `
allow contains "all" if true
scope contains "a" if input.tool.name == "t"`)
	for name, subject := range map[string]Subject{"zero": {}, "a person": {ID: "ann", Type: "person"}, "others": {Scopes: []string{"b"}}} {
		in := callOf("t", `{}`)
		in.Subject = subject
		r := s.Decide(t.Context(), in)
		if r.Effect != Deny || r.Cause != CauseScope || !slices.Equal(r.Scopes, []string{"a"}) || r.Credential != "" || r.Err != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestScopeOfTwoRulesIsNamedOnce, and both rules are.
func TestScopeOfTwoRulesIsNamedOnce(t *testing.T) {
	s := buildOne(t, `
allow contains "all" if true
scope contains "b" if input.tool.name == "t"
scope contains "a" if input.method == "tools/call"
scope contains "b" if input.method == "tools/call"`)
	r := s.Decide(t.Context(), callOf("t", `{}`))
	if !slices.Equal(r.Scopes, []string{"a", "b"}) || len(r.Rules) != 3 || r.Reason != "The call needs an access token with the scopes a, b." {
		t.Errorf("got %+v", r)
	}
}

// TestErrorsOfCredentialsNameTheRules so that both can be found.
func TestErrorsOfCredentialsNameTheRules(t *testing.T) {
	s := buildOne(t, `
allow contains "all" if true
credential contains "one" if input.tool.name == "t"
credential contains "two" if input.arguments.two`)
	r := s.Decide(t.Context(), callOf("t", `{"two":true}`))
	const want = `the call is to carry two credentials: "one" by policy/servers/s.rego:5 and "two" by policy/servers/s.rego:6`
	if r.Err == nil || r.Err.Error() != want {
		t.Errorf("got %v", r.Err)
	}
}
