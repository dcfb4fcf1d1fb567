package pep

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func TestCompletionsSurviveAPDPThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(10 * time.Second)
		var done outcomes
		e := NewEnforcer(decider{complete: func(ctx context.Context, r *v1.CompleteRequest) (*v1.CompleteResponse, error) {
			if time.Now().Before(back) {
				return nil, errAway
			}
			return done.complete(ctx, r)
		}}, EnforcerOptions{Logger: quiet()})
		for i := range 20 {
			e.Complete(strconv.Itoa(i), &v1.Outcome{Forwarded: true})
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if len(done.all) != 20 {
			t.Errorf("%d of 20 arrived", len(done.all))
		}
		e.Complete("late", &v1.Outcome{})
	})
}

func TestCompletionsGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done outcomes
		e := NewEnforcer(decider{complete: done.complete}, EnforcerOptions{Logger: quiet()})
		for i := range 3 {
			e.Complete(strconv.Itoa(i), &v1.Outcome{})
			time.Sleep(completionPause - time.Nanosecond)
			synctest.Wait()
			if n := done.count(); n != i {
				t.Fatalf("%d completions were sent at once", n-i)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if n := done.count(); n != i+1 {
				t.Fatalf("%d of %d completions were sent", n, i+1)
			}
		}
		start := time.Now()
		e.Complete("last", &v1.Outcome{})
		if err := e.Close(t.Context()); err != nil || done.count() != 4 || time.Since(start) != 0 {
			t.Errorf("Close: %v with %d completions after %v", err, done.count(), time.Since(start))
		}
	})
}

func TestASlowPDPGetsCompletionsSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEnforcer(decider{complete: func(context.Context, *v1.CompleteRequest) (*v1.CompleteResponse, error) {
			time.Sleep(100 * time.Millisecond)
			return &v1.CompleteResponse{}, nil
		}}, EnforcerOptions{Logger: quiet()})
		for i := range 100 * completionWorkers {
			e.Complete(strconv.Itoa(i), &v1.Outcome{})
		}
		start := time.Now()
		if err := e.Close(t.Context()); err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("Close: %v after %v", err, time.Since(start))
		}
	})
}

func TestCompletionsNeverBlockAndGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEnforcer(decider{}, EnforcerOptions{Logger: quiet()})
		for i := range completionQueue + 100 {
			e.Complete(strconv.Itoa(i), &v1.Outcome{})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := e.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestARefusedCompletionIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		e := NewEnforcer(decider{complete: func(context.Context, *v1.CompleteRequest) (*v1.CompleteResponse, error) {
			n++
			return nil, status.Error(codes.NotFound, "no such decision")
		}}, EnforcerOptions{Logger: quiet()})
		e.Complete("x", &v1.Outcome{})
		if err := e.Close(t.Context()); err != nil || n != 1 {
			t.Errorf("sent %d times, Close: %v", n, err)
		}
	})
}
