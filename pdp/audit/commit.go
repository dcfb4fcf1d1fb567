package audit

import (
	"fmt"
	"runtime"
	"time"
)

const (
	// maxQueue bounds the bytes that wait for the device.
	maxQueue = 32 << 20
	// backlog is how many bytes of outcomes may wait for a record to go with.
	backlog = 1 << 20
	// outcomeDelay is how long they may wait for one.
	outcomeDelay = 200 * time.Millisecond
)

// pending is an entry on its way to the device.
type pending struct {
	body   []byte // the entry's JSON object without seq, prev and hash
	record bool
	at     time.Time // of a record
	id     string    // decision id of a record
	act    *Act      // of an act
	// abandoned: nobody waits for it any more. Guarded by Log.mu.
	abandoned bool
}

// awaited reports whether somebody waits until the entry is durable.
func (p *pending) awaited() bool { return p.record || p.act != nil }

// batch is what one write and one fsync make durable.
type batch struct {
	entries []*pending
	bytes   int
	done    chan struct{} // closed after err is set
	err     error
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

func (l *Log) enqueue(p *pending) (*batch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, ErrClosed
	case l.stalled && p.awaited():
		return nil, errStalled
	case l.next.bytes+len(p.body) > maxQueue:
		return nil, errQueue
	}
	l.next.entries = append(l.next.entries, p)
	l.next.bytes += len(p.body)
	switch {
	case p.awaited() || l.next.bytes > backlog:
		l.poke()
	case !l.late:
		// Nobody waits for an outcome, and a commit costs the same for one entry as
		// for many: it goes with the next record, or by itself if none comes.
		l.late = true
		l.lateness.Reset(outcomeDelay)
	}
	return l.next, nil
}

// poke wakes the writing goroutine.
func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// overdue wakes the writing goroutine for outcomes that no record came for.
func (l *Log) overdue() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = false
	if len(l.next.entries) > 0 {
		l.poke()
	}
}

// abandon gives up on an entry, unless its batch is done by now; then it returns
// what became of it, otherwise errStalled.
func (l *Log) abandon(b *batch, p *pending, late bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-b.done:
		return b.err
	default:
	}
	p.abandoned = true
	if late {
		l.stalled = true
	}
	return errStalled
}

// retry is how long after a failed commit the next is tried when nobody asks for one.
const retry = time.Second

// write is the writing goroutine.
func (l *Log) write() {
	defer close(l.written)
	flush := time.NewTicker(l.opt.FsyncInterval)
	defer flush.Stop()
	for {
		select {
		case <-l.wake:
			l.gather()
			l.commit()
		case <-flush.C:
			l.tend()
		case <-l.closing:
			l.finale()
			return
		}
	}
}

// gather lets whoever is about to add an entry do so first, as long as others
// keep coming: one fsync serves all. Where nobody else runs it costs nothing.
func (l *Log) gather() {
	if l.opt.Fsync != FsyncAlways {
		return
	}
	for before := -1; ; {
		now := l.waiting()
		if now == before {
			return
		}
		before = now
		runtime.Gosched()
	}
}

func (l *Log) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.next.entries)
}

// tend does what falls due with time.
func (l *Log) tend() {
	if l.failing != nil {
		if time.Since(l.tried) >= retry {
			l.commit()
		}
		return
	}
	if err := l.w.flush(); err != nil {
		l.note(err)
	}
}

// finale writes what still waits. The outcomes of abandoned records come up
// while their batch is finished, hence the second commit.
func (l *Log) finale() {
	l.lateness.Stop()
	l.commit()
	if l.failing == nil {
		l.commit()
	}
	l.closeEr = l.w.close()
	l.mu.Lock()
	waiting := len(l.next.entries)
	l.mu.Unlock()
	if waiting > 0 {
		l.closeEr = fmt.Errorf("%d outcomes not written: %w", waiting, l.failing)
	}
	close(l.end.Load().moved)
}

// commit writes everything that waits as one batch.
func (l *Log) commit() {
	b := l.take()
	entries := b.entries
	if l.failing != nil {
		entries = append([]*pending{l.outage()}, entries...)
	}
	if len(entries) == 0 {
		l.finish(b, nil)
		return
	}
	l.tried = time.Now()
	err := l.w.append(entries)
	if err == nil {
		// The entries are safe; a head file that lags only dates the end of the trail too early.
		if headErr := l.w.head.write(l.w.chain); headErr != nil {
			l.opt.Logger.Error("audit head file not written", "err", headErr)
		}
	}
	l.note(err)
	l.finish(b, err)
}

// outage is the entry that says from when on nothing could be written.
func (l *Log) outage() *pending {
	n := note{
		Type: typeRepair, Time: time.Now().UTC(),
		Reason: fmt.Sprintf("nothing could be written since %s: %v", l.since.UTC().Format(time.RFC3339), l.failing),
	}
	return &pending{body: n.encode()}
}

// take begins a new batch and returns the one so far, without what was abandoned.
func (l *Log) take() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.next
	l.next = newBatch()
	kept := b.entries[:0]
	for _, p := range b.entries {
		if !p.abandoned {
			kept = append(kept, p)
		}
	}
	b.entries = kept
	return b
}

// finish tells the waiting ones.
func (l *Log) finish(b *batch, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.err = err
	close(b.done)
	l.stalled = false
	if err != nil {
		l.requeue(b.entries)
		return
	}
	for _, p := range b.entries {
		if p.abandoned {
			l.disown(p)
		}
	}
}

// requeue puts outcomes that were not written before those that came since.
func (l *Log) requeue(entries []*pending) {
	var again []*pending
	for _, p := range entries {
		if !p.awaited() {
			again = append(again, p)
			l.next.bytes += len(p.body)
		}
	}
	l.next.entries = append(again, l.next.entries...)
}

// disown appends what has become of a record or an act that was written after
// its caller had given up, and so had refused the frame or not done the act.
func (l *Log) disown(p *pending) {
	var body []byte
	if p.act != nil {
		body = p.act.undone()
	} else {
		n := note{
			Type: typeOutcome, Time: time.Now().UTC(), DecisionID: p.id,
			Outcome: &Outcome{Error: "refused: the audit record was not written in time"},
		}
		body = n.encode()
	}
	l.next.entries = append(l.next.entries, &pending{body: body})
	l.next.bytes += len(body)
	l.poke()
}

// note keeps and logs how the device does, when that changes.
func (l *Log) note(err error) {
	switch {
	case err != nil && l.failing == nil:
		l.since = time.Now()
		l.opt.Logger.Error("audit records cannot be written; calls are refused", "dir", l.opt.Dir, "err", err, "do", remedy(err))
	case err == nil && l.failing != nil:
		l.opt.Logger.Info("audit records can be written again", "dir", l.opt.Dir, "after", time.Since(l.since))
	}
	l.failing = err
	l.publish(err)
}

// publish moves the end of what readers see.
func (l *Log) publish(err error) {
	s := Status{Entries: l.w.chain.seq, Syncs: l.w.syncs, Err: err}
	old := l.end.Load()
	if prev := l.status.Load(); prev != nil {
		s.Commits = prev.Commits
	}
	moved := old == nil || old.chain != l.w.chain
	if moved && old != nil {
		s.Commits++
	}
	l.status.Store(&s)
	if !moved {
		return
	}
	first, _ := segmentFirst(l.w.name)
	l.end.Store(&end{chain: l.w.chain, first: first, size: l.w.size, moved: make(chan struct{})})
	if old != nil {
		close(old.moved)
	}
}
