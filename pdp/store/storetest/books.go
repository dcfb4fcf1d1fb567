package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

// noted is a recorder that takes everything.
type noted struct{}

func (noted) Act(context.Context, approval.Act) error { return nil }

func bookOver(s Store) *approval.Book { return approval.New(s, approval.Options{Record: noted{}}) }

// asked is a call that a book can be asked for.
func asked(name string, required int) approval.Approval {
	a := call("", name)
	a.ExpiresAt, a.Requirements = a.ExpiresAt.AddDate(100, 0, 0), []approval.Requirement{{Required: required}}
	return a
}

// approvalsOutliveRestarts restarts the decision point between all steps from
// the question to the answer.
func approvalsOutliveRestarts(t *testing.T, open Database) {
	step := func(do func(b *approval.Book) (approval.Approval, error)) (approval.Approval, error) {
		s := open(t)
		a, err := do(bookOver(s))
		if closeErr := s.Close(); closeErr != nil {
			t.Fatal(closeErr)
		}
		return a, err
	}
	request := func(b *approval.Book) (approval.Approval, error) { return b.Request(t.Context(), asked("refund", 2)) }
	a := must[approval.Approval](t)(step(request))
	for i, want := range []approval.State{approval.Pending, approval.Approved} {
		got := must[approval.Approval](t)(step(func(b *approval.Book) (approval.Approval, error) {
			return b.Approve(t.Context(), a.ID, approval.Approver{ID: fmt.Sprint("p", i)}, "", "")
		}))
		if got.State != want {
			t.Errorf("after vote %d: %v, want %v", i+1, got.State, want)
		}
	}
	if again := must[approval.Approval](t)(step(request)); again.ID != a.ID || again.State != approval.Approved {
		t.Errorf("the call made again: %s, %v", again.ID, again.State)
	}
	use := func(b *approval.Book) (approval.Approval, error) { return b.Use(t.Context(), a.ID, "d1") }
	if got := must[approval.Approval](t)(step(use)); got.UsedBy != "d1" {
		t.Errorf("used: %+v", got)
	}
	if _, err := step(use); !errors.Is(err, approval.ErrNotApproved) {
		t.Errorf("used again: %v", err)
	}
}

// booksShareAStore lets several books, as replicas have them, ask, vote and use
// at the same time: every vote counts and one call passes.
func booksShareAStore(t *testing.T, open Database) {
	s := opened(t, open)
	const replicas = 8
	var passed atomic.Int32
	var wg sync.WaitGroup
	for i := range replicas {
		wg.Go(func() {
			b := bookOver(s)
			a, err := b.Request(t.Context(), asked("refund", replicas))
			if err != nil {
				t.Errorf("request: %v", err)
				return
			}
			if _, err := b.Approve(t.Context(), a.ID, approval.Approver{ID: fmt.Sprint("p", i)}, "", ""); err != nil {
				t.Errorf("approve: %v", err)
			}
		})
	}
	wg.Wait()
	a := must[approval.Approval](t)(bookOver(s).Request(t.Context(), asked("refund", replicas)))
	if a.State != approval.Approved || len(a.Votes) != replicas {
		t.Fatalf("%v with %d votes", a.State, len(a.Votes))
	}
	for range replicas {
		wg.Go(func() {
			switch _, err := bookOver(s).Use(t.Context(), a.ID, "d"); {
			case err == nil:
				passed.Add(1)
			case !errors.Is(err, approval.ErrNotApproved):
				t.Errorf("use: %v", err)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 1 {
		t.Errorf("%d calls passed, want 1", passed.Load())
	}
}
