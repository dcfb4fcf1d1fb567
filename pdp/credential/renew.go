package credential

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// leaseTime is how long one replica has to get tokens and to keep them: longer than
	// a token endpoint may take.
	leaseTime = tokenPatience + 10*time.Second
	// renewalTime bounds a renewal: the lease of a replica that has died, and one's own.
	renewalTime = 2*leaseTime + 5*time.Second
	// pollTime is between two looks at what another replica is about to renew.
	pollTime = 50 * time.Millisecond
	// refusalPause is how soon the server's refusal renews a second time: a server
	// that refuses everything is no reason to ask for tokens with every call.
	refusalPause = 10 * time.Second
	// aheadTime is between two looks for tokens that are about to run out.
	aheadTime = 5 * time.Second
	// putAttempts is how often what was obtained is offered to the vault again, over
	// some 6 s.
	putAttempts = 6
)

var errClosed = errors.New("the credential broker is closed")

// Run renews ahead what is in use, until ctx ends. Nobody waits for that.
func (b *Broker) Run(ctx context.Context) {
	tick := time.NewTicker(aheadTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.closing:
			return
		case <-tick.C:
		}
		for k, s := range b.memory.due(b.now()) {
			b.flight(s.credential, k, s.generation, false)
		}
		b.exchanges(func(x *exchange) { x.sweep(b.now()) })
	}
}

// current are the holder's tokens: from memory, or else the vault, or else new.
func (b *Broker) current(ctx context.Context, c *brokered, holder string) (held, error) {
	k, now := c.key(holder), b.now()
	s, fresh := b.memory.use(k, c, now)
	if !fresh {
		h, err := b.look(ctx, k)
		if err != nil {
			return held{}, err
		}
		s = b.memory.keep(k, h)
	}
	if s.generation == 0 || !c.usable(s.tokens, now) {
		return b.renewal(ctx, c, holder, s.generation, false)
	}
	if at := s.tokens.dueAt(s.jitter); !at.IsZero() && !now.Before(at) && b.memory.waiting(k, now) == nil {
		b.flight(c, k, s.generation, false)
	}
	return s.held, nil
}

// look reads the vault, once for all who ask at the time; generation 0 is nothing.
func (b *Broker) look(ctx context.Context, k Key) (held, error) {
	l, err := wait(ctx, b.fly("look", k, func(ctx context.Context) (landed, error) {
		h, err := b.read(ctx, k)
		return landed{held: h}, err
	}))
	return l.held, err
}

// read is what the vault has of a key now.
func (b *Broker) read(ctx context.Context, k Key) (held, error) {
	at := b.now()
	e, err := b.vault.Get(ctx, k)
	if errors.Is(err, ErrNotFound) {
		return held{readAt: at}, nil
	}
	if err != nil {
		return held{}, fmt.Errorf("read the tokens of %s: %w", k.Name, err)
	}
	t, err := tokensOf(e)
	return held{tokens: t, generation: e.Generation, readAt: at}, err
}

// renewal waits for other tokens than those of the generation. refused: because the
// server takes them no more, though they have not run out.
func (b *Broker) renewal(ctx context.Context, c *brokered, holder string, generation int64, refused bool) (held, error) {
	for {
		l, err := wait(ctx, b.flight(c, c.key(holder), generation, refused))
		if err != nil || l.seen == generation || l.generation != generation {
			return l.held, err
		}
		// It was the renewal of an earlier generation, of which this is what came.
	}
}

// flight renews, once for all who ask at the time: of a key there is one at a time
// in this process, which is one to the vault's lease.
func (b *Broker) flight(c *brokered, k Key, seen int64, refused bool) <-chan singleflight.Result {
	return b.fly("renew", k, func(ctx context.Context) (landed, error) {
		if err := b.memory.waiting(k, b.now()); err != nil {
			return landed{}, err
		}
		h, err := b.renew(ctx, c, k, seen, refused)
		needed := (*AccountNeeded)(nil)
		switch {
		case err == nil:
			b.memory.renewed(k)
			b.memory.keep(k, h)
		case errors.As(err, &needed):
			b.memory.forget(k)
		default:
			b.memory.failed(k, err, b.now())
			b.log.WarnContext(ctx, "tokens could not be renewed", "server", c.server, "credential", c.name, "holder", k.Holder, "error", err)
		}
		return landed{h, seen}, err
	})
}

// landed is how a flight ended, and which generation it was to replace.
type landed struct {
	held
	seen int64
}

// fly does something once for all who ask for it, whoever of them goes away.
func (b *Broker) fly(what string, k Key, do func(context.Context) (landed, error)) <-chan singleflight.Result {
	return b.flights.DoChan(what+"\x00"+k.Name+"\x00"+k.Holder, func() (any, error) {
		if !b.enter() {
			return landed{}, errClosed
		}
		defer b.flying.Done()
		ctx, cancel := context.WithTimeout(context.Background(), renewalTime)
		defer cancel()
		return do(ctx)
	})
}

