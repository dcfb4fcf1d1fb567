package quota

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

// Options of a ledger.
type Options struct {
	// Amounts keeps the quotas that have a cost, Counts those that count calls.
	// Without Counts, all are in Amounts.
	Amounts, Counts Store
	Now             func() time.Time // nil is the system's clock
	Log             *slog.Logger     // nil is the default logger

	entries int // of a log, before some are merged; for tests
}

// Ledger reserves and gives back. It is safe for concurrent use.
type Ledger struct {
	amounts *line
	counts  *line // may be amounts
	now     func() time.Time
}

// NewLedger returns a ledger. There may be others over the same stores.
func NewLedger(o Options) *Ledger {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	clock := func() time.Time { return o.Now().UTC().Truncate(time.Microsecond) }
	newLine := func(s Store) *line {
		return &line{store: s, clock: clock, log: o.Log, most: cmp.Or(o.entries, maxEntries)}
	}
	l := &Ledger{amounts: newLine(o.Amounts), now: clock}
	l.counts = l.amounts
	if o.Counts != nil && o.Counts != o.Amounts {
		l.counts = newLine(o.Counts)
	}
	return l
}

// Reserve counts a call against all limits, or against none. Its id is that of
// the decision, and at is its time. Uses are in the order of the limits.
//
// With ErrExceeded, they say which has no room; where counts and amounts are
// in different stores and a count has none, the amounts are left out. Any other
// error means that nothing is reserved as far as is known, and that the call
// has to be denied: ErrUnavailable, or a *ConflictError.
func (l *Ledger) Reserve(ctx context.Context, id string, at time.Time, limits []Limit) ([]Use, error) {
	claims, err := makeClaims(limits)
	if err != nil || len(claims) == 0 {
		return nil, err
	}
	if l.counts == l.amounts {
		return l.amounts.reserve(ctx, id, at, claims)
	}
	counts, amounts := split(claims)
	// Counts first: they are the cheaper ones to give back.
	var uses []Use
	if len(counts) > 0 {
		if uses, err = l.counts.reserve(ctx, id, at, counts); err != nil {
			return uses, err
		}
	}
	if len(amounts) == 0 {
		return uses, nil
	}
	more, err := l.amounts.reserve(ctx, id, at, amounts)
	if err != nil && len(counts) > 0 {
		_ = l.counts.release(ctx, id) // has logged it
		for i := range uses {
			uses[i].giveBack()
		}
	}
	if err != nil && !errors.Is(err, ErrExceeded) {
		return nil, err
	}
	return inOrder(len(claims), counts, amounts, uses, more), err
}

// Peek says how the limits stand, and which of them have no room. It changes
// nothing.
func (l *Ledger) Peek(ctx context.Context, at time.Time, limits []Limit) ([]Use, error) {
	claims, err := makeClaims(limits)
	if err != nil || len(claims) == 0 {
		return nil, err
	}
	if l.counts == l.amounts {
		return l.amounts.peek(ctx, at, claims)
	}
	counts, amounts := split(claims)
	ofCounts, err := l.counts.peek(ctx, at, counts)
	if err != nil {
		return nil, err
	}
	ofAmounts, err := l.amounts.peek(ctx, at, amounts)
	if err != nil {
		return nil, err
	}
	return inOrder(len(claims), counts, amounts, ofCounts, ofAmounts), nil
}

func (l *line) peek(ctx context.Context, at time.Time, claims []claim) ([]Use, error) {
	if len(claims) == 0 {
		return nil, nil
	}
	var ids []string
	for i := range claims {
		ids = append(ids, claims[i].id)
	}
	counters, err := l.store.Counters(ctx, distinct(ids))
	if err != nil {
		return nil, unavailable(err)
	}
	loaded := Loaded{Counters: map[string]Counter{}}
	for _, c := range counters {
		loaded.Counters[c.ID] = c
	}
	p := newPage(loaded, l.clock(), l.most)
	var uses []Use
	for i := range claims {
		c := &claims[i]
		_, r, err := p.ask(c, at)
		if err != nil {
			return nil, unavailable(err)
		}
		uses = append(uses, c.terms.use(c.Name, r, c.Cost))
	}
	return uses, nil
}

// Release gives back what a call has reserved, once. An id of which nothing is
// known changes nothing. When it fails, what is reserved stays counted.
func (l *Ledger) Release(ctx context.Context, id string) error {
	err := l.amounts.release(ctx, id)
	if l.counts != l.amounts {
		err = errors.Join(err, l.counts.release(ctx, id))
	}
	return err
}

// makeClaims looks at what the policy wants. A limit that is there twice, with
// the same terms and cost, is one.
func makeClaims(limits []Limit) ([]claim, error) {
	claims := make([]claim, 0, len(limits))
	for i := range limits {
		lim := &limits[i]
		t := terms{lim.Limit, lim.Window}
		per := lim.sortedPer()
		c := claim{Limit: lim, id: lim.counterID(per), per: per, terms: t, text: t.encode()}
		twice := false
		for j := range claims {
			if claims[j].Name != lim.Name || !slices.Equal(claims[j].per, c.per) {
				continue
			}
			if claims[j].terms != t || claims[j].Cost != lim.Cost || claims[j].ByCount != lim.ByCount {
				return nil, &ConflictError{lim.Name}
			}
			twice = true
		}
		if !twice {
			c.place = len(claims)
			claims = append(claims, c)
		}
	}
	return claims, nil
}

func split(claims []claim) (counts, amounts []claim) {
	for _, c := range claims {
		if c.ByCount {
			counts = append(counts, c)
		} else {
			amounts = append(amounts, c)
		}
	}
	return counts, amounts
}

// inOrder puts the uses of each store to the place of their claims, and leaves
// out what was not asked.
func inOrder(all int, counts, amounts []claim, ofCounts, ofAmounts []Use) []Use {
	places := make([]*Use, all)
	for i := range ofCounts {
		places[counts[i].place] = &ofCounts[i]
	}
	for i := range ofAmounts {
		places[amounts[i].place] = &ofAmounts[i]
	}
	var uses []Use
	for _, u := range places {
		if u != nil {
			uses = append(uses, *u)
		}
	}
	return uses
}

// giveBack is the use as it was before what was reserved is given back.
func (u *Use) giveBack() {
	u.Used = u.Used.less(u.Cost)
	u.Remaining = u.Limit.less(u.Used)
}
