package store

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

// A database of the first version, with an approval that waits and a grant,
// opens: the approval is kept and of no use, and its call can ask again.
func TestAVersion1DatabaseWithPendingApprovalsMigrates(t *testing.T) {
	dir := t.TempDir()
	version1(t, dir)
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	old, err := s.Approval(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	if old.State != approval.Expired || old.Subject.ID != "agent:1" || old.Subject.Groups[0] != "ops" || string(old.Arguments) != `{"a":1}` ||
		len(old.Requirements) != 1 || old.Requirements[0].Required != 1 || old.Requirements[0].Approvers[0] != "group:finance" ||
		len(old.Rules) != 1 || old.Rules[0].Path != "p" || len(old.Votes) != 0 || !old.CreatedAt.Equal(fromMicros(1)) {
		t.Errorf("the old approval: %+v", old)
	}
	if bare, err := s.Approval(t.Context(), "bare"); err != nil || bare.State != approval.Expired || len(bare.Requirements[0].Approvers) != 0 {
		t.Errorf("the one without approvers: %+v, %v", bare, err)
	}
	if g, err := s.Grant(t.Context(), "g1"); err != nil || g.Owner != "" || g.Subject.ID != "agent:1" {
		t.Errorf("the old grant: %+v, %v", g, err)
	}
	book := approval.New(s, approval.Options{})
	again, err := book.Request(t.Context(), approval.Approval{
		Subject: old.Subject, GrantID: old.GrantID, Server: old.Server, Method: old.Method, Name: old.Name, Arguments: old.Arguments,
	})
	if err != nil || again.ID == "old" || again.State != approval.Pending {
		t.Errorf("asked again: %+v, %v", again, err)
	}
}

// version1 makes a database as the first version of the program did.
func version1(t *testing.T, dir string) {
	t.Helper()
	if err := prepareDir(dir); err != nil {
		t.Fatal(err)
	}
	db, err := connect(filepath.Join(dir, databaseFile), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	steps, err := migrations(migrationFiles, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	if err := apply(t.Context(), db, steps[:1]); err != nil {
		t.Fatal(err)
	}
	digest := bytes.Repeat([]byte{1}, 32)
	if _, err := db.ExecContext(t.Context(), `INSERT INTO grants
		(id, token_digest, subject_id, subject_type, subject_groups, servers, tools, labels, created_at, expires_at, revoked_at)
		VALUES ('g1', ?, 'agent:1', 'agent', '["ops"]', '["*"]', 'null', 'null', 1, NULL, NULL)`, digest); err != nil {
		t.Fatal(err)
	}
	for id, approvers := range map[string]string{"old": `["group:finance"]`, "bare": "null"} {
		binding := bytes.Repeat([]byte(id[:1]), 32)
		if _, err := db.ExecContext(t.Context(), `INSERT INTO approvals
			(id, binding, state, subject_id, subject_type, subject_groups, grant_id, server, method, name, arguments, arguments_digest,
			definition_digest, policy_revision, policy_digest, reason, rules, approvers, created_at, expires_at)
			VALUES (?, ?, 'pending', 'agent:1', 'agent', '["ops"]', 'g1', 'stripe', 'tools/call', 'refund', CAST('{"a":1}' AS BLOB), ?,
			?, 'r1', 'd1', 'why', '[{"Path":"p","ID":"","File":"","Line":1,"Title":"","Reason":""}]', ?, 1, ?)`,
			id, binding, digest, digest, approvers, toMicros(time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
}
