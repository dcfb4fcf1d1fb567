package policy

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"
	"pgregory.net/rapid"
)

func worldInput(subject Subject, at string) *Input {
	when, err := time.Parse(time.RFC3339, at)
	if err != nil {
		panic(err)
	}
	return &Input{
		Subject: subject,
		Client:  Client{Name: "test"},
		Server:  Server{Name: "s"},
		Method:  "tools/call",
		Context: Context{Time: when, Transport: "http", Direction: "to_server"},
	}
}

// couldPass says whether some call of the world to the tool is allowed or
// approved, with all the scopes that there are: by trying all of them.
func couldPass(s *Snapshot, subject Subject, g *Grant, tool Tool, arguments [][]byte) (string, bool) {
	subject.Scopes = append([]string{"z"}, worldScopes...) // "z" is among the arguments
	for _, at := range worldTimes {
		in := worldInput(subject, at)
		in.Tool, in.Grant = &tool, g
		for _, in.Arguments = range arguments {
			if result := s.Decide(context.Background(), in); result.Effect == Allow || result.Effect == Approve {
				return fmt.Sprintf("%s at %s: %v by %v", in.Arguments, at, result.Effect, result.Rules), true
			}
		}
	}
	return "", false
}

// TestI4_CallableIsListed tries every call of a small world: whatever can be
// allowed or approved with the scopes that it asks for is listed, for policies of
// every form and under attachments. Whether the subject has the scopes changes no
// listing: a client that sees the tool can ask for them.
func TestI4_CallableIsListed(t *testing.T) {
	arguments := worldArguments()
	rapid.Check(t, func(t *rapid.T) {
		policy := generate(t, true)
		s := mustBuild(t, bundleOf(worldData, policy), Options{Deadline: time.Minute})
		grant := drawGrant(t)
		for _, subject := range worldSubjects {
			for _, tool := range worldTools {
				base := worldInput(subject, worldTimes[0])
				base.Grant = grant
				listed := isListed(t, s, base, Item{Tool: &tool})
				base.Subject.Scopes = worldScopes
				if isListed(t, s, base, Item{Tool: &tool}) != listed {
					t.Fatalf("%s sees %s only with or only without scopes under\n%s", subject.ID, tool.Name, policy)
				}
				if listed {
					continue
				}
				if call, callable := couldPass(s, subject, grant, tool, arguments); callable {
					t.Fatalf("%s may call %s with %s, but it is not listed by\n%s", subject.ID, tool.Name, call, policy)
				}
			}
		}
	})
}

// TestI4_ListedLikePartialEvaluation compares the weakened rules with what OPA
// finds when it evaluates the policy with unknown arguments and time: what
// that knows nobody can call is not listed, and what it does not know, and is
// not listed, nobody can call.
func TestI4_ListedLikePartialEvaluation(t *testing.T) {
	arguments := worldArguments()
	var agreed, sharper int
	rapid.Check(t, func(t *rapid.T) {
		policy := generate(t, false)
		s := mustBuild(t, bundleOf(worldData, policy), Options{Deadline: time.Minute})
		for _, subject := range worldSubjects {
			for _, tool := range worldTools {
				in := worldInput(subject, worldTimes[0])
				partially := partiallyListed(t, s, in, tool)
				switch listed := isListed(t, s, in, Item{Tool: &tool}); {
				case listed && !partially:
					t.Fatalf("%s cannot call %s, by partial evaluation, but it is listed by\n%s", subject.ID, tool.Name, policy)
				case partially && !listed:
					if call, callable := couldPass(s, subject, nil, tool, arguments); callable {
						t.Fatalf("%s may call %s with %s, but it is not listed by\n%s", subject.ID, tool.Name, call, policy)
					}
					sharper++
				default:
					agreed++
				}
			}
		}
	})
	t.Logf("partial evaluation agreed on %d tools, and was less sharp on %d", agreed, sharper)
}

// partiallyListed says what partial evaluation says of a tool.
func partiallyListed(t *rapid.T, s *Snapshot, in *Input, tool Tool) bool {
	if _, always := residue(t, s, in, tool, setHide); always {
		return false
	}
	if _, always := residue(t, s, in, tool, setDeny); always {
		return false
	}
	allow, _ := residue(t, s, in, tool, setAllow)
	approve, _ := residue(t, s, in, tool, setApprove)
	return allow || approve
}

// residue evaluates a set with the arguments and the time unknown: whether it
// could have a member, and whether it has one in any case.
func residue(t *rapid.T, s *Snapshot, in *Input, tool Tool, set string) (could, always bool) {
	call := *in
	call.Tool = &tool
	input, err := call.term(readEverything)
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"data.policy.servers.s", "data.policy.global.team"} {
		body := ast.MustParseBody(fmt.Sprintf("%s.%s[_]", pkg, set))
		body, err = s.compiler.QueryCompiler().Compile(body)
		if err != nil {
			t.Fatal(err)
		}
		bodies, _, err := topdown.NewQuery(body).WithCompiler(s.compiler).WithStore(s.store).WithTransaction(s.txn).
			WithInput(input).WithMetrics(metrics.New()).WithStrictBuiltinErrors(true).
			WithUnknowns([]*ast.Term{ast.MustParseTerm("input.arguments"), ast.MustParseTerm("input.context.time")}).
			PartialRun(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range bodies {
			could = true
			always = always || isUnconditional(body)
		}
	}
	return could, always
}

// isUnconditional says whether all that is left of a body is what it binds.
func isUnconditional(body ast.Body) bool {
	for _, expr := range body {
		if !expr.IsEquality() {
			return false
		}
		_, variable := expr.Operand(0).Value.(ast.Var)
		if !variable || !ast.IsConstant(expr.Operand(1).Value) {
			return false
		}
	}
	return true
}
