package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mcpermit/mcpermit/pdp/identity"
)

// grantID creates a grant and returns its id.
func grantID(t *testing.T, run func(args ...string) (int, string, string)) string {
	t.Helper()
	code, out, stderr := run("grants", "create", "--subject", "ada", "--server", "stripe", "-o", "json")
	var g struct{ ID string }
	if code != 0 || json.Unmarshal([]byte(out), &g) != nil {
		t.Fatalf("exit %d: %s%s", code, out, stderr)
	}
	return g.ID
}

func TestWhatPeopleChangeIsOnTheTrail(t *testing.T) {
	_, run := pointFor(t, "servers: {stripe: {url: http://127.0.0.1:9/mcp}}\n")
	id := grantID(t, run)
	classes := filepath.Join(t.TempDir(), "classes.yaml")
	if err := os.WriteFile(classes, []byte("stripe: {create_refund: {class: financial}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{0, []string{"grants", "revoke", id}},
		{1, []string{"servers", "pin", "stripe"}}, // nothing is listed
		{0, []string{"servers", "classify", classes}},
		{0, []string{"console", "login"}},
		{0, []string{"grants", "list"}}, // changes nothing
	} {
		if code, out, stderr := run(c.args...); code != c.code {
			t.Errorf("%v: exit %d, want %d: %s%s", c.args, code, c.code, out, stderr)
		}
	}
	_, out, _ := run("audit", "query", "--acts", "-o", "json")
	var got []string
	for line := range strings.Lines(out) {
		var a struct{ Person, Via, Act, Target, Result, Reason string }
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimSpace(strings.Join([]string{a.Person, a.Via, a.Act, a.Target, a.Result, a.Reason}, " ")))
	}
	want := []string{
		"operator cli create-grant " + id + " taken for ada",
		"operator cli revoke-grant " + id + " taken",
		"operator cli pin stripe taken",
		"operator cli pin stripe failed",
		"operator cli classify stripe/create_refund taken financial",
		"operator cli sign-in-link operator taken",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("acts (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	p, run := pointFor(t, "")
	id := grantID(t, run)
	if err := p.audit.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.audit = nil }) // is closed
	if code, _, stderr := run("grants", "create", "--subject", "eve", "--server", "stripe"); code != 1 || !strings.Contains(stderr, "not done") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if code, _, stderr := run("grants", "revoke", id); code != 1 || !strings.Contains(stderr, "not done") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	t.Setenv("MCPERMIT_TEST_SECRET", "s3cret")
	for _, args := range [][]string{{"credentials", "set", "key", "--from-env", "MCPERMIT_TEST_SECRET"}, {"credentials", "rekey"}} {
		if code, _, stderr := run(args...); code != 1 || !strings.Contains(stderr, "not done") {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
	if keys, err := p.store.DataKeys(t.Context()); err != nil || len(keys) > 0 {
		t.Errorf("data keys %v, %v; want none", keys, err)
	}
	_, out, _ := run("grants", "list", "-o", "json")
	if !strings.Contains(out, id) || strings.Contains(out, "eve") {
		t.Errorf("grants in force: %s", out)
	}
}

// What nobody uses is revoked when it is said twice, each grant with a record of its
// own.
func TestPrune(t *testing.T) {
	p, run := pointFor(t, "servers: {stripe: {url: http://127.0.0.1:9/mcp}}\n")
	grantID(t, run) // is younger
	for _, id := range []string{"old", "older"} {
		if err := p.store.InsertGrant(t.Context(), identity.Record{Grant: identity.Grant{
			ID: id, Subject: identity.Subject{ID: "agent:" + id, Type: identity.Agent}, Servers: []string{"stripe"}, CreatedAt: time.Now().Add(-48 * time.Hour),
		}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		code  int
		flags []string
	}{{0, []string{"--dry-run"}}, {0, []string{"--dry-run", "-y"}}, {1, nil}} {
		code, out, stderr := run(append([]string{"grants", "prune", "--unused", "1d"}, c.flags...)...)
		if code != c.code || strings.Count(out, "active") != 2 || code == 1 && !strings.Contains(stderr, "repeat with --yes") {
			t.Errorf("%v: exit %d: %s%s", c.flags, code, out, stderr)
		}
	}
	code, out, stderr := run("grants", "prune", "--unused", "1d", "--yes", "-o", "json")
	if code != 0 || strings.Count(out, `"state":"revoked"`) != 2 {
		t.Errorf("exit %d: %s%s", code, out, stderr)
	}
	if _, out, _ := run("grants", "list"); strings.Contains(out, "agent:old") {
		t.Errorf("grants in force: %s", out)
	}
	_, out, _ = run("audit", "query", "--acts")
	if strings.Count(out, "revoke-grant") != 2 || strings.Count(out, "unused") != 2 || !strings.Contains(out, "older") {
		t.Errorf("acts: %s", out)
	}
	if code, out, _ := run("grants", "prune", "--unused", "1d", "--yes"); code != 0 || strings.Contains(out, "agent") {
		t.Errorf("again: exit %d: %s", code, out)
	}
}

// The last use of grants is written down when the decision point ends.
func TestUsageIsWrittenDownAtTheEnd(t *testing.T) {
	p, run := pointFor(t, "")
	id := grantID(t, run)
	p.grants.Note(&identity.Identity{Grant: &identity.Grant{ID: id}}, identity.Called, time.Now())
	p.flushUsage()
	if _, out, _ := run("grants", "list", "-o", "json"); !strings.Contains(out, `"calls":1`) || !strings.Contains(out, "last_used_at") {
		t.Errorf("%s", out)
	}
}
