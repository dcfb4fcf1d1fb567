package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

// plenty is a bound on pending approvals that is not reached.
const plenty = 1000

// call is a pending approval with something in every field; calls of the same
// name are the same call.
func call(id, name string) approval.Approval {
	return approval.Approval{
		ID: id, State: approval.Pending,
		Subject: approval.Subject{ID: "agent:1", Type: "agent", Groups: []string{"ops"}}, Owner: "olga",
		GrantID: "grant-1", Server: "stripe", Method: "tools/call", Name: name, ToolClass: "destructive", ToolRisk: "high",
		Arguments:        []byte(`{"amount": 1.50}`),
		ArgumentsDigest:  sha256.Sum256([]byte(name)),
		Responses:        []byte(`{"q": {"action": "accept"}}`),
		ResponsesDigest:  sha256.Sum256([]byte("responses")),
		DefinitionDigest: sha256.Sum256([]byte("definition")),
		Policy:           approval.Policy{Revision: "r1", Digest: "sha256:1"},
		Reason:           "Refunds need a person",
		Rules:            []approval.Rule{{Path: "policy.servers.stripe.approve", ID: "refund", File: "stripe.rego", Line: 12, Title: "Refund", Reason: "Refunds need a person"}},
		Requirements:     []approval.Requirement{{Approvers: []string{"group:finance", "anna"}, Required: 2}, {Required: 1}},
		Masked:           []string{"/card/number"},
		Valid:            15 * time.Minute, OpenedBy: "decision-1",
		CreatedAt: start, ExpiresAt: start.Add(time.Hour),
	}
}

func approvalRoundTrip(t *testing.T, open Database) {
	s := opened(t, open)
	full, bare := call("full", "refund"), call("bare", "other")
	bare.Subject.Groups, bare.Arguments, bare.Rules, bare.Requirements, bare.Masked = nil, nil, nil, nil, nil
	bare.DefinitionDigest, bare.Owner, bare.ToolClass, bare.ToolRisk, bare.Valid, bare.OpenedBy = approval.Digest{}, "", "", "", 0, ""
	for _, want := range []approval.Approval{full, bare} {
		equal(t, "opened", must[approval.Approval](t)(s.OpenApproval(t.Context(), want, plenty)), want)
		equal(t, "read", must[approval.Approval](t)(s.Approval(t.Context(), want.ID)), want)
	}
}

func unknownApproval(t *testing.T, open Database) {
	s := opened(t, open)
	if _, err := s.Approval(t.Context(), "none"); !errors.Is(err, approval.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

func identicalCallWaitsOnce(t *testing.T, open Database) {
	s := opened(t, open)
	first, again := call("first", "refund"), call("again", "refund")
	again.CreatedAt, again.ExpiresAt = start.Add(time.Minute), start.Add(2*time.Hour)
	must[approval.Approval](t)(s.OpenApproval(t.Context(), first, plenty))
	equal(t, "the identical call", must[approval.Approval](t)(s.OpenApproval(t.Context(), again, plenty)), first)
	if _, err := s.Approval(t.Context(), "again"); !errors.Is(err, approval.ErrNotFound) {
		t.Errorf("a second record was stored: %v", err)
	}
}

func concurrentCallsWaitOnce(t *testing.T, open Database) {
	s := opened(t, open)
	const callers = 16
	got := make([]string, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			a, err := s.OpenApproval(t.Context(), call(fmt.Sprint("a", i), "refund"), plenty)
			if err != nil {
				t.Errorf("open: %v", err)
			}
			got[i] = a.ID
		})
	}
	wg.Wait()
	for _, id := range got {
		if id != got[0] {
			t.Fatalf("callers were given different records: %q", got)
		}
	}
	if list := must[[]approval.Approval](t)(s.Approvals(t.Context(), 100, time.Time{})); len(list) != 1 {
		t.Errorf("%d records, want 1", len(list))
	}
}

