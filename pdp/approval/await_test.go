package approval

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAwaitSeesADecisionAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := request(t, o.Book, refund())
		start := time.Now()
		go func() {
			time.Sleep(time.Second + time.Millisecond) // between two looks into the store
			_, _ = o.Approve(context.Background(), a.ID, anna, "", "api")
		}()
		got, err := o.Await(t.Context(), a.ID, time.Minute)
		if err != nil || got.State != Approved || time.Since(start) != time.Second+time.Millisecond {
			t.Errorf("%v, %v after %v", got.State, err, time.Since(start))
		}
		if got, err := o.Await(t.Context(), a.ID, time.Minute); err != nil || got.State != Approved || time.Since(start) > 2*time.Second {
			t.Errorf("of one that is decided: %v, %v after %v", got.State, err, time.Since(start))
		}
		if len(o.waiting.byID) != 0 {
			t.Errorf("%d are still waited for", len(o.waiting.byID))
		}
	})
}

func TestAwaitSeesWhatAnotherReplicaDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		other := New(o.store, Options{Record: o.acts})
		a := request(t, o.Book, refund())
		start := time.Now()
		go func() {
			time.Sleep(time.Second + time.Millisecond)
			_, _ = other.Refuse(context.Background(), a.ID, anna, "no", "api")
		}()
		got, err := o.Await(t.Context(), a.ID, time.Minute)
		if err != nil || got.State != Refused || time.Since(start) > time.Second+pollEvery {
			t.Errorf("%v, %v after %v", got.State, err, time.Since(start))
		}
	})
}

func TestAwaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := request(t, o.Book, needs(of(2)))
		start := time.Now()
		go func() {
			time.Sleep(time.Second)
			_, _ = o.Approve(context.Background(), a.ID, anna, "", "api") // which does not decide
			o.store.mu.Lock()
			o.store.away = errAway
			o.store.mu.Unlock()
		}()
		got, err := o.Await(t.Context(), a.ID, 25*time.Second)
		if err != nil || got.State != Pending || len(got.Votes) > 1 || time.Since(start) != 25*time.Second {
			t.Errorf("patience over: %v, %v after %v", got.State, err, time.Since(start))
		}
		o.store.mu.Lock()
		o.store.away = nil
		o.store.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := o.Await(ctx, a.ID, time.Minute); !errors.Is(err, context.DeadlineExceeded) || got.State != Pending {
			t.Errorf("context over: %v, %v", got.State, err)
		}
		if got, err := o.Await(t.Context(), a.ID, 2*time.Hour); err != nil || got.State != Expired {
			t.Errorf("its time over: %v, %v", got.State, err)
		}
		if _, err := o.Await(t.Context(), "none", time.Minute); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown: %v", err)
		}
		// No patience is one look.
		if got, err := o.Await(t.Context(), request(t, o.Book, refund()).ID, 0); err != nil || got.State != Pending {
			t.Errorf("no patience: %v, %v", got.State, err)
		}
	})
}
