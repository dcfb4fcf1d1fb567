package credential

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// together does something n times at once, over all replicas, and returns what came.
func (r *replicas) together(n int, do func(b *Broker) (Material, error)) (tokens map[string]int, failed []error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	tokens = map[string]int{}
	for i := range n {
		wg.Go(func() {
			m, err := do(r.brokers[i%len(r.brokers)])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, err)
				return
			}
			tokens[m.Headers[0].Value]++
		})
	}
	wg.Wait()
	return tokens, failed
}

func slow(s *authServer, d time.Duration) {
	s.set(func() {
		s.answer = func(http.ResponseWriter, url.Values) bool { time.Sleep(d); return false }
	})
}

func adasCall(ctx context.Context) func(b *Broker) (Material, error) {
	return func(b *Broker) (Material, error) { return b.For(ctx, Request{Server: "mcp", Holder: "ada"}) }
}

// A refresh token that rotates can be used once, whoever asks at once.
func TestExpiryIsOneRefreshOverAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 3, newAuthServer(t), accounts(Account{}))
		r.connect()
		time.Sleep(2 * time.Hour)
		slow(r.auth, 300*time.Millisecond)
		tokens, failed := r.together(200, adasCall(t.Context()))
		if len(failed) > 0 || len(tokens) != 1 {
			t.Errorf("%d calls failed, %v; %d different tokens", len(failed), failed, len(tokens))
		}
		if n := r.auth.requests("refresh_token"); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
	})
}

// What the server refuses is renewed once for all who say so of the same generation,
// also when they say so one after the other.
func TestRefusedTokensAreRenewedOncePerGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 3, newAuthServer(t), accounts(Account{}))
		r.connect()
		before, err := r.get(0)
		old := carries(t, before, err)
		slow(r.auth, 100*time.Millisecond)
		renew := func(b *Broker) (Material, error) {
			return b.Renew(t.Context(), Request{Server: "mcp", Name: "own", Holder: "ada"}, before.Generation)
		}
		for range 2 {
			tokens, failed := r.together(60, renew)
			if len(failed) > 0 || len(tokens) != 1 || tokens["Bearer "+old] > 0 {
				t.Errorf("%d calls failed, %v; %d different tokens", len(failed), failed, len(tokens))
			}
		}
		if n := r.auth.requests("refresh_token"); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
		// A server that refuses the new ones as well is no reason to go on and on.
		now, err := r.get(1)
		carries(t, now, err)
		again, err := r.brokers[1].Renew(t.Context(), Request{Server: "mcp", Name: "own", Holder: "ada"}, now.Generation)
		if err != nil || again.Generation != now.Generation || r.auth.requests("refresh_token") != 1 {
			t.Errorf("generation %d became %d: %v; %d refreshes", now.Generation, again.Generation, err, r.auth.requests("refresh_token"))
		}
		time.Sleep(refusalPause)
		again, err = r.brokers[1].Renew(t.Context(), Request{Server: "mcp", Name: "own", Holder: "ada"}, now.Generation)
		if err != nil || again.Generation != now.Generation+1 {
			t.Errorf("later generation %d became %d: %v", now.Generation, again.Generation, err)
		}
	})
}

// What is in use is renewed before it runs out, and no call waits for it.
func TestTokensInUseAreRenewedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, newAuthServer(t), accounts(Account{}))
		r.connect()
		slow(r.auth, 5*time.Second)
		for range 3 * 60 { // three hours of tokens that last one
			time.Sleep(time.Minute)
			for i := range r.brokers {
				began := time.Now()
				m, err := r.get(i)
				carries(t, m, err)
				if waited := time.Since(began); waited > 0 {
					t.Fatalf("a call waited for %s", waited)
				}
			}
		}
		if n := r.auth.requests("refresh_token"); n < 3 || n > 4 {
			t.Errorf("%d refreshes in three hours", n)
		}
	})
}

// What nobody uses is left to run out.
func TestTokensOutOfUseAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
		r.connect()
		if _, err := r.get(0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		if n := r.auth.requests("refresh_token"); n != 0 {
			t.Errorf("%d refreshes", n)
		}
		m, err := r.get(0)
		carries(t, m, err)
	})
}

// A caller that goes away leaves the renewal to the others.
func TestRenewalGoesOnWithoutItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
		r.connect()
		time.Sleep(2 * time.Hour)
		slow(r.auth, 3*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := adasCall(ctx)(r.brokers[0]); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call that was given up: %v", err)
		}
		m, err := r.get(0)
		carries(t, m, err)
		if n := r.auth.requests("refresh_token"); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
	})
}