func expiredApprovalIsReplaced(t *testing.T, open Database) {
	s := opened(t, open)
	first, again := call("first", "refund"), call("again", "refund")
	again.CreatedAt, again.ExpiresAt = first.ExpiresAt, first.ExpiresAt.Add(time.Hour)
	must[approval.Approval](t)(s.OpenApproval(t.Context(), first, plenty))
	equal(t, "the record of the later call", must[approval.Approval](t)(s.OpenApproval(t.Context(), again, plenty)), again)
	first.State = approval.Expired
	equal(t, "the record of the first call", must[approval.Approval](t)(s.Approval(t.Context(), "first")), first)
}

func pendingIsBounded(t *testing.T, open Database) {
	s := opened(t, open)
	const most = 3
	for i := range most {
		must[approval.Approval](t)(s.OpenApproval(t.Context(), call(fmt.Sprint("a", i), fmt.Sprint("tool", i)), most))
	}
	if _, err := s.OpenApproval(t.Context(), call("more", "another"), most); !errors.Is(err, approval.ErrTooManyPending) {
		t.Errorf("one too many: %v, want ErrTooManyPending", err)
	}
	if a, err := s.OpenApproval(t.Context(), call("same", "tool1"), most); err != nil || a.ID != "a1" {
		t.Errorf("a call that waits already: %q, %v; want a1", a.ID, err)
	}
	other := call("other", "another")
	other.GrantID = "grant-2"
	if _, err := s.OpenApproval(t.Context(), other, most); err != nil {
		t.Errorf("another grant: %v", err)
	}
	later := call("later", "another")
	later.CreatedAt, later.ExpiresAt = start.Add(time.Hour), start.Add(2*time.Hour)
	if _, err := s.OpenApproval(t.Context(), later, most); err != nil {
		t.Errorf("after the others expired: %v", err)
	}
}

func pendingApprovals(t *testing.T, open Database) {
	s := opened(t, open)
	short := call("short", "a")
	short.ExpiresAt = start.Add(time.Minute)
	for _, a := range []approval.Approval{short, call("long", "b"), call("last", "c")} {
		must[approval.Approval](t)(s.OpenApproval(t.Context(), a, plenty))
	}
	for _, c := range []struct {
		what  string
		limit int
		at    time.Time
		want  []string
	}{
		{"all", 100, time.Time{}, []string{"last", "long", "short"}},
		{"pending before the end of one", 100, start.Add(time.Minute - time.Microsecond), []string{"last", "long", "short"}},
		{"pending at the end of one", 100, start.Add(time.Minute), []string{"last", "long"}},
		{"limited", 1, start, []string{"last"}},
	} {
		var got []string
		for _, a := range must[[]approval.Approval](t)(s.Approvals(t.Context(), c.limit, c.at)) {
			got = append(got, a.ID)
		}
		equal(t, c.what, got, c.want)
	}
}

func approvalsOfLongAgoAreDeleted(t *testing.T, open Database) {
	s := opened(t, open)
	for i, expires := range []time.Duration{3 * time.Hour, time.Hour, 2 * time.Hour, 4 * time.Hour} {
		a := call(fmt.Sprint("a", i), fmt.Sprint("tool", i))
		a.ExpiresAt = start.Add(expires)
		must[approval.Approval](t)(s.OpenApproval(t.Context(), a, plenty))
	}
	for _, c := range []struct {
		before time.Duration
		limit  int
		want   []string
	}{
		{time.Hour, 10, []string{"a3", "a2", "a1", "a0"}}, // the end itself is not before
		{3*time.Hour + 1, 1, []string{"a3", "a2", "a0"}},  // the oldest first
		{3*time.Hour + time.Microsecond, 10, []string{"a3"}},
	} {
		if err := s.ForgetApprovals(t.Context(), start.Add(c.before), c.limit); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range must[[]approval.Approval](t)(s.Approvals(t.Context(), 100, time.Time{})) {
			got = append(got, a.ID)
		}
		equal(t, fmt.Sprint("before ", c.before), got, c.want)
	}
}