// enter begins something that Close waits for.
func (b *Broker) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.flying.Add(1)
	return true
}

func wait(ctx context.Context, flight <-chan singleflight.Result) (landed, error) {
	select {
	case r := <-flight:
		return r.Val.(landed), r.Err
	case <-ctx.Done():
		return landed{}, ctx.Err()
	}
}

// renew brings the vault past a generation. One replica has the lease and asks the
// authorization server; the others find what it has put.
func (b *Broker) renew(ctx context.Context, c *brokered, k Key, seen int64, refused bool) (held, error) {
	for {
		h, err := b.read(ctx, k)
		if err != nil {
			return held{}, err
		}
		if h.generation == 0 {
			if err := b.begin(ctx, c, k); err != nil {
				return held{}, err
			}
			h.generation = 1
		}
		if b.settled(c, h, seen, refused) {
			return h, nil
		}
		leased, err := b.vault.Lease(ctx, k, h.generation, leaseTime)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return held{}, fmt.Errorf("reserve the renewal for %s: %w", k.Name, err)
		}
		if leased {
			next, err := b.obtain(ctx, c, k, h, refused)
			if err != nil || next.generation > 0 {
				return next, err
			}
			continue // somebody else has put something: look at that
		}
		if err := pause(ctx, pollTime); err != nil {
			return held{}, fmt.Errorf("another decision point is renewing the tokens of %s, and has not done so in time", k.Name)
		}
	}
}

// settled says whether what is there is what a renewal of the generation seen is for.
func (b *Broker) settled(c *brokered, h held, seen int64, refused bool) bool {
	now := b.now()
	if !c.usable(h.tokens, now) {
		return false
	}
	return h.generation != seen || refused && now.Sub(h.tokens.RefusedAt) < refusalPause
}

// usable says whether a call that is sent now may carry the tokens.
func (c *brokered) usable(t tokens, now time.Time) bool { return t.usable(now) && c.grant.fits(t) }

// begin makes the first entry, which stands for tokens that somebody is about to get,
// so that there is something to lease. Where another is first, the lease tells.
func (b *Broker) begin(ctx context.Context, c *brokered, k Key) error {
	if err := c.grant.absent(k.Holder); err != nil {
		return err
	}
	e, err := tokens{}.entry(k, 1)
	if err != nil {
		return err
	}
	if err := b.vault.Put(ctx, e); err != nil && !errors.Is(err, ErrConflict) {
		return fmt.Errorf("begin to get tokens of %s: %w", k.Name, err)
	}
	return nil
}

// obtain gets new tokens under the lease of h, and puts them. Generation 0 without
// an error says that another has put something in between.
func (b *Broker) obtain(ctx context.Context, c *brokered, k Key, h held, refused bool) (held, error) {
	t, err := c.grant.obtain(ctx, k.Holder, h.tokens)
	if errors.Is(err, errLost) {
		return b.lost(ctx, c, k, h.generation)
	}
	if err != nil {
		return held{}, err
	}
	if refused {
		t.RefusedAt = b.now().UTC()
	}
	e, err := t.entry(k, h.generation+1)
	if err != nil {
		return held{}, err
	}
	at := b.now()
	err = b.put(ctx, e)
	switch {
	case errors.Is(err, ErrConflict):
		return held{}, nil
	case err != nil:
		return held{}, fmt.Errorf("keep the tokens of %s: %w", k.Name, err)
	}
	b.log.InfoContext(ctx, "tokens renewed", "server", c.server, "credential", c.name, "holder", k.Holder, "generation", e.Generation)
	return held{tokens: t, generation: e.Generation, readAt: at}, nil
}

// put tries for a while: what is not kept is lost, since the refresh token before it
// is used up.
func (b *Broker) put(ctx context.Context, e Entry) error {
	for attempt := 0; ; attempt++ {
		err := b.vault.Put(ctx, e)
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
			return ErrConflict // also where it is there, and the vault's answer was lost
		}
		if attempt == putAttempts || pause(ctx, 100*time.Millisecond<<attempt) != nil {
			return err
		}
	}
}

// lost deletes an account of which nothing can be had any more, unless the holder
// has connected again in between.
func (b *Broker) lost(ctx context.Context, c *brokered, k Key, generation int64) (held, error) {
	now, err := b.read(ctx, k)
	if err != nil {
		return held{}, err
	}
	if now.generation != generation {
		return held{}, nil
	}
	if err := b.vault.Delete(ctx, k); err != nil && !errors.Is(err, ErrNotFound) {
		return held{}, fmt.Errorf("delete an account that is lost: %w", err)
	}
	b.log.WarnContext(ctx, "an account has to be connected again", "credential", k.Name, "holder", k.Holder)
	return held{}, c.grant.absent(k.Holder)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
