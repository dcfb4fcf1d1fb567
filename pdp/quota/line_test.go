package quota

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// PEPs ask again: two releases of one call can meet in one transaction.
func TestI7_ReleasedTwiceInOneTransaction(t *testing.T) {
	k := newKit(t, false)
	k.mustReserve(t, "d1", refunds("100", "30"))
	k.mustReserve(t, "d2", refunds("100", "50"))
	var turn []*request
	for range 2 {
		turn = append(turn, &request{id: "d1", done: make(chan struct{})})
	}
	k.Ledger.amounts.together(turn)
	if turn[0].err != nil || turn[1].err != nil {
		t.Errorf("release: %v, %v", turn[0].err, turn[1].err)
	}
	if got := k.used(t, refunds("100", "0")); got != "50" {
		t.Errorf("used %s, want 50", got)
	}
}

func TestI7_UnknownOutcomeCounts(t *testing.T) {
	lost := errors.New("connection lost")
	for _, two := range []bool{false, true} {
		k := newKit(t, two)
		k.amounts.after = func(context.Context) error { return lost }
		_, err := k.Reserve(t.Context(), "d1", start, []Limit{refunds("100", "60"), calls("5")})
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, lost) {
			t.Fatalf("reserve: %v", err)
		}
		k.amounts.after = nil
		if got := k.used(t, refunds("100", "0")); got != "60" {
			t.Errorf("used %s, want 60: it may have been stored", got)
		}
		if got := k.used(t, calls("5")); two && got != "0" {
			t.Errorf("calls used %s, want 0: their store answered, and the call was denied", got)
		}
		k.mustExceed(t, "d2", refunds("100", "60"))
	}
}

func TestStoreAway(t *testing.T) {
	away := errors.New("connection refused")
	k := newKit(t, true)
	k.counts.before = func(context.Context) error { return away }
	if _, err := k.Reserve(t.Context(), "d1", start, []Limit{refunds("100", "60"), calls("5")}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("reserve: %v", err)
	}
	if got := k.used(t, refunds("100", "0")); got != "0" {
		t.Errorf("used %s", got)
	}
	k.mustReserve(t, "d2", refunds("100", "60")) // needs the other store only
}

// A caller whose time is over is gone, and what is reserved for it after that
// is given back.
func TestDeadline(t *testing.T) {
	k := newKit(t, false)
	stuck, free := make(chan struct{}), make(chan struct{})
	k.amounts.before = func(context.Context) error {
		stuck <- struct{}{}
		<-free
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := k.Reserve(ctx, "served", start, []Limit{refunds("100", "60")})
		failed <- err
	}()
	<-stuck
	go func() {
		_, err := k.Reserve(ctx, "waiting", start, []Limit{refunds("100", "30")})
		failed <- err
	}()
	for k.waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	for range 2 {
		if err := <-failed; !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("reserve: %v", err)
		}
	}
	go func() {
		for range stuck {
		}
	}()
	close(free)
	defer close(stuck)
	k.mustReserve(t, "next", refunds("100", "100")) // neither of the two counts any more
	if _, err := k.Reserve(ctx, "too late", start, []Limit{refunds("1000", "1")}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("reserve: %v", err)
	}
	if got := k.used(t, refunds("100", "0")); got != "100" {
		t.Errorf("used %s, want 100", got)
	}
}

func (k *kit) waiting() int {
	k.Ledger.amounts.mu.Lock()
	defer k.Ledger.amounts.mu.Unlock()
	return len(k.Ledger.amounts.waiting)
}

// Many at once, over two ledgers on one store: exactly what fits is granted.
func TestI7_ConcurrentCallersGetExactlyTheLimit(t *testing.T) {
	store := newMemory()
	ledgers := []*Ledger{NewLedger(Options{Amounts: store}), NewLedger(Options{Amounts: store})}
	at := time.Now()
	var granted, refused, released atomic.Int64
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("%d-%d", w, i)
				l := ledgers[(w+i)%2]
				switch _, err := l.Reserve(t.Context(), id, at, []Limit{refunds("1000", "1")}); {
				case err == nil && i%5 == 0:
					released.Add(1)
					if err := l.Release(t.Context(), id); err != nil {
						t.Error(err)
					}
				case err == nil:
					granted.Add(1)
				case errors.Is(err, ErrExceeded):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if granted.Load() != 1000 || refused.Load() == 0 {
		t.Errorf("granted %d, released %d, refused %d; want 1000 granted", granted.Load(), released.Load(), refused.Load())
	}
	if store.updates >= 32*50 {
		t.Errorf("%d transactions for %d calls: none was shared", store.updates, 32*50)
	}
}
