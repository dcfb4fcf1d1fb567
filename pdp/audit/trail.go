package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Trail reads the trail in a directory, also while a [Log] of this or another
// process writes it. It takes no lock and changes nothing.
type Trail struct {
	dir string
	end func() *end // nil, or how far the trail of this process's Log is acknowledged
}

// NewTrail returns a reader of the trail in dir.
func NewTrail(dir string) *Trail { return &Trail{dir: dir} }

// segment is one segment as far as it may be read.
type segment struct {
	first uint64
	limit int64 // bytes; -1: all
}

// bound returns how far the trail is acknowledged, nil when nobody here knows.
func (t *Trail) bound() *end {
	if t.end == nil {
		return nil
	}
	return t.end()
}

// segments lists what may be read up to a bound, oldest first. The bound is taken
// before the listing, so that what it names exists.
func (t *Trail) segments(upto *end) ([]segment, error) {
	firsts, _, err := listSegments(t.dir)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	segs := make([]segment, 0, len(firsts))
	for _, first := range firsts {
		s := segment{first: first, limit: -1}
		if upto != nil {
			if first > upto.seq {
				break
			}
			if first == upto.first {
				s.limit = upto.size
			}
		}
		segs = append(segs, s)
	}
	return segs, nil
}

// open opens a segment, and fixes how far it is read.
func (t *Trail) open(s *segment) (*os.File, error) {
	f, err := openSegment(t.dir, s.first)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if s.limit < 0 {
		info, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("audit: %w", err)
		}
		s.limit = info.Size()
	}
	return f, nil
}

// each calls fn with every whole entry of the segment that can be read. Lines
// that are none are passed over: finding them is the work of Verify.
func (t *Trail) each(ctx context.Context, s segment, fn func(e *entry) error) error {
	return t.scan(ctx, s, fn, scanLines)
}

// eachBack is each from the last entry to the first.
func (t *Trail) eachBack(ctx context.Context, s segment, fn func(e *entry) error) error {
	return t.scan(ctx, s, fn, scanBack)
}

type scanner func(ctx context.Context, r io.ReaderAt, limit int64, fn func(line []byte, off int64) error) error

func (t *Trail) scan(ctx context.Context, s segment, fn func(e *entry) error, scan scanner) error {
	f, err := t.open(&s)
	if err != nil {
		return err
	}
	defer f.Close()
	err = scan(ctx, f, s.limit, func(line []byte, _ int64) error {
		if e, ok := parseEntry(line); ok {
			return fn(&e)
		}
		return nil
	})
	if errors.Is(err, errLongLine) {
		return nil // what lies behind (before) it cannot be told apart
	}
	return err
}

// wanted tells the segments that can hold records of the filter's period, and the
// oldest of them; -1 when there is none. Only a seal says that a segment cannot.
func (t *Trail) wanted(ctx context.Context, segs []segment, f *Filter) (wanted []bool, oldest int) {
	wanted, oldest = make([]bool, len(segs)), -1
	for i, s := range segs {
		wanted[i] = true
		if !f.Since.IsZero() || !f.Until.IsZero() {
			held, ok := t.sealed(ctx, s)
			wanted[i] = !ok || f.overlaps(held)
		}
		if wanted[i] && oldest < 0 {
			oldest = i
		}
	}
	return wanted, oldest
}

// sealed returns what the segment's seal says, if it has one.
func (t *Trail) sealed(ctx context.Context, s segment) (held span, ok bool) {
	_ = t.eachBack(ctx, s, func(e *entry) error {
		if e.is(typeSeal) {
			if n, err := parseNote(e.line); err == nil {
				held, ok = span{n.Records, n.From, n.To}, true
			}
		}
		return errEnough
	})
	return held, ok
}

// errEnough ends a scan early.
var errEnough = errors.New("enough")
