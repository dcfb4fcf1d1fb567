package audit

import (
	"bytes"
	"context"
	"errors"
	"slices"
)

// Query calls fn with the records that the filter selects, oldest first, their
// outcomes joined; with limit > 0 with the last so many of them. What is written
// while Query runs may be left out. The first error of fn ends it and is returned.
//
// Sealed segments outside of the filter's period are not searched. With a limit
// the trail is read backwards from its end until there are enough.
func (t *Trail) Query(ctx context.Context, f Filter, limit int, fn func(*Record) error) error {
	if f.DecisionID != "" {
		r, err := t.Find(ctx, f.DecisionID)
		if errors.Is(err, ErrNotFound) || err == nil && !f.Match(r) {
			return nil
		}
		if err != nil {
			return err
		}
		return fn(r)
	}
	segs, err := t.segments(t.bound())
	if err != nil {
		return err
	}
	wanted, oldest := t.wanted(ctx, segs, &f)
	if oldest < 0 {
		return nil
	}
	segs, wanted = segs[oldest:], wanted[oldest:]
	if limit > 0 {
		return t.last(ctx, segs, wanted, newSieve(f), limit, fn)
	}
	return t.all(ctx, segs, wanted, newSieve(f), fn)
}

// outcomes holds, by decision id, lines of outcomes whose record has not been seen yet.
type outcomes map[string][]byte

// put keeps the entry, unless a later one is there.
func (o outcomes) put(e *entry) {
	id := e.decisionID()
	if _, later := o[id]; !later {
		o[id] = bytes.Clone(e.line)
	}
}

// join sets the outcome of r, if there is one.
func (o outcomes) join(r *Record) bool {
	line, ok := o[r.DecisionID]
	if !ok {
		return false
	}
	if n, err := parseNote(line); err == nil {
		r.Outcome = n.Outcome
	}
	return true
}

// last gives the last selected records. An outcome stands behind its record, so
// going backwards it is always met first.
func (t *Trail) last(ctx context.Context, segs []segment, wanted []bool, s *sieve, limit int, fn func(*Record) error) error {
	var found []*Record // newest first
	open := outcomes{}
	for i, seg := range slices.Backward(segs) {
		err := t.eachBack(ctx, seg, func(e *entry) error {
			switch {
			case e.is(typeOutcome):
				open.put(e)
			case e.is(typeRecord):
				if r := s.pick(e); wanted[i] && r != nil {
					open.join(r)
					found = append(found, r)
				}
				delete(open, e.decisionID())
			}
			if len(found) == limit {
				return errEnough
			}
			return nil
		})
		if errors.Is(err, errEnough) {
			break
		}
		if err != nil {
			return err
		}
	}
	for _, r := range slices.Backward(found) {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// all gives every selected record. It reads each segment's outcomes before its
// records, and before that the later segments, for outcomes that came after their
// record's segment was full: those are few, so they are kept.
func (t *Trail) all(ctx context.Context, segs []segment, wanted []bool, s *sieve, fn func(*Record) error) error {
	late := outcomes{}
	for _, seg := range slices.Backward(segs[1:]) {
		if err := t.late(ctx, seg, late); err != nil {
			return err
		}
	}
	for i, seg := range segs {
		if !wanted[i] {
			continue
		}
		own := outcomes{}
		err := t.eachBack(ctx, seg, func(e *entry) error {
			if e.is(typeOutcome) {
				own.put(e)
			}
			return nil
		})
		if err != nil {
			return err
		}
		err = t.each(ctx, seg, func(e *entry) error {
			if !e.is(typeRecord) {
				return nil
			}
			r := s.pick(e)
			if r == nil {
				return nil
			}
			_ = late.join(r) || own.join(r)
			return fn(r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// late adds the outcomes of one segment whose records are not in it.
func (t *Trail) late(ctx context.Context, seg segment, late outcomes) error {
	own := outcomes{}
	err := t.eachBack(ctx, seg, func(e *entry) error {
		switch {
		case e.is(typeOutcome):
			own.put(e)
		case e.is(typeRecord):
			delete(own, e.decisionID())
		}
		return nil
	})
	for id, line := range own {
		if _, later := late[id]; !later {
			late[id] = line
		}
	}
	return err
}
