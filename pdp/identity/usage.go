package identity

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// usageFlush is how often what was used is written down.
	usageFlush = 5 * time.Second
	// maxTallied bounds the grants of which something is yet to be written down.
	maxTallied = 1 << 16
	// usageBatch is how many grants one transaction writes: it must not keep a
	// grant's uses from being counted for long.
	usageBatch = 200
)

// Deed is what became of a frame that was sent under a grant.
type Deed uint8

// The kinds of deed.
const (
	Seen   Deed = iota // the frame neither was a call that was allowed, nor refused
	Called             // a call of a tool was allowed
	Denied             // the frame was refused
)

// tally is what was done and is not written down yet.
type tally struct {
	mu      sync.Mutex
	grants  map[string]*Usage
	dropped int // frames that did not fit

	flushing sync.Mutex
}

// Note counts a frame under the grant of that identity. It asks nothing of the
// store: Flush does.
func (a *Authenticator) Note(who *Identity, deed Deed, at time.Time) {
	if who.Grant == nil {
		return
	}
	u := Usage{GrantID: who.Grant.ID, LastUsedAt: toStamp(at)}
	switch deed {
	case Called:
		u.Calls = 1
	case Denied:
		u.Denials = 1
	}
	a.usage.mu.Lock()
	defer a.usage.mu.Unlock()
	a.usage.add(u)
}

// add is called with the lock.
func (t *tally) add(u Usage) {
	if t.grants == nil {
		t.grants = make(map[string]*Usage)
	}
	sum, known := t.grants[u.GrantID]
	switch {
	case known:
		sum.Calls += u.Calls
		sum.Denials += u.Denials
		if u.LastUsedAt.After(sum.LastUsedAt) {
			sum.LastUsedAt = u.LastUsedAt
		}
	case len(t.grants) < maxTallied:
		t.grants[u.GrantID] = &u
	default:
		t.dropped++
	}
}

// take empties the tally.
func (t *tally) take() (usage []Usage, dropped int) {
	t.mu.Lock()
	grants := t.grants
	dropped, t.grants, t.dropped = t.dropped, nil, 0
	t.mu.Unlock()
	for u := range maps.Values(grants) {
		usage = append(usage, *u)
	}
	slices.SortFunc(usage, func(x, y Usage) int { return cmp.Compare(x.GrantID, y.GrantID) })
	return usage, dropped
}

// Flush writes down what was noted. What the store does not take is kept for the
// next time.
func (a *Authenticator) Flush(ctx context.Context) error {
	a.usage.flushing.Lock() // so that what was noted before is written when it returns
	defer a.usage.flushing.Unlock()
	usage, dropped := a.usage.take()
	if dropped > 0 {
		a.log.WarnContext(ctx, "too many grants are in use; some frames are missing from their counts", "frames", dropped)
	}
	for batch := range slices.Chunk(usage, usageBatch) {
		if err := a.store.NoteUsage(ctx, batch); err != nil {
			a.usage.mu.Lock()
			defer a.usage.mu.Unlock()
			for i := slices.IndexFunc(usage, func(u Usage) bool { return u.GrantID == batch[0].GrantID }); i < len(usage); i++ {
				a.usage.add(usage[i])
			}
			return fmt.Errorf("write down the use of grants: %w", err)
		}
	}
	return nil
}

// KeepUsage writes down every few seconds what was noted, until ctx ends. Flush
// once more after that.
func (a *Authenticator) KeepUsage(ctx context.Context) {
	tick := time.NewTicker(usageFlush)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := a.Flush(ctx); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "the use of grants will be written down later", "error", err)
		}
	}
}
