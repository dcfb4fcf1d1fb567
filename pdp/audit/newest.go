package audit

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"
)

// Page is a stretch of the trail, newest first.
type Page struct {
	Records []*Record
	// Next is what to give for before to go on from here; 0: the beginning of the
	// trail has been reached.
	Next uint64
	// Read is the time of the oldest entry that was read. A page with few records
	// and a Next says: there are no more back to then.
	Read time.Time
}

const (
	// pageBytes bounds what is read for one page, however few records match.
	pageBytes = 64 << 20
	// lateBytes is how far behind a page's first record its outcomes are looked for.
	lateBytes = 1 << 20
)

// Newest returns the last records before entry number before (0: the end) that
// the filter selects, newest first, at most limit of them, outcomes joined. It
// reads no more than a bounded part of the trail; the page says how far it came.
// An outcome that was written long after its record can be missing on later
// pages: [Trail.Find] always has it.
func (t *Trail) Newest(ctx context.Context, f Filter, before uint64, limit int) (Page, error) {
	return t.newest(ctx, f, before, limit, pageBytes)
}

func (t *Trail) newest(ctx context.Context, f Filter, before uint64, limit int, most int64) (Page, error) {
	segs, err := t.segments(t.bound())
	if err != nil {
		return Page{}, err
	}
	if segs, err = t.upTo(ctx, segs, before); err != nil {
		return Page{}, err
	}
	wanted, _ := t.wanted(ctx, segs, &f)
	p := pager{sieve: newSieve(f), before: before, limit: limit, left: most, open: outcomes{}}
	for i := len(segs) - 1; i >= 0; i-- {
		if !wanted[i] {
			continue
		}
		err := t.eachBack(ctx, segs[i], p.take)
		if errors.Is(err, errEnough) {
			break
		}
		if err != nil {
			return Page{}, err
		}
	}
	if !p.more {
		p.Next = 0
	}
	return p.Page, nil
}

// pager fills a page, going backwards.
type pager struct {
	Page
	sieve  *sieve
	before uint64
	limit  int
	left   int64 // bytes that may still be read
	open   outcomes
	more   bool // it ended before the trail did
}

func (p *pager) take(e *entry) error {
	if p.before > 0 && e.seq >= p.before {
		if e.is(typeOutcome) {
			p.open.put(e)
		}
		return nil
	}
	if len(p.Records) == p.limit || p.left <= 0 {
		p.more = true
		return errEnough
	}
	p.left -= int64(len(e.line))
	p.Next = e.seq
	if at, err := e.at(); err == nil {
		p.Read = at
	}
	switch {
	case e.is(typeOutcome):
		p.open.put(e)
	case e.is(typeRecord):
		if r := p.sieve.pick(e); r != nil {
			p.open.join(r)
			p.Records = append(p.Records, r)
		}
		delete(p.open, e.decisionID())
	}
	return nil
}

// upTo cuts the segments off a little behind entry number before, where the
// outcomes of the records in front of it stand.
func (t *Trail) upTo(ctx context.Context, segs []segment, before uint64) ([]segment, error) {
	if before == 0 {
		return segs, nil
	}
	last := len(segs) - 1
	for last >= 0 && segs[last].first >= before {
		last--
	}
	if last < 0 {
		return nil, nil
	}
	at, size, err := t.offset(ctx, segs[last], before)
	if err != nil {
		return nil, err
	}
	cut := slices.Clone(segs[:last+1])
	cut[last].limit = min(size, at+lateBytes)
	for rest, next := at+lateBytes-size, last+1; rest > 0 && next < len(segs); next++ {
		s := segs[next]
		f, err := t.open(&s)
		if err != nil {
			return nil, err
		}
		f.Close()
		s.limit = min(s.limit, rest)
		rest -= s.limit
		cut = append(cut, s)
	}
	return cut, nil
}

// offset returns where in a segment the first entry stands that has number seq or
// more, and the segment's size. Numbers ascend, so it reads a few blocks only.
func (t *Trail) offset(ctx context.Context, s segment, seq uint64) (at, size int64, err error) {
	f, err := t.open(&s)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	from, to := int64(0), s.limit // what is before from has lower numbers
	for to-from > block {
		middle := from + (to-from)/2
		number, line, err := numberBehind(ctx, f, middle, to)
		switch {
		case err != nil:
			return 0, 0, err
		case number == 0 || number >= seq:
			to = middle
		default:
			from = line
		}
	}
	at = s.limit
	err = scanFrom(ctx, f, from, s.limit, func(line []byte, off int64) error {
		if e, ok := parseEntry(line); ok && e.seq >= seq {
			at = off
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) && !errors.Is(err, errLongLine) {
		return 0, 0, err
	}
	return at, s.limit, nil
}

// numberBehind returns the number of the first whole entry behind an offset, and
// where it stands; 0 when there is none before limit.
func numberBehind(ctx context.Context, f io.ReaderAt, off, limit int64) (number uint64, at int64, err error) {
	whole := false // the first line may have begun before off
	err = scanFrom(ctx, f, off, limit, func(line []byte, lineOff int64) error {
		e, ok := parseEntry(line)
		if ok && whole {
			number, at = e.seq, lineOff
			return errEnough
		}
		whole = true
		return nil
	})
	if errors.Is(err, errEnough) || errors.Is(err, errLongLine) {
		err = nil
	}
	return number, at, err
}
