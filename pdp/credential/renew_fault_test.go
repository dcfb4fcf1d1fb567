package credential

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A refresh token that the authorization server takes no more is not tried again.
func TestRevokedRefreshTokenNeedsTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 3, newAuthServer(t), accounts(Account{}))
		r.connect()
		r.auth.set(func() {
			for _, family := range r.auth.refresh {
				r.auth.revoked[family] = true
			}
		})
		time.Sleep(2 * time.Hour)
		_, failed := r.together(30, adasCall(t.Context()))
		if len(failed) != 30 {
			t.Errorf("%d of 30 calls failed", len(failed))
		}
		for _, err := range failed {
			needs(t, err)
		}
		if n := r.auth.requests("refresh_token"); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
		if list, err := r.brokers[0].Accounts(t.Context(), ""); err != nil || len(list) != 0 {
			t.Errorf("accounts %v, %v", list, err)
		}
		r.connect()
		m, err := r.get(2)
		carries(t, m, err)
	})
}

// The answer to a refresh is lost: the token before it is used up, and the
// authorization server takes the next attempt for a thief's.
func TestLostAnswerNeedsTheAccountAndNeverLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, newAuthServer(t), accounts(Account{}))
		r.connect()
		time.Sleep(2 * time.Hour)
		r.auth.set(func() { r.auth.after = func(http.ResponseWriter) bool { panic(http.ErrAbortHandler) } })
		if _, err := r.get(0); err == nil {
			t.Fatal("a call has a token that nobody has received")
		}
		r.auth.set(func() { r.auth.after = nil })
		time.Sleep(lastWait)
		for range 20 {
			_, err := r.get(1)
			needs(t, err)
			time.Sleep(time.Minute)
		}
		if n := r.auth.requests("refresh_token"); n != 2 {
			t.Errorf("%d refreshes, want 2", n)
		}
	})
}

// A replica dies between the refresh and the vault: another waits for its lease to
// run out, and then it is as with an answer that was lost.
func TestReplicaThatDiesWithTheNewTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, newAuthServer(t), accounts(Account{}))
		r.connect()
		time.Sleep(2 * time.Hour)
		r.vaults[0].fault = func(op string) error {
			if op == "put" {
				return errors.New("the vault is away")
			}
			return nil
		}
		if _, err := r.get(0); err == nil || strings.Contains(err.Error(), "connect") {
			t.Fatalf("a call of the replica without a vault: %v", err)
		}
		began := time.Now()
		_, err := r.get(1)
		needs(t, err)
		if waited := time.Since(began); waited > leaseTime {
			t.Errorf("waited %s for a lease of %s", waited, leaseTime)
		}
	})
}

// A vault that is away for a moment does not lose what was refreshed.
func TestVaultThatIsAwayForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, newAuthServer(t), accounts(Account{}))
		r.connect()
		time.Sleep(2 * time.Hour)
		var puts atomic.Int32
		r.vaults[0].fault = func(op string) error {
			if op == "put" && puts.Add(1) < 4 {
				return errors.New("the vault is away")
			}
			return nil
		}
		first, err := r.get(0)
		token := carries(t, first, err)
		second, err := r.get(1)
		if carries(t, second, err) != token || r.auth.requests("refresh_token") != 1 {
			t.Errorf("%d refreshes, want 1", r.auth.requests("refresh_token"))
		}
	})
}

// While the authorization server is down, tokens are used for as long as they last,
// and it is asked less and less.
func TestAuthorizationServerThatIsDown(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, url.Values) bool{
		"status 500": func(w http.ResponseWriter, _ url.Values) bool {
			w.WriteHeader(http.StatusInternalServerError)
			return true
		},
		"too slow": func(http.ResponseWriter, url.Values) bool { time.Sleep(time.Hour); return true },
		"no JSON":  func(w http.ResponseWriter, _ url.Values) bool { _, _ = w.Write([]byte("<html>")); return true },
		"a reset":  func(http.ResponseWriter, url.Values) bool { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
				r.connect()
				r.auth.set(func() { r.auth.answer = answer })
				m, err := r.get(0)
				old := carries(t, m, err)
				failed := 0
				for range 70 * 6 { // of which the token lasts 60 minutes
					time.Sleep(10 * time.Second)
					m, err := r.get(0)
					if err != nil {
						failed++
					} else if carries(t, m, err) != old {
						t.Fatal("a token from nowhere")
					}
				}
				if failed < 55 || failed > 61 {
					t.Errorf("%d calls failed in ten minutes", failed)
				}
				if n := r.auth.requests("refresh_token"); n < 5 || n > 45 {
					t.Errorf("asked %d times in 20 minutes", n)
				}
				r.auth.set(func() { r.auth.answer = nil })
				time.Sleep(lastWait)
				m, err = r.get(0)
				if carries(t, m, err) == old {
					t.Error("the old token is given after its time")
				}
				time.Sleep(2 * time.Hour) // what is slow ends
			})
		})
	}
}

// Connecting again while a renewal is under way: what the person did counts.
func TestConnectingAgainDuringARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, newAuthServer(t), accounts(Account{}))
		r.connect()
		time.Sleep(2 * time.Hour)
		r.auth.set(func() {
			r.auth.answer = func(_ http.ResponseWriter, form url.Values) bool {
				if form.Get("grant_type") == "refresh_token" {
					time.Sleep(5 * time.Second)
				}
				return false
			}
		})
		got := make(chan string)
		go func() {
			m, err := r.get(1)
			got <- carries(t, m, err)
		}()
		time.Sleep(time.Second)
		r.connect()
		m, err := r.get(0)
		if mine := carries(t, m, err); mine != <-got {
			t.Error("the renewal has replaced what was connected meanwhile")
		}
	})
}

// Connecting again while an attempt with the old refresh token is about to fail: that
// does not delete what the person did.
func TestConnectingAgainBeforeARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 2, newAuthServer(t), accounts(Account{}))
		r.connect()
		time.Sleep(2 * time.Hour)
		r.auth.set(func() {
			for _, family := range r.auth.refresh {
				r.auth.revoked[family] = true
			}
			r.auth.answer = func(_ http.ResponseWriter, form url.Values) bool {
				if form.Get("grant_type") == "refresh_token" {
					time.Sleep(5 * time.Second)
				}
				return false
			}
		})
		got := make(chan string)
		go func() {
			m, err := r.get(1)
			got <- carries(t, m, err)
		}()
		time.Sleep(time.Second)
		r.connect()
		m, err := r.get(0)
		if mine := carries(t, m, err); mine != <-got {
			t.Error("the caller has another token than what was connected meanwhile")
		}
	})
}

// The vault keeps what it is given, and its answer is lost.
func TestVaultWhoseAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
		r.connect()
		time.Sleep(2 * time.Hour)
		r.vaults[0].after = func(op string) error {
			if op == "put" {
				r.vaults[0].after = nil
				return errors.New("connection reset by peer")
			}
			return nil
		}
		m, err := r.get(0)
		carries(t, m, err)
		if n := r.auth.requests("refresh_token"); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
	})
}
