package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/store"
)

// approveEnv has the child approve and use calls.
const approveEnv = "MCPERMIT_TEST_APPROVE=1"

// unrecorded is a recorder that takes everything.
type unrecorded struct{}

func (unrecorded) Act(context.Context, approval.Act) error { return nil }

// approve asks for, approves and uses approvals without end, and says so of each
// step when the store has answered.
func approve(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, dir)
	if err != nil {
		return err
	}
	b := approval.New(s, approval.Options{Record: unrecorded{}})
	for n := 0; ; n++ {
		a, err := b.Request(ctx, approval.Approval{
			Subject: approval.Subject{ID: "agent"}, GrantID: "g", Server: "s", Method: "tools/call", Name: fmt.Sprint("tool", n%3),
		})
		if err != nil {
			return err
		}
		fmt.Println("opened", a.ID)
		if a.State == approval.Pending { // it may stand approved from before a kill
			if _, err := b.Approve(ctx, a.ID, approval.Approver{ID: "anna"}, "", ""); err != nil {
				return err
			}
			fmt.Println("approved", a.ID)
		}
		if _, err := b.Use(ctx, a.ID, "d"); err != nil {
			return err
		}
		fmt.Println("used", a.ID)
	}
}

// I8 over a kill: an approval that was used is not used again, and a vote that
// was answered is there.
func TestI8_NoUseOfAnApprovalIsLostInAKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]string{} // id → the last that was said of it
	for round := range 4 {
		killAfter(t, dir, 5+round*7, acknowledged, approveEnv)
		s, err := store.Open(t.Context(), dir)
		if err != nil {
			t.Fatalf("round %d: open after the kill: %v", round, err)
		}
		b := approval.New(s, approval.Options{})
		for id, said := range acknowledged {
			a, err := b.Get(t.Context(), id)
			if err != nil {
				t.Fatalf("round %d: what was %s: %v", round, said, err)
			}
			if said == "approved" && a.State != approval.Approved && a.State != approval.Used {
				t.Errorf("round %d: what was approved is %v", round, a.State)
			}
			if said != "used" {
				continue
			}
			if _, err := b.Use(t.Context(), id, "again"); !errors.Is(err, approval.ErrNotApproved) || a.State != approval.Used {
				t.Errorf("round %d: what was used is %v and can be used: %v", round, a.State, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acknowledged) < 15 {
		t.Errorf("only %d approvals were opened", len(acknowledged))
	}
}
