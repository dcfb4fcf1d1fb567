package policy

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// buildStarter builds the starter bundle as it is shipped, tests and all.
func buildStarter(t *testing.T) *Snapshot {
	t.Helper()
	root := os.DirFS("../../bundles/starter")
	modules := map[string]string{}
	err := fs.WalkDir(root, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".rego" {
			return err
		}
		source, err := fs.ReadFile(root, file)
		modules[file] = string(source)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return mustBuild(t, bundleOf(nil, modules), Options{})
}

func stripeCall(tool, arguments string) *Input {
	in := callOf(tool, arguments)
	in.Server.Name = "stripe"
	in.Tool.Class = "unknown"
	return in
}

// TestStarterPolicyDecidesTheReferenceCase has the refund of the issue.
func TestStarterPolicyDecidesTheReferenceCase(t *testing.T) {
	s := buildStarter(t)
	got := s.Decide(context.Background(), stripeCall("create_refund", `{"charge_id":"ch_105","amount":500000}`))
	if got.Effect != Deny || got.Cause != CauseRule || got.Reason != "Refund exceeds the policy limit." {
		t.Errorf("got %+v", got)
	}
	source, err := os.ReadFile("../../bundles/starter/policy/servers/stripe.rego")
	if err != nil {
		t.Fatal(err)
	}
	line := slices.IndexFunc(strings.Split(string(source), "\n"), func(line string) bool { return strings.HasPrefix(line, "deny contains") }) + 1
	want := []Rule{{
		Path: "policy.servers.stripe.deny", ID: "refund-cap", Title: "Refund cap",
		File: "policy/servers/stripe.rego", Line: line, Reason: "Refund exceeds the policy limit.",
	}}
	if diff := cmp.Diff(want, got.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestStarterPolicy(t *testing.T) {
	s := buildStarter(t)
	for _, c := range []struct {
		tool, arguments string
		want            Effect
		listed          bool
	}{
		{"create_refund", `{"charge_id":"ch_105","amount":5000}`, Allow, true},
		{"create_refund", `{"charge_id":"ch_105","amount":10000}`, Allow, true},
		{"create_refund", `{"charge_id":"ch_105","amount":10001}`, Approve, true},
		{"create_refund", `{"charge_id":"ch_105","amount":50000}`, Approve, true},
		{"create_refund", `{"charge_id":"ch_105","amount":50001}`, Deny, true},
		{"create_refund", `{"charge_id":"ch_105","amount":0}`, Hide, true},
		{"create_refund", `{"charge_id":"ch_105"}`, Hide, true},
		{"list_charges", `{}`, Allow, true},
		{"get_balance", `{}`, Allow, true},
		{"delete_customer", `{"customer_id":"cus_1"}`, Hide, false},
		{"anything_else", `{}`, Hide, false},
	} {
		in := stripeCall(c.tool, c.arguments)
		if got := s.Decide(context.Background(), in); got.Effect != c.want || got.Err != nil {
			t.Errorf("%s %s: %+v, want %v", c.tool, c.arguments, got, c.want)
		}
		if listed := isListed(t, s, in, Item{Tool: in.Tool}); listed != c.listed {
			t.Errorf("%s: listed %v, want %v", c.tool, listed, c.listed)
		}
	}
}
