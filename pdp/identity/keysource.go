package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// How an issuer's keys are kept.
const (
	// keysEvery is how often they are asked for, so how long a key that the issuer
	// has withdrawn is still good.
	keysEvery = 5 * time.Minute
	// keysRetry is how soon they are asked for again after a failure.
	keysRetry = 15 * time.Second
	// keysOnDemand is how far apart the requests are that tokens bring about: whoever
	// sends tokens of made-up keys does not have the issuer flooded.
	keysOnDemand = 5 * time.Second
	// keysMaxAge is how long the last good ones hold while the issuer is away.
	keysMaxAge = 24 * time.Hour
	// keysPatience bounds one fetch, of up to three requests.
	keysPatience = 20 * time.Second
)

// keySource keeps an issuer's keys up to date. It is safe for concurrent use.
type keySource struct {
	issuer string
	fetch  func(context.Context) (*keySet, error)
	now    func() time.Time
	log    *slog.Logger

	flight singleflight.Group

	mu        sync.Mutex
	set       *keySet   // the last good one, nil before the first
	fetchedAt time.Time // when the request for it began
	askedAt   time.Time // when a token brought about a request last
	failure   error     // of the last request
}

// current returns the keys in force, nil where there are none that are young
// enough. The pointer is the same for as long as the keys are.
func (k *keySource) current() *keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.set == nil || k.now().Sub(k.fetchedAt) >= keysMaxAge {
		return nil
	}
	return k.set
}

// renew asks for the keys because a token needs others than there are. Everybody
// who waits shares one request. It returns nil without asking when that was done
// just before and succeeded, and ctx's error when that ends first.
func (k *keySource) renew(ctx context.Context) error {
	done := k.flight.DoChan("", func() (any, error) {
		if again, err := k.mayAsk(); !again {
			return nil, err
		}
		// Not the caller's context: others wait for the same.
		return nil, k.load(context.WithoutCancel(ctx))
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mayAsk reports whether a token may bring about a request now; if not, how the
// last request ended.
func (k *keySource) mayAsk() (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if since := now.Sub(k.askedAt); since >= 0 && since < keysOnDemand {
		return false, k.failure
	}
	k.askedAt = now
	return true, nil
}

// run asks for the keys again and again until ctx ends.
func (k *keySource) run(ctx context.Context) {
	for {
		_, err, _ := k.flight.Do("", func() (any, error) { return nil, k.load(ctx) })
		wait := keysEvery
		if err != nil {
			wait = keysRetry
		}
		// Decision points that were started together do not ask together.
		wait -= time.Duration(rand.Int64N(int64(wait / 10)))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// load asks for the keys, and keeps what it had when that fails.
func (k *keySource) load(ctx context.Context) error {
	began := k.now()
	bounded, cancel := context.WithTimeout(ctx, keysPatience)
	defer cancel()
	set, err := k.fetch(bounded)
	if ctx.Err() != nil {
		return ctx.Err() // the program ends: nothing is wrong with the issuer
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		if k.failure == nil {
			k.log.WarnContext(ctx, "the keys of an issuer can't be had", "issuer", k.issuer, "error", err, "known", k.set != nil)
		}
		k.failure = fmt.Errorf("the keys of %s can't be had: %w", k.issuer, err)
		return k.failure
	}
	if k.failure != nil {
		k.log.InfoContext(ctx, "the issuer's keys are to be had again", "issuer", k.issuer)
	}
	k.fetchedAt, k.failure = began, nil
	if k.set == nil || k.set.digest != set.digest {
		k.set = set
		k.log.InfoContext(ctx, "an issuer's keys are in force", "issuer", k.issuer, "keys", len(set.keys), "ignored", set.ignored)
	}
	return nil
}

// verified returns the keys one of which has signed the token. The error is a
// *Refusal when none has; another one when it could not be found out.
func (k *keySource) verified(ctx context.Context, t *signedToken) (*keySet, error) {
	known := k.current()
	if known != nil && known.verifies(t) {
		return known, nil
	}
	err := k.renew(ctx)
	fresh := k.current()
	switch {
	case fresh != nil && fresh != known && fresh.verifies(t):
		return fresh, nil
	case fresh != nil && ctx.Err() == nil:
		return nil, invalidToken("was not signed by its issuer")
	case err == nil:
		err = errors.New("the keys of an issuer are too old")
	}
	return nil, err
}
