package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Report is what [Trail.Verify] found.
type Report struct {
	Entries int64  // entries of every type that were checked
	Records int64  // of them records
	Head    string // hash of the last one, hexadecimal
	// Problem is empty when the chain is whole; otherwise where it is broken
	// first, and how.
	Problem string
	// Repairs are what the trail itself says was repaired: after a crash, or a
	// failing disk.
	Repairs []Repair
}

// Repair is a repair entry.
type Repair struct {
	Seq    uint64
	Time   time.Time
	Reason string
}

// Verify walks the whole chain and compares its end with the head file. What it
// finds broken is in the report; an error means that it could not look. While
// another process writes the trail, an unfinished last line is no problem.
func (t *Trail) Verify(ctx context.Context) (Report, error) {
	// First the bound or the head: neither runs ahead of the segments, so all that they name must be there.
	upto := t.bound()
	head, headErr := t.head()
	if upto != nil {
		head = upto.chain
	}
	segs, err := t.segments(upto)
	if err != nil {
		return Report{}, err
	}
	v := verifier{at: chain{hash: genesis}, head: head}
	if head == v.at {
		v.known = true
	}
	if _, strays, err := listSegments(t.dir); err == nil && len(strays) > 0 {
		v.problem("%s is no segment of this trail", strays[0])
	}
	for i, s := range segs {
		if v.report.Problem != "" {
			break
		}
		if err := t.verifySegment(ctx, &v, s, i == len(segs)-1); err != nil {
			return v.report, err
		}
	}
	switch {
	case len(segs) == 0 && errors.Is(headErr, errNoHead):
		return v.report, fmt.Errorf("audit: there is no trail in %s", t.dir)
	case headErr != nil && !errors.Is(headErr, errNoHead) && !errors.Is(headErr, errBadHead) && !errors.Is(headErr, errBadSlot):
		return v.report, fmt.Errorf("audit: %w", headErr)
	case headErr != nil:
		v.problem("%v: entries after %d may be missing", headErr, v.at.seq)
	case head.seq > v.at.seq:
		v.problem("entries %d to %d are missing at the end", v.at.seq+1, head.seq)
	case v.torn > 0:
		v.problem("%d bytes behind entry %d are no entry: a write that was cut short; opening the trail drops it", v.torn, v.at.seq)
	case !v.known:
		v.problem("entry %d is not the one that the head file names", head.seq)
	}
	v.report.Head = v.at.hash.String()
	return v.report, nil
}

// head reads the head file. A slot that is being written reads as damaged, so
// it is read again while it does.
func (t *Trail) head() (c chain, err error) {
	for range 5 {
		c, err = readHead(t.dir)
		if !errors.Is(err, errBadSlot) || !locked(filepath.Join(t.dir, lockName)) {
			return c, err
		}
	}
	return c, err
}

// verifier walks the chain. After the first problem it looks no further.
type verifier struct {
	at     chain // the last entry that was in order
	head   chain
	known  bool  // the entry that the head file names was passed
	held   span  // of the segment
	torn   int64 // bytes of an unfinished line at the end
	report Report
}

func (v *verifier) problem(format string, args ...any) {
	if v.report.Problem == "" {
		v.report.Problem = fmt.Sprintf(format, args...)
	}
}

var errProblem = errors.New("problem found")

func (t *Trail) verifySegment(ctx context.Context, v *verifier, s segment, last bool) error {
	f, err := t.open(&s)
	if err != nil {
		return err
	}
	defer f.Close()
	name, end, sealed := segmentName(s.first), int64(0), false
	v.held = span{}
	err = scanLines(ctx, f, s.limit, func(line []byte, off int64) error {
		if sealed {
			v.problem("%s goes on after its seal", name)
		} else if off == 0 && s.first != v.at.seq+1 {
			v.gap(name, s.first)
		} else {
			sealed = v.entry(name, line)
		}
		end = off + int64(len(line)) + 1
		if v.report.Problem != "" {
			return errProblem
		}
		return nil
	})
	switch {
	case errors.Is(err, errProblem):
		return nil
	case errors.Is(err, errLongLine):
		v.problem("%s: %v behind entry %d", name, err, v.at.seq)
		return nil
	case err != nil:
		return err
	}
	switch {
	case end == s.limit:
	case !last:
		v.problem("%s: %d bytes behind entry %d are no entry, so one at least is missing", name, s.limit-end, v.at.seq)
	case !locked(filepath.Join(t.dir, lockName)): // else it is being written
		v.torn = s.limit - end
	}
	return nil
}

// gap reports a segment that does not begin where the one before has ended.
func (v *verifier) gap(name string, first uint64) {
	if first > v.at.seq+1 {
		v.problem("entries %d to %d are missing before %s", v.at.seq+1, first-1, name)
		return
	}
	v.problem("%s begins again before entry %d, which was reached already", name, v.at.seq+1)
}

// entry checks one line; it reports whether it seals the segment.
func (v *verifier) entry(name string, line []byte) (seal bool) {
	want := v.at.seq + 1
	e, ok := parseEntry(line)
	switch {
	case !ok:
		v.problem("%s: what stands in the place of entry %d is no entry", name, want)
	case !e.intact():
		v.problem("%s: entry %d was altered: its hash does not match", name, want)
	case e.seq > want:
		v.problem("%s: entries %d to %d are missing", name, want, e.seq-1)
	case e.seq < want:
		v.problem("%s: entry %d stands where entry %d belongs", name, e.seq, want)
	case e.prev != v.at.hash:
		v.problem("%s: entry %d does not follow entry %d: its prev does not match", name, want, v.at.seq)
	default:
		return v.pass(name, &e)
	}
	return false
}

func (v *verifier) pass(name string, e *entry) (seal bool) {
	v.at = chain{e.seq, e.hash}
	v.known = v.known || v.at == v.head
	v.report.Entries++
	switch string(e.kind) {
	case typeRecord:
		v.report.Records++
		if at, err := e.at(); err == nil {
			v.held.add(at)
		}
	case typeOutcome, typeAct:
	case typeSeal, typeRepair:
		v.note(name, e)
		return e.is(typeSeal)
	default:
		v.problem("%s: entry %d has the unknown type %q", name, e.seq, e.kind)
	}
	return false
}

// note checks what an entry says about the trail.
func (v *verifier) note(name string, e *entry) {
	n, err := parseNote(e.line)
	switch {
	case err != nil:
		v.problem("%s: entry %d cannot be read", name, e.seq)
	case e.is(typeSeal):
		if n.Records != v.held.records || !n.From.Equal(v.held.from) || !n.To.Equal(v.held.to) {
			v.problem("%s: the seal says something else than the %d records before it", name, v.held.records)
		}
	default:
		v.report.Repairs = append(v.report.Repairs, Repair{Seq: e.seq, Time: n.Time, Reason: n.Reason})
		if n.Lost {
			v.problem("%s: entry %d says: %s", name, e.seq, n.Reason)
		}
	}
}
