package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

// become changes the state of a record and nothing else.
func become(t *testing.T, s Store, id string, state approval.State) approval.Approval {
	t.Helper()
	return must[approval.Approval](t)(s.ChangeApproval(t.Context(), id, func(a *approval.Approval) error {
		a.State = state
		return nil
	}))
}

func oneApprovalOfACallStands(t *testing.T, open Database) {
	s := opened(t, open)
	for _, c := range []struct {
		state  approval.State
		at     time.Duration
		stands bool
	}{
		{approval.Pending, time.Minute, true},
		{approval.Approved, time.Minute, true},
		{approval.Refused, time.Minute, true},
		{approval.Used, time.Minute, false},
		{approval.Expired, time.Minute, false},
		{approval.Pending, time.Hour, false},
		{approval.Approved, time.Hour, false},
		{approval.Refused, time.Hour, false},
		{approval.Approved, time.Hour - time.Microsecond, true},
	} {
		name := fmt.Sprint(c.state, c.at)
		must[approval.Approval](t)(s.OpenApproval(t.Context(), call("first "+name, name), plenty))
		first := become(t, s, "first "+name, c.state)
		again := call("again "+name, name)
		again.CreatedAt, again.ExpiresAt = start.Add(c.at), start.Add(c.at+time.Hour)
		want := again
		if c.stands {
			want = first
		}
		equal(t, name, must[approval.Approval](t)(s.OpenApproval(t.Context(), again, plenty)), want)
		if !c.stands && first.State.Stands() {
			first.State = approval.Expired
		}
		equal(t, name+": the first", must[approval.Approval](t)(s.Approval(t.Context(), first.ID)), first)
	}
}

func changeRoundTrip(t *testing.T, open Database) {
	s := opened(t, open)
	must[approval.Approval](t)(s.OpenApproval(t.Context(), call("other", "other"), plenty))
	was := must[approval.Approval](t)(s.OpenApproval(t.Context(), call("a", "refund"), plenty))
	want := was
	want.State = approval.Used
	want.Policy = approval.Policy{Revision: "r2", Digest: "sha256:2"}
	want.Reason, want.Rules = "Another", []approval.Rule{{Path: "policy.global.team.approve", Line: 3}}
	want.Requirements = []approval.Requirement{{Approvers: []string{"bob"}, Required: 3}}
	want.Masked, want.Valid = []string{"/a", "/b"}, time.Minute
	want.Votes = []approval.Vote{
		{Person: "anna", Groups: []string{"finance"}, At: start.Add(time.Second), Approved: true, Reason: "ok <b>\"é", Via: "console"},
		{Person: "bob", At: start.Add(2 * time.Second), Reason: "no", Via: "cli"},
	}
	want.UsedBy, want.ExpiresAt = "decision-2", start.Add(3*time.Hour)
	want.DecidedAt, want.UsedAt = start.Add(time.Second), start.Add(2*time.Second)
	got := must[approval.Approval](t)(s.ChangeApproval(t.Context(), "a", func(a *approval.Approval) error {
		equal(t, "before the change", *a, was)
		*a = want
		return nil
	}))
	equal(t, "changed", got, want)
	equal(t, "read", must[approval.Approval](t)(s.Approval(t.Context(), "a")), want)
	equal(t, "another", must[approval.Approval](t)(s.Approval(t.Context(), "other")), call("other", "other"))
}

func changesThatAreRefused(t *testing.T, open Database) {
	s := opened(t, open)
	was := must[approval.Approval](t)(s.OpenApproval(t.Context(), call("a", "refund"), plenty))
	refusal := errors.New("no")
	got, err := s.ChangeApproval(t.Context(), "a", func(a *approval.Approval) error {
		a.State = approval.Approved
		return fmt.Errorf("so: %w", refusal)
	})
	if !errors.Is(err, refusal) || got.ID != "" {
		t.Errorf("%q, %v; want the change's own error", got.ID, err)
	}
	equal(t, "after a change that failed", must[approval.Approval](t)(s.Approval(t.Context(), "a")), was)
	if _, err := s.ChangeApproval(t.Context(), "none", func(*approval.Approval) error {
		t.Error("a record that is not there was changed")
		return nil
	}); !errors.Is(err, approval.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

func concurrentVotesAllCount(t *testing.T, open Database) {
	s := opened(t, open)
	must[approval.Approval](t)(s.OpenApproval(t.Context(), call("a", "refund"), plenty))
	const voters = 16
	var wg sync.WaitGroup
	for i := range voters {
		wg.Go(func() {
			if _, err := s.ChangeApproval(t.Context(), "a", func(a *approval.Approval) error {
				a.Votes = append(a.Votes, approval.Vote{Person: fmt.Sprint("p", i), At: start})
				return nil
			}); err != nil {
				t.Errorf("vote: %v", err)
			}
		})
	}
	wg.Wait()
	persons := map[string]bool{}
	for _, v := range must[approval.Approval](t)(s.Approval(t.Context(), "a")).Votes {
		persons[v.Person] = true
	}
	if len(persons) != voters {
		t.Errorf("%d votes, want %d", len(persons), voters)
	}
}

func oneOfConcurrentUsesPasses(t *testing.T, open Database) {
	s := opened(t, open)
	must[approval.Approval](t)(s.OpenApproval(t.Context(), call("a", "refund"), plenty))
	become(t, s, "a", approval.Approved)
	taken := errors.New("taken")
	var passed atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := s.ChangeApproval(t.Context(), "a", func(a *approval.Approval) error {
				if a.State != approval.Approved {
					return taken
				}
				a.State, a.UsedBy = approval.Used, fmt.Sprint("d", i)
				return nil
			})
			switch {
			case err == nil:
				passed.Add(1)
			case !errors.Is(err, taken):
				t.Errorf("use: %v", err)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 1 {
		t.Errorf("%d uses passed, want 1", passed.Load())
	}
}
