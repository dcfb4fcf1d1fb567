package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// tail is what a scan of one segment found.
type tail struct {
	first uint64
	run   chain // the last entry of the unbroken chain from the segment's start
	size  int64 // where that entry ends
	bytes int64 // size of the file
	held  span  // records up to run
	seal  bool  // the last entry of the run ends the segment
	known bool  // the run begins behind, or passes, the entry that the head file names
	later chain // the highest intact entry behind a broken one, if any
}

// empty reports that the segment holds not even one entry.
func (t *tail) empty() bool { return t.size == 0 && t.later.seq == 0 }

// scanTail reads a whole segment.
func scanTail(dir string, first uint64, head chain) (tail, error) {
	t := tail{first: first, run: chain{seq: first - 1}, known: head.seq+1 < first}
	f, err := openSegment(dir, first)
	if err != nil {
		return t, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return t, err
	}
	t.bytes = info.Size()
	broken := false
	err = scanLines(context.Background(), f, t.bytes, func(line []byte, off int64) error {
		e, ok := parseEntry(line)
		if t.size == 0 && !broken && ok && e.seq == first {
			t.run.hash = e.prev // the entry before is in another segment
			t.known = t.known || t.run == head
		}
		switch {
		case !ok || !e.intact():
			broken = true
		case broken || !e.follows(t.run):
			broken = true
			if e.seq > t.later.seq {
				t.later = chain{e.seq, e.hash}
			}
		default:
			t.pass(&e, off+int64(len(line))+1, head)
		}
		return nil
	})
	if errors.Is(err, errLongLine) {
		err = nil // part of what is broken
	}
	return t, err
}

// pass takes the next entry of the run.
func (t *tail) pass(e *entry, end int64, head chain) {
	t.run, t.size = chain{e.seq, e.hash}, end
	t.known = t.known || t.run == head
	t.seal = e.is(typeSeal)
	if e.is(typeRecord) {
		if at, err := e.at(); err == nil {
			t.held.add(at)
		}
	}
}

// resume makes the writer that goes on where the trail in dir ends, and the
// notes that the trail must be given about what was found on the way.
func resume(dir string, dev device, w *writer) ([]*note, error) {
	head, headErr := readHead(dir)
	firsts, _, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	fresh := errors.Is(headErr, errNoHead)
	switch {
	case fresh && len(firsts) == 0:
		head = chain{hash: genesis}
		headErr = nil
	case errors.Is(headErr, errBadSlot):
		headErr = nil // a crash while it was written; the other slot is at most one commit older
	case headErr != nil && !fresh && !errors.Is(headErr, errBadHead):
		return nil, headErr
	}
	notes, err := w.findEnd(dir, firsts, head, headErr)
	if err != nil {
		return nil, err
	}
	if w.head.f, err = openHead(dev, fresh); err != nil {
		return nil, err
	}
	if err := errors.Join(w.head.reset(w.chain), dev.SyncDir()); err != nil {
		w.head.f.Close()
		return nil, err
	}
	return notes, nil
}

func openHead(dev device, fresh bool) (file, error) {
	if fresh {
		return dev.Create(headName)
	}
	return dev.Open(headName)
}

// findEnd sets the writer to the end of the trail.
func (w *writer) findEnd(dir string, firsts []uint64, head chain, headErr error) (notes []*note, err error) {
	t := tail{run: chain{hash: genesis}, known: head.seq == 0}
	for i := len(firsts) - 1; i >= 0; i-- {
		if t, err = scanTail(dir, firsts[i], head); err != nil {
			return nil, err
		}
		if !t.empty() {
			break
		}
		if t.bytes > 0 {
			notes = append(notes, tornNote(t.bytes, t.first-1))
			if err := w.cutTo(t.first, 0); err != nil {
				return nil, err
			}
		}
		t = tail{run: chain{hash: genesis}, known: head.seq == 0}
	}
	w.chain = t.run
	switch {
	case headErr != nil:
		notes = append(notes, lostNote(fmt.Sprintf("%v: entries after %d may be missing", headErr, t.run.seq)))
	case !t.known && head.seq > t.run.seq:
		notes = append(notes, lostNote(fmt.Sprintf("entries %d to %d are missing or altered", t.run.seq+1, head.seq)))
		w.chain = head
	case !t.known:
		notes = append(notes, lostNote(fmt.Sprintf("entry %d is not the one that the head file names", head.seq)))
	}
	if t.later.seq > 0 {
		notes = append(notes, lostNote(fmt.Sprintf("entries between %d and %d are missing or altered", t.run.seq, t.later.seq)))
		w.chain = later(w.chain, t.later)
	}
	if w.chain != t.run || t.size == 0 {
		return notes, nil // leave the segment as it is, begin another
	}
	if t.bytes > t.size {
		notes = append(notes, tornNote(t.bytes-t.size, t.run.seq))
		if err := w.cutTo(t.first, t.size); err != nil {
			return nil, err
		}
	}
	if !t.seal {
		w.name, w.size, w.held = segmentName(t.first), t.size, t.held
	}
	return notes, nil
}

// cutTo drops what lies behind size in a segment.
func (w *writer) cutTo(first uint64, size int64) error {
	f, err := w.dev.Open(segmentName(first))
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

func tornNote(bytes int64, after uint64) *note {
	return &note{Reason: fmt.Sprintf("dropped %d bytes behind entry %d: a write that was cut short", bytes, after)}
}

func lostNote(reason string) *note { return &note{Reason: reason, Lost: true} }

// repair writes the notes into the trail and the log.
func (w *writer) repair(notes []*note, log *slog.Logger) error {
	if len(notes) == 0 {
		return nil
	}
	now := time.Now().UTC()
	var bodies []*pending
	for _, n := range notes {
		n.Type, n.Time = typeRepair, now
		bodies = append(bodies, &pending{body: n.encode(), at: now})
		if n.Lost {
			log.Error("audit trail is damaged; keep a copy and run `mcpermit audit verify`", "found", n.Reason)
		} else {
			log.Warn("audit trail repaired", "found", n.Reason)
		}
	}
	if err := w.append(bodies); err != nil {
		return err
	}
	return w.head.reset(w.chain)
}
