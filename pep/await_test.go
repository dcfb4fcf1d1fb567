package pep

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const patience = 25 * time.Second

func awaiting(pending bool, took time.Duration) func(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	return func(ctx context.Context, r *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(took):
			return &v1.AwaitApprovalResponse{Pending: pending || string(r.GetRequestState()) != "state" || r.GetPatience().AsDuration() > patience}, nil
		}
	}
}

// another PDP answers after a time in which there is none.
func another(after time.Duration) func(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	var from time.Time
	return func(_ context.Context, r *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
		if from.IsZero() {
			from = time.Now()
		}
		if since := time.Since(from); since < after {
			return nil, errAway
		} else if left := patience - since; r.GetPatience().AsDuration() != left {
			return nil, status.Errorf(codes.InvalidArgument, "patience of %v, where %v are left", r.GetPatience().AsDuration(), left)
		}
		return &v1.AwaitApprovalResponse{}, nil
	}
}

func answerless(code codes.Code) func(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	return func(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
		return nil, status.Error(code, "no")
	}
}

func TestAwaitAnswersWhenItMustAtTheLatest(t *testing.T) {
	for _, c := range []struct {
		name    string
		await   func(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error)
		pending bool
		took    time.Duration
	}{
		{"decided already", awaiting(false, 0), false, 0},
		{"decided while it waits", awaiting(false, 3*time.Second), false, 3 * time.Second},
		{"still pending", awaiting(true, patience), true, patience},
		{"the PDP does not come back", awaiting(false, time.Hour), true, patience + awaitMargin},
		{"the PDP is away", nil, true, patience - awaitPause},
		{"another PDP comes", another(3 * time.Second), false, 3 * time.Second},
		{"the PDP cannot", answerless(codes.Unimplemented), true, 0},
		{"the PDP answers nothing", func(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) { return nil, nil }, true, 0},
		{"the PDP fails", func(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) { panic("oh") }, true, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := NewEnforcer(decider{await: c.await}, EnforcerOptions{Logger: quiet()})
			start := time.Now()
			if pending := e.Await(t.Context(), []byte("state"), patience); pending != c.pending || time.Since(start) != c.took {
				t.Errorf("%s: pending %v after %v, want %v after %v", c.name, pending, time.Since(start), c.pending, c.took)
			}
		})
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEnforcer(decider{await: awaiting(false, time.Hour)}, EnforcerOptions{Logger: quiet()})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if !e.Await(ctx, []byte("state"), patience) || time.Since(start) != time.Second {
			t.Errorf("it ended after %v", time.Since(start))
		}
	})
}

func TestR8_OnlySoManyCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEnforcer(decider{await: awaiting(false, 10*time.Second)}, EnforcerOptions{Waiting: 2, Logger: quiet()})
		done := make(chan bool)
		for range 2 {
			go func() { done <- e.Await(t.Context(), []byte("state"), patience) }()
		}
		synctest.Wait()
		start := time.Now()
		if !e.Await(t.Context(), []byte("state"), patience) || time.Since(start) != 0 {
			t.Errorf("a third call was held for %v", time.Since(start))
		}
		for range 2 {
			if <-done {
				t.Error("a call that was held is pending")
			}
		}
		if e.Await(t.Context(), []byte("state"), patience) {
			t.Error("the places were not given back")
		}
	})
}
