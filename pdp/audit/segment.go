package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const segmentSuffix = ".jsonl"

// segmentName names the segment whose first entry has number seq.
func segmentName(seq uint64) string { return fmt.Sprintf("%020d%s", seq, segmentSuffix) }

// segmentFirst is the reverse of segmentName.
func segmentFirst(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, err == nil && seq > 0
}

// listSegments returns the first numbers of the directory's segments, ascending,
// and the names that look like segments but are none.
func listSegments(dir string) (firsts []uint64, strays []string, err error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range names {
		if first, ok := segmentFirst(n.Name()); ok && n.Type().IsRegular() {
			firsts = append(firsts, first)
		} else if strings.HasSuffix(n.Name(), segmentSuffix) {
			strays = append(strays, n.Name())
		}
	}
	slices.Sort(firsts)
	return firsts, strays, nil
}

// span is from when to when the records of a segment are; both ends count. The
// zero value holds nothing.
type span struct {
	records  int64
	from, to time.Time
}

func (s *span) add(t time.Time) {
	if s.records == 0 || t.Before(s.from) {
		s.from = t
	}
	if s.records == 0 || t.After(s.to) {
		s.to = t
	}
	s.records++
}

var errLongLine = fmt.Errorf("a line is longer than %d bytes", maxLine)

// block is how much a scan reads at a time.
const block = 128 << 10

// scanLines calls fn with each whole line of r, its line feed cut off, that lies
// before limit. A line over maxLine is errLongLine. fn must not keep the slice.
func scanLines(ctx context.Context, r io.ReaderAt, limit int64, fn func(line []byte, off int64) error) error {
	return scanFrom(ctx, r, 0, limit, fn)
}

func scanFrom(ctx context.Context, r io.ReaderAt, off, limit int64, fn func(line []byte, off int64) error) error {
	buf := make([]byte, max(1, min(block, limit-off)))
	held := 0 // bytes of an unfinished line at the start of buf
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if held == len(buf) {
			if held >= maxLine {
				return errLongLine
			}
			buf = slices.Grow(buf, len(buf))
			buf = buf[:cap(buf)]
		}
		room := min(int64(len(buf)-held), limit-off-int64(held))
		if room <= 0 {
			return nil
		}
		n, err := r.ReadAt(buf[held:held+int(room)], off+int64(held))
		used, fnErr := eachLine(buf[:held+n], off, fn)
		if fnErr != nil {
			return fnErr
		}
		off += int64(used)
		held = copy(buf, buf[used:held+n])
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// scanBack is scanLines from the last whole line to the first.
func scanBack(ctx context.Context, r io.ReaderAt, limit int64, fn func(line []byte, off int64) error) error {
	var buf []byte // from off on: the end of a line whose start is not read yet
	off, whole := limit, false
	for off > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(buf) > maxLine {
			return errLongLine
		}
		n := min(off, block)
		joined := make([]byte, int(n)+len(buf))
		if _, err := r.ReadAt(joined[:n], off-n); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		copy(joined[n:], buf)
		buf, off = joined, off-n
		if !whole { // drop what follows the last line feed
			last := bytes.LastIndexByte(buf, '\n')
			if last < 0 {
				continue
			}
			buf, whole = buf[:last], true
		}
		for {
			i := bytes.LastIndexByte(buf, '\n')
			if i < 0 {
				break
			}
			if err := fn(buf[i+1:], off+int64(i)+1); err != nil {
				return err
			}
			buf = buf[:i]
		}
	}
	if !whole {
		return nil
	}
	return fn(buf, 0)
}

func eachLine(b []byte, off int64, fn func([]byte, int64) error) (used int, err error) {
	for {
		n := bytes.IndexByte(b[used:], 0x0a)
		if n < 0 {
			return used, nil
		}
		if err := fn(b[used:used+n], off+int64(used)); err != nil {
			return used, err
		}
		used += n + 1
	}
}

func openSegment(dir string, first uint64) (*os.File, error) {
	return os.Open(filepath.Join(dir, segmentName(first)))
}
