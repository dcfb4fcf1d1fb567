package audit

import (
	"context"
	"fmt"
)

// Query is [Trail.Query] up to what has been acknowledged.
func (l *Log) Query(ctx context.Context, f Filter, limit int, fn func(*Record) error) error {
	return l.trail.Query(ctx, f, limit, fn)
}

// Find is [Trail.Find] in what has been acknowledged.
func (l *Log) Find(ctx context.Context, decisionID string) (*Record, error) {
	return l.trail.Find(ctx, decisionID)
}

// Verify is [Trail.Verify] up to what has been acknowledged.
func (l *Log) Verify(ctx context.Context) (Report, error) { return l.trail.Verify(ctx) }

// Tail calls fn with each selected record that is acknowledged after the call,
// in order, without an outcome, until ctx ends (its error), the log is closed
// (ErrClosed), or fn fails (its error). A slow fn delays nobody: Tail reads from
// the segments and holds no more than one block of them.
func (l *Log) Tail(ctx context.Context, f Filter, fn func(*Record) error) error {
	return l.Follow(ctx, f, func() error { return nil }, fn)
}

// Follow is Tail that says where it begins: what is on record when began is called,
// queries find; what comes after it, fn is called with.
func (l *Log) Follow(ctx context.Context, f Filter, began func() error, fn func(*Record) error) error {
	s := newSieve(f)
	at := l.end.Load()
	if err := began(); err != nil {
		return err
	}
	for {
		select {
		case <-at.moved:
		case <-ctx.Done():
			return ctx.Err()
		}
		next := l.end.Load()
		if err := l.between(ctx, at, next, s, fn); err != nil {
			return err
		}
		if next == at {
			return ErrClosed // moved without a new end
		}
		at = next
	}
}

// between gives the selected records after from, up to the end to.
func (l *Log) between(ctx context.Context, from, to *end, s *sieve, fn func(*Record) error) error {
	segs, err := l.trail.segments(to)
	if err != nil {
		return err
	}
	for i, seg := range segs {
		if i+1 < len(segs) && segs[i+1].first <= from.seq+1 {
			continue // ends at or before from
		}
		start := int64(0)
		if seg.first == from.first {
			start = from.size
		}
		f, err := l.trail.open(&seg)
		if err != nil {
			return err
		}
		err = scanFrom(ctx, f, start, seg.limit, func(line []byte, _ int64) error {
			e, ok := parseEntry(line)
			if !ok || !e.is(typeRecord) || e.seq <= from.seq {
				return nil
			}
			if r := s.pick(&e); r != nil {
				return fn(r)
			}
			return nil
		})
		f.Close()
		if err != nil {
			return fmt.Errorf("audit: tail: %w", err)
		}
	}
	return nil
}
