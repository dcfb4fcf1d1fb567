package identity

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// keyring is an issuer in memory: what it answers, and how often it was asked.
type keyring struct {
	mu    sync.Mutex
	keys  []string
	err   error
	delay time.Duration
	asked atomic.Int32
}

func (k *keyring) fetch(ctx context.Context) (*keySet, error) {
	k.asked.Add(1)
	k.mu.Lock()
	keys, err, delay := k.keys, k.err, k.delay
	k.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return readKeySet([]byte(jwks(keys...)))
}

func (k *keyring) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

// rotating returns an issuer with the key r1, and a function that makes its tokens.
func rotating(t *testing.T) (*keyring, *AccessTokens, func(kid string) Evidence) {
	t.Helper()
	k := &keyring{keys: []string{jwk("r1", "", rsaKey())}}
	const url = "https://issuer.example"
	p := provers(t, Issuer{URL: url, JWKS: "unused"})
	p.issuers[url].keys.fetch = k.fetch
	return k, p, func(kid string) Evidence {
		key := rsaKey()
		if kid == "r2" {
			key = rsaOther()
		}
		claims := text64(object{"iss": url, "sub": "ada", "aud": resource, "exp": time.Now().Add(48 * time.Hour).Unix()})
		return Evidence{Resource: resource, BearerToken: sign("RS256", key, `{"alg":"RS256","kid":"`+kid+`"}`, claims)}
	}
}

func check(t *testing.T, p Prover, e Evidence) {
	t.Helper()
	if _, err := p.Prove(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func TestI10_RotatedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, token := rotating(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go p.Run(ctx)
		synctest.Wait()

		old := token("r1")
		check(t, p, old)
		source := p.issuers["https://issuer.example"].keys
		known := source.current()
		time.Sleep(keysEvery + time.Second)
		if source.current() != known || k.asked.Load() < 2 {
			t.Error("the same keys are taken for others, and what is cached is of no use")
		}
		k.set(func() { k.keys = append(k.keys, jwk("r2", "", rsaOther())) })
		check(t, p, token("r2")) // at once, though keys are known
		check(t, p, old)
		k.set(func() { k.keys = k.keys[1:] })
		time.Sleep(keysEvery + time.Second)
		unproven(t, p, old, Invalid) // though it was verified before
		check(t, p, token("r2"))
		k.set(func() { k.keys = nil })
		time.Sleep(keysEvery + time.Second)
		unproven(t, p, token("r2"), Invalid)
	})
}

// Another key under a known kid is a new key as well.
func TestAKeyReplacedUnderItsKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, token := rotating(t)
		check(t, p, token("r1"))
		k.set(func() {
			k.keys = []string{strings.Replace(jwk("r2", "", rsaKey()), "r2", "r1", 1), jwk("r2", "", rsaOther())}
		})
		time.Sleep(keysOnDemand)
		check(t, p, token("r2"))
	})
}

// Whoever makes up kids does not have the issuer asked more often.
func TestUnknownKeysDoNotMakeAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, token := rotating(t)
		check(t, p, token("r1"))
		for range 1000 {
			unproven(t, p, token("made up"), Invalid)
			time.Sleep(60 * time.Millisecond)
		}
		if n := k.asked.Load(); n > int32(time.Minute/keysOnDemand)+1 {
			t.Errorf("%d requests in a minute", n)
		}
	})
}

func TestVerifiersShareOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, token := rotating(t)
		k.delay = time.Second
		e := token("r1")
		var wg sync.WaitGroup
		// The first one gives up; the others get what it had asked for.
		wg.Go(func() { givesUp(t, p, e) })
		synctest.Wait()
		for range 100 {
			wg.Go(func() {
				if _, err := p.Prove(context.Background(), e); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := k.asked.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// givesUp asks for as long as a decision may take, which is too short.
func givesUp(t *testing.T, p Prover, e Evidence) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
	defer cancel()
	_, err := p.Prove(ctx, e)
	if r := (*Refusal)(nil); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &r) {
		t.Errorf("%v", err)
	}
}

// A token of known keys does not wait for a request that others make.
func TestAHangingIssuerHoldsUpNobodyWhoIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, token := rotating(t)
		ctx, cancel := context.WithCancel(t.Context())
		go p.Run(ctx)
		synctest.Wait()
		k.set(func() { k.delay = time.Hour })
		go p.Prove(ctx, token("made up")) //nolint:errcheck // it waits in vain
		synctest.Wait()
		begun := time.Now()
		check(t, p, token("r1"))
		if d := time.Since(begun); d != 0 {
			t.Errorf("waited %v", d)
		}
		givesUp(t, p, token("made up")) // whether it is good is not known
		// The request itself ends.
		time.Sleep(keysPatience)
		synctest.Wait()
		k.set(func() { k.delay, k.keys = 0, append(k.keys, jwk("r2", "", rsaOther())) })
		check(t, p, token("r2"))
		cancel()
		synctest.Wait()
	})
}

func TestLastGoodKeysHoldWhileTheIssuerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, token := rotating(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go p.Run(ctx)
		synctest.Wait()
		gone := errors.New("gone")
		k.set(func() { k.err = gone })
		e := token("r1")
		time.Sleep(keysMaxAge - time.Second)
		check(t, p, e)
		unproven(t, p, token("r2"), Invalid)
		time.Sleep(time.Second)
		// Now nobody knows whether the keys are still good, also not of what is cached.
		_, err := p.Prove(t.Context(), e)
		if r := (*Refusal)(nil); !errors.Is(err, gone) || errors.As(err, &r) {
			t.Errorf("%v", err)
		}
		k.set(func() { k.err = nil })
		time.Sleep(keysRetry)
		check(t, p, e)
	})
}

// An issuer that is away is told of once, and once when it is back.
func TestAwayIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, p, token := rotating(t)
		var log bytes.Buffer
		source := p.issuers["https://issuer.example"].keys
		source.log = slog.New(slog.NewTextHandler(&log, nil))
		k.err = errors.New("connection refused")
		ctx, cancel := context.WithCancel(t.Context())
		go p.Run(ctx)
		time.Sleep(10 * time.Minute)
		k.set(func() { k.err = nil })
		time.Sleep(keysRetry)
		check(t, p, token("r1"))
		cancel()
		synctest.Wait()
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "connection refused") {
			t.Errorf("%d warnings:\n%s", n, log.String())
		}
		if !strings.Contains(log.String(), "to be had again") {
			t.Errorf("log:\n%s", log.String())
		}
	})
}
