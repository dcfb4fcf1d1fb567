package quota

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Standing is a counter as it stands now, under the terms that a policy last
// asked for.
type Standing struct {
	ID        string
	Per       []Part
	Use       Use // Name is that of the quota; Cost is 0
	UpdatedAt time.Time
	// Fault says why nothing is known of the use; "" is the rule.
	Fault string
}

// List returns the counters that match, by quota and id: at most f.Limit.
func (l *Ledger) List(ctx context.Context, f Filter) ([]Standing, error) {
	now := l.now()
	f.Quota, f.Of = shown(f.Quota), shown(f.Of)
	var list []Standing
	for _, in := range l.lines() {
		counters, err := in.store.FindCounters(ctx, now, f)
		if err != nil {
			return nil, unavailable(err)
		}
		for _, c := range counters {
			list = append(list, standing(c, now))
		}
	}
	slices.SortStableFunc(list, func(a, b Standing) int {
		return cmp.Or(cmp.Compare(a.Use.Name, b.Use.Name), cmp.Compare(a.ID, b.ID))
	})
	return list[:min(len(list), f.Limit)], nil
}

func (l *Ledger) lines() []*line {
	if l.counts == l.amounts {
		return []*line{l.amounts}
	}
	return []*line{l.counts, l.amounts}
}

func standing(c Counter, now time.Time) Standing {
	s := Standing{ID: c.ID, Per: c.Per, Use: Use{Name: c.Quota}, UpdatedAt: c.UpdatedAt}
	log, err := decodeLog(c.State)
	if err != nil {
		s.Fault = err.Error()
		return s
	}
	t, err := decodeTerms(c.Terms)
	if err != nil {
		s.Fault = fmt.Sprintf("the terms of a counter can't be read: %v", err)
		return s
	}
	log.ask(t, now.UnixMicro())
	s.Use = t.use(c.Quota, log.room(t, Amount{}), Amount{})
	return s
}

// resetPage is how many counters one transaction resets.
const resetPage = 100

// Reset sets the counters that match back to nothing used, and says how many.
// f.Limit does not matter. What was reserved before gives nothing back after it.
func (l *Ledger) Reset(ctx context.Context, f Filter) (n int, err error) {
	f.Quota, f.Of, f.Limit = shown(f.Quota), shown(f.Of), resetPage
	for _, in := range l.lines() {
		for page := f; ; {
			counters, err := in.store.FindCounters(ctx, l.now(), page)
			if err != nil {
				return n, unavailable(err)
			}
			if len(counters) == 0 {
				break
			}
			done, err := in.reset(ctx, counters)
			n += done
			if err != nil {
				return n, unavailable(err)
			}
			last := counters[len(counters)-1]
			page.AfterQuota, page.AfterID = last.Quota, last.ID
		}
	}
	return n, nil
}

func (l *line) reset(ctx context.Context, counters []Counter) (n int, err error) {
	var keys Keys
	for _, c := range counters {
		keys.Counters = append(keys.Counters, c.ID)
	}
	now := l.clock()
	err = l.store.Update(ctx, now, keys, func(loaded Loaded) Changes {
		n = 0
		p := newPage(loaded, now, l.most)
		for _, id := range keys.Counters {
			if p.reset(id) {
				n++
			}
		}
		return p.changes()
	})
	return n, err
}
