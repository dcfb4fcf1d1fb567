package quota

import (
	"encoding/json"
	"fmt"
	"time"
)

// How long a reservation can be given back: no call takes that long.
const reservationLife = time.Hour

// slack is how much longer than needed a counter is kept, so that a machine
// whose clock is fast does not delete what still counts.
const slack = time.Hour

// maxEntries is how many entries a log has before some are merged.
const maxEntries = 512

// page is what one transaction works on: the counters as they were loaded, and
// what becomes of them.
type page struct {
	loaded Loaded
	now    time.Time
	most   int // entries of a log
	sheets map[string]*sheet
	order  []string // ids of sheets
	Changes
}

// sheet is one counter of a page.
type sheet struct {
	counter Counter
	log     *log
	changed bool
	err     error
}

// unused is a counter that nothing was ever taken from: a refused call leaves
// no trace.
func (s *sheet) unused() bool {
	return s.counter.State == nil && len(s.log.entries) == 0
}

func newPage(loaded Loaded, now time.Time, most int) *page {
	return &page{loaded: loaded, now: now, most: most, sheets: map[string]*sheet{}}
}

// sheet returns the counter of that id, an empty one if there is none.
func (p *page) sheet(id string) *sheet {
	s, ok := p.sheets[id]
	if ok {
		return s
	}
	s = &sheet{counter: Counter{ID: id}}
	if stored, ok := p.loaded.Counters[id]; ok {
		s.counter = stored
		s.log, s.err = decodeLog(stored.State)
	}
	p.sheets[id] = s
	p.order = append(p.order, id)
	return s
}

// claim is a limit with what is worked out once for all attempts.
type claim struct {
	*Limit
	id    string
	per   []Part
	terms terms
	text  string
	place int // among the claims of a call
}

// ask returns how the counter of a claim stands at a time.
func (p *page) ask(c *claim, at time.Time) (*sheet, room, error) {
	s := p.sheet(c.id)
	if s.err != nil {
		return nil, room{}, fmt.Errorf("quota %q: %w; `mcpermit quotas reset` makes it anew", c.Name, s.err)
	}
	if s.log == nil {
		s.log = newLog(at.UnixMicro())
	}
	if s.log.ask(c.terms, at.UnixMicro()) {
		s.changed = true
	}
	if s.counter.Terms != c.text || s.counter.State == nil {
		s.changed = true
		s.counter.Quota, s.counter.Per, s.counter.Terms = shown(c.Name), shownParts(c.per), c.text
	}
	return s, s.log.room(c.terms, c.Cost), nil
}

// reserve takes all claims or none.
func (p *page) reserve(id string, at time.Time, claims []claim) ([]Use, error) {
	uses := make([]Use, len(claims))
	sheets := make([]*sheet, len(claims))
	exceeded := false
	for i := range claims {
		c := &claims[i]
		s, r, err := p.ask(c, at)
		if err != nil {
			return nil, err
		}
		sheets[i], uses[i] = s, c.terms.use(c.Name, r, c.Cost)
		exceeded = exceeded || !r.fits
	}
	if exceeded {
		return uses, ErrExceeded
	}
	var holds []holdText
	for i := range claims {
		c := &claims[i]
		if !c.Cost.IsZero() {
			h := sheets[i].log.take(c.terms, c.Cost, p.most)
			sheets[i].changed = true
			holds = append(holds, holdText{c.id, h.epoch, h.at, h.amount.String()})
		}
		uses[i] = c.terms.use(c.Name, sheets[i].log.room(c.terms, Amount{}), c.Cost)
	}
	if holds != nil {
		b, _ := json.Marshal(holds) // strings and numbers
		expires := p.now.Add(reservationLife)
		p.Reservations = append(p.Reservations, Reservation{ID: id, Holds: string(b), ExpiresAt: expires})
	}
	return uses, nil
}

// holdText is a hold as a reservation keeps it.
type holdText struct {
	Counter string `json:"counter"`
	Epoch   int64  `json:"epoch"`
	At      int64  `json:"at"`
	Amount  string `json:"amount"`
}

func decodeHolds(r Reservation) ([]holdText, error) {
	var holds []holdText
	if err := json.Unmarshal([]byte(r.Holds), &holds); err != nil {
		return nil, fmt.Errorf("a reservation can't be read: %w", err)
	}
	return holds, nil
}

// release gives back what a reservation holds, if it is still there.
func (p *page) release(id string) error {
	r, ok := p.loaded.Reservations[id]
	if !ok {
		return nil
	}
	delete(p.loaded.Reservations, id) // once
	p.Released = append(p.Released, id)
	if !p.now.Before(r.ExpiresAt) {
		return nil
	}
	holds, err := decodeHolds(r)
	if err != nil {
		return err
	}
	for _, h := range holds {
		s := p.sheet(h.Counter)
		amount, err := ParseAmount(h.Amount)
		if err != nil || s.err != nil || s.log == nil {
			continue // a counter that is gone has nothing to give back
		}
		if s.log.release(hold{h.Epoch, h.At, amount}, p.now.UnixMicro()) {
			s.changed = true
		}
	}
	return nil
}

// reset empties a counter that is there.
func (p *page) reset(id string) (found bool) {
	if _, ok := p.loaded.Counters[id]; !ok {
		return false
	}
	s := p.sheet(id)
	if s.err != nil {
		s.log, s.err = &log{}, nil
	}
	s.log.reset(p.now.UnixMicro())
	s.changed = true
	return true
}

// changes are what to store.
func (p *page) changes() Changes {
	for _, id := range p.order {
		s := p.sheets[id]
		if !s.changed || s.unused() {
			continue
		}
		s.counter.State = s.log.encode()
		s.counter.UpdatedAt = p.now
		s.counter.ExpiresAt = fromMicros(s.log.emptyAt()).Add(slack)
		p.Counters = append(p.Counters, s.counter)
	}
	return p.Changes
}