// An account that is disconnected at one replica is so at all, within a second.
func TestDisconnectedEverywhereWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 3, newAuthServer(t), accounts(Account{}))
		r.connect()
		for i := range r.brokers {
			m, err := r.get(i)
			carries(t, m, err)
		}
		r.must(r.brokers[0].Disconnect(t.Context(), adas))
		_, err := r.get(0)
		needs(t, err)
		time.Sleep(time.Second)
		for i := range r.brokers {
			_, err := r.get(i)
			needs(t, err)
		}
		if err := r.brokers[0].Disconnect(t.Context(), adas); !errors.Is(err, ErrNotFound) {
			t.Errorf("disconnected twice: %v", err)
		}
	})
}

// Who asks for a renewal while that of an earlier generation is under way gets a new
// one, and not what the earlier one finds.
func TestRenewalDuringThatOfAnEarlierGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
		r.connect()
		renew := func(generation int64) (Material, error) {
			return r.brokers[0].Renew(t.Context(), Request{Server: "mcp", Name: "own", Holder: "ada"}, generation)
		}
		if m, err := renew(1); err != nil || m.Generation != 2 {
			t.Fatalf("generation %d: %v", m.Generation, err)
		}
		time.Sleep(time.Minute)
		r.vaults[0].fault = func(op string) error {
			if op == "get" {
				time.Sleep(time.Second)
			}
			return nil
		}
		late := make(chan int64)
		go func() {
			m, _ := renew(1)
			late <- m.Generation
		}()
		time.Sleep(500 * time.Millisecond)
		if m, err := renew(2); err != nil || m.Generation != 3 {
			t.Errorf("generation 2 became %d: %v", m.Generation, err)
		}
		if got := <-late; got != 2 {
			t.Errorf("generation 1 became %d", got)
		}
	})
}

// What was used lately is renewed though nobody uses it at the time.
func TestTokensUsedLatelyAreRenewedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := newAuthServer(t)
		auth.life = 600
		r := newReplicas(t, 1, auth, accounts(Account{}))
		r.connect()
		time.Sleep(7 * time.Minute)
		m, err := r.get(0)
		old := carries(t, m, err)
		time.Sleep(2 * time.Minute)
		if n := auth.requests("refresh_token"); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
		m, err = r.get(0)
		if carries(t, m, err) == old {
			t.Error("the token is the same")
		}
	})
}

// Tokens go to the server that they are for, also when the configuration has changed.
func TestTokensOfAnotherServerAreNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
		r.connect()
		moved := accounts(Account{})
		moved.URL = "https://elsewhere.example/v1/mcp"
		other := newReplicas(t, 1, r.auth, moved)
		other.vaults[0].shelf = r.shelf
		_, err := other.get(0)
		needs(t, err)
		m, err := r.get(0)
		carries(t, m, err)
		if n := r.auth.requests("refresh_token"); n != 0 {
			t.Errorf("%d refreshes", n)
		}
	})
}

// An account is renewed now, whoever asks, and whatever is left of its token.
func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, newAuthServer(t), accounts(Account{}))
		needs(t, r.brokers[0].Rotate(t.Context(), adas))
		r.connect()
		m, err := r.get(1)
		old := carries(t, m, err)
		r.must(r.brokers[1].Rotate(t.Context(), adas))
		m, err = r.get(1)
		if carries(t, m, err) == old || m.Generation != 2 {
			t.Errorf("generation %d", m.Generation)
		}
		var unknown *UnknownError
		if err := r.brokers[0].Rotate(t.Context(), AccountRef{"mcp", "other", "ada"}); !errors.As(err, &unknown) {
			t.Errorf("the error is %v", err)
		}
	})
}

// A broker that is closed has let its renewal end, and begins no other.
func TestCloseWaitsForARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
		r.connect()
		time.Sleep(2 * time.Hour)
		slow(r.auth, 5*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _ = adasCall(ctx)(r.brokers[0])
		r.brokers[0].Close()
		if e, err := r.vaults[0].Get(t.Context(), Key{Kind: KindAccount, Name: "mcp/own", Holder: "ada"}); err != nil || e.Generation != 2 {
			t.Errorf("generation %d, %v", e.Generation, err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := r.get(0); !errors.Is(err, errClosed) {
			t.Errorf("the error is %v", err)
		}
	})
}
