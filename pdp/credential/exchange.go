package credential

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	grantExchange   = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
)

// maxExchanged bounds what is kept; what does not fit is exchanged with each call.
const maxExchanged = 1 << 14

// exchange trades the subject's own access token for one of the server's (RFC 8693).
// What comes is kept in memory, under the digest of what it came for: a token of the
// same subject that may less must not be given what came for another.
type exchange struct {
	b       *Broker
	c       *brokered
	g       TokenGrant
	flights singleflight.Group

	// generations differ over all replicas, as good as surely: they begin at random.
	last atomic.Int64

	mu   sync.Mutex
	kept map[string]*exchanged // by digest
}

// exchanged is what came for a subject's token.
type exchanged struct {
	held
	usedAt time.Time
}

func newExchange(b *Broker, c *brokered, g TokenGrant) *exchange {
	x := &exchange{b: b, c: c, g: g, kept: map[string]*exchanged{}}
	x.last.Store(1 + rand.Int64N(1<<52))
	return x
}

// material has the token for the subject's, exchanged now if there is none.
func (x *exchange) material(ctx context.Context, m Material, r Request) (Material, error) {
	if r.SubjectToken == "" {
		return Material{}, fmt.Errorf("calls of %s need an access token of the subject to exchange, and the subject was proven by something else", x.c.server)
	}
	now := x.b.now()
	digest := digestOf(r.Holder, r.SubjectToken)
	x.mu.Lock()
	e := x.kept[digest]
	if e != nil && e.tokens.usable(now) {
		e.usedAt = now
		h := e.held
		x.mu.Unlock()
		return carry(m, x.c.name, r.Holder, h), nil
	}
	x.mu.Unlock()
	h, err := x.flight(ctx, digest, r.SubjectToken)
	if err != nil {
		return Material{}, err
	}
	return carry(m, x.c.name, r.Holder, h), nil
}

// renewed is another token in place of that of the generation.
func (x *exchange) renewed(ctx context.Context, m Material, r Request, generation int64) (Material, error) {
	digest := digestOf(r.Holder, r.SubjectToken)
	e, there := x.find(digest)
	if !there {
		return x.material(ctx, m, r)
	}
	if e.generation != generation || x.b.now().Sub(e.tokens.RefusedAt) < refusalPause { // somebody has done so
		return carry(m, x.c.name, r.Holder, e.held), nil
	}
	h, err := x.flight(ctx, digest, r.SubjectToken)
	if err != nil {
		return Material{}, err
	}
	x.mark(digest, generation)
	return carry(m, x.c.name, r.Holder, h), nil
}

func (x *exchange) find(digest string) (exchanged, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.kept[digest]
	if e == nil {
		return exchanged{}, false
	}
	return *e, true
}

// mark keeps that a token was obtained because the server had refused that of the
// generation.
func (x *exchange) mark(digest string, refused int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.kept[digest]; e != nil && e.generation != refused {
		e.tokens.RefusedAt = x.b.now()
	}
}

// flight exchanges, once for all who come with the same token at the time.
func (x *exchange) flight(ctx context.Context, digest, subject string) (held, error) {
	l, err := wait(ctx, x.flights.DoChan(digest, func() (any, error) {
		if !x.b.enter() {
			return landed{}, errClosed
		}
		defer x.b.flying.Done()
		t, err := x.b.tokens(context.Background(), x.c, x.g.request(grantExchange, x.c, url.Values{
			"subject_token": {subject}, "subject_token_type": {typeAccessToken}, "requested_token_type": {typeAccessToken},
		}))
		if err != nil {
			return landed{}, fmt.Errorf("exchange the subject's token for one of %s: %w", x.c.server, err)
		}
		t.RefreshToken = "" // the subject's own token is what renews
		h := held{tokens: t, generation: x.last.Add(1), readAt: x.b.now()}
		x.keep(digest, &exchanged{held: h, usedAt: h.readAt})
		return landed{held: h}, nil
	}))
	return l.held, err
}

func (x *exchange) keep(digest string, e *exchanged) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, there := x.kept[digest]; there || len(x.kept) < maxExchanged {
		x.kept[digest] = e
	}
}

// sweep forgets what has run out or is not used.
func (x *exchange) sweep(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for digest, e := range x.kept {
		if !e.tokens.usable(now) || now.Sub(e.usedAt) > idle {
			delete(x.kept, digest)
		}
	}
}

func digestOf(parts ...string) string {
	sum := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(sum, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// exchanges calls do with each.
func (b *Broker) exchanges(do func(*exchange)) {
	for _, s := range b.servers {
		for _, c := range s.byName {
			if c.exchange != nil {
				do(c.exchange)
			}
		}
	}
}
