package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// writer appends entries to the last segment. It is used by one goroutine.
//
// What it has written counts only when append has returned nil: after an error
// the file may hold more than size bytes, and the next append cuts that off
// first. So an error costs the entries that it was returned for, and nothing else.
type writer struct {
	dev   device
	fsync Fsync
	limit int64 // segment size from which a new one is begun

	chain chain    // the last entry that counts
	head  headFile // what readers compare the end with

	name  string // of the segment; "" until there is one
	f     file   // nil when it has to be opened (again)
	size  int64  // bytes that count
	held  span   // records that count
	stale bool   // the file may hold bytes that do not count
	dirty bool   // written since the last fsync

	buf   []byte
	syncs int64 // fsyncs of segments, for Status
}

// append writes the bodies as entries, in order, all or none.
func (w *writer) append(bodies []*pending) error {
	if err := w.ready(); err != nil {
		return err
	}
	next, held := w.chain, w.held
	w.buf = w.buf[:0]
	for _, p := range bodies {
		w.buf = next.append(w.buf, p.body)
		if p.record {
			held.add(p.at)
		}
	}
	if err := w.write(w.buf, w.fsync == FsyncAlways); err != nil {
		return err
	}
	w.size += int64(len(w.buf))
	w.chain, w.held = next, held
	if cap(w.buf) > 8<<20 {
		w.buf = nil
	}
	return nil
}

// write puts b behind what counts.
func (w *writer) write(b []byte, sync bool) error {
	w.stale = true
	if _, err := w.f.WriteAt(b, w.size); err != nil {
		w.cut()
		return err
	}
	w.dirty = true
	if sync {
		if err := w.sync(); err != nil {
			w.cut()
			return err
		}
	}
	w.stale = false
	return nil
}

func (w *writer) sync() error {
	w.syncs++
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("fsync %s: %w", w.name, err)
	}
	w.dirty = false
	return nil
}

// cut drops what does not count and lets go of the file: after a failed fsync the
// kernel reports the error to an open descriptor once and then forgets it.
func (w *writer) cut() {
	if w.f == nil {
		return
	}
	w.stale = w.f.Truncate(w.size) != nil || w.f.Sync() != nil
	w.f.Close()
	w.f = nil
}

// ready opens, cleans or begins the segment that the next entries go to.
func (w *writer) ready() error {
	if w.name != "" && w.f == nil {
		if err := w.reopen(); err != nil {
			return err
		}
	}
	if w.name != "" {
		if err := w.untouched(); err != nil {
			return err
		}
	}
	if w.name != "" && w.size >= w.limit {
		if err := w.seal(); err != nil {
			return err
		}
	}
	if w.name == "" {
		return w.begin()
	}
	return nil
}

func (w *writer) reopen() error {
	f, err := w.dev.Open(w.name)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.Size() < w.size:
		err = fmt.Errorf("%s has lost %d bytes: %w", w.name, w.size-info.Size(), errTouched)
	case info.Size() > w.size && !w.stale:
		err = fmt.Errorf("%s has grown by %d bytes: %w", w.name, info.Size()-w.size, errTouched)
	default:
		err = errors.Join(f.Truncate(w.size), f.Sync())
	}
	if err != nil {
		f.Close()
		return err
	}
	w.f, w.stale = f, false
	return nil
}

var errTouched = errors.New("something else changes the trail; put it back as it was, or restart to go on behind a marked gap")

// untouched makes sure that what is written lands in the trail: not in a file
// that somebody has removed, replaced or changed.
func (w *writer) untouched() error {
	here, err := w.f.Stat()
	if err != nil {
		return err
	}
	named, err := w.dev.Stat(w.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || !os.SameFile(here, named) {
		return fmt.Errorf("%s was removed or replaced: %w", w.name, errTouched)
	}
	if here.Size() != w.size {
		return fmt.Errorf("%s has %d bytes instead of %d: %w", w.name, here.Size(), w.size, errTouched)
	}
	return nil
}

// seal ends the segment.
func (w *writer) seal() error {
	n := note{Type: typeSeal, Time: time.Now().UTC(), Records: w.held.records, From: w.held.from, To: w.held.to}
	next := w.chain
	line := next.append(nil, n.encode())
	if err := w.write(line, w.fsync != FsyncNever); err != nil {
		return err
	}
	w.chain = next
	w.f.Close()
	w.f, w.name, w.size, w.held = nil, "", 0, span{}
	return nil
}

// begin makes the next segment. One that an earlier try left behind holds
// nothing that counts.
func (w *writer) begin() error {
	name := segmentName(w.chain.seq + 1)
	f, err := w.dev.Create(name)
	if errors.Is(err, fs.ErrExist) {
		if f, err = w.dev.Open(name); err == nil {
			if err = f.Truncate(0); err != nil {
				f.Close()
			}
		}
	}
	if err != nil {
		return err
	}
	if w.fsync != FsyncNever {
		if err := w.dev.SyncDir(); err != nil {
			f.Close()
			return err
		}
	}
	w.f, w.name, w.size, w.held, w.stale = f, name, 0, span{}, false
	return nil
}

// flush makes durable what append and the head file left to later.
func (w *writer) flush() error {
	var err error
	if w.dirty && w.f != nil && w.fsync != FsyncNever {
		if err = w.sync(); err != nil {
			w.f.Close() // reopened, and synced, before the next entry
			w.f = nil
		}
	}
	if w.fsync == FsyncNever {
		w.head.dirty = false
	}
	return errors.Join(err, w.head.sync())
}

func (w *writer) close() error {
	err := w.flush()
	if w.f != nil {
		err = errors.Join(err, w.f.Close())
		w.f = nil
	}
	return errors.Join(err, w.head.f.Close())
}
