package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Fsync says when an entry counts as written.
type Fsync string

const (
	// FsyncAlways: after fsync. Nothing acknowledged is lost, whatever fails. The default.
	FsyncAlways Fsync = "always"
	// FsyncInterval: after write; fsync follows within Options.FsyncInterval. A crash of the
	// process loses nothing, one of the machine the last interval; the hole shows in Verify.
	FsyncInterval Fsync = "interval"
	// FsyncNever: after write; the operating system flushes when it likes.
	FsyncNever Fsync = "never"
)

// Options of a [Log]. Only Dir is required.
type Options struct {
	Dir string // created with mode 0700 when it does not exist
	// Fsync is when an entry counts as written.
	Fsync Fsync
	// FsyncInterval is how long the fsync of FsyncInterval, and that of the head
	// file with every policy, may wait; default 200 ms.
	FsyncInterval time.Duration
	// SegmentBytes is the size from which a new segment is begun; default 32 MiB.
	SegmentBytes int64
	// Timeout is how long Record waits for the device, and Close for what is
	// still to be written; default 2 s.
	Timeout time.Duration
	// ArgumentBytes is the size above which arguments are replaced by length and
	// digest; default 16 KiB, at most 1 MiB; negative: always.
	ArgumentBytes int
	// SensitiveNames are further names of members whose values are masked,
	// compared without case, '_' and '-'.
	SensitiveNames []string
	Logger         *slog.Logger // default slog.Default()
}

func (o *Options) complete() error {
	if o.Dir == "" {
		return errors.New("audit: no directory given")
	}
	switch o.Fsync {
	case "":
		o.Fsync = FsyncAlways
	case FsyncAlways, FsyncInterval, FsyncNever:
	default:
		return fmt.Errorf("audit: fsync policy %q is unknown; use always, interval or never", o.Fsync)
	}
	if o.FsyncInterval <= 0 {
		o.FsyncInterval = 200 * time.Millisecond
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 32 << 20
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	if o.ArgumentBytes == 0 {
		o.ArgumentBytes = 16 << 10
	}
	o.ArgumentBytes = min(o.ArgumentBytes, 1<<20)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return nil
}

var (
	// ErrClosed is returned by every method after Close.
	ErrClosed = errors.New("audit: the log is closed")
	// ErrNotFound is returned by Find.
	ErrNotFound = errors.New("audit: no record of that decision")

	errLocked  = errors.New("another process writes this trail")
	errStalled = errors.New("the device does not answer in time")
	errQueue   = errors.New("too many entries wait for the device")
)

// Log writes the audit trail of one directory, which it holds a lock on. Its
// methods may be called from any goroutine. Reading is never in the way of
// writing: readers go by files, up to what has been acknowledged.
type Log struct {
	opt   Options
	trail Trail
	lock  *os.File
	w     *writer // of the writing goroutine alone
	names sensitiveNames

	inputs cleanInputs

	mu      sync.Mutex
	next    *batch // what waits for the writing goroutine
	stalled bool   // a commit under way has outlasted the timeout
	closed  bool
	dropped int64 // outcomes that found the queue full
	late    bool  // lateness is running

	lateness *time.Timer // calls overdue, of outcomes

	wake    chan struct{} // capacity 1: next has something to write now
	closing chan struct{}
	written chan struct{} // closed when the writing goroutine has ended
	failing error         // of the writing goroutine: of the last commit
	since   time.Time     // of the writing goroutine: when the first of the failed commits failed
	tried   time.Time     // of the writing goroutine: when the last commit began
	closeEr error         // set before written is closed

	end    atomic.Pointer[end]
	status atomic.Pointer[Status]
}

// Trail reads the log, up to what has been acknowledged.
func (l *Log) Trail() *Trail { return &l.trail }

// end is how far the trail is acknowledged.
type end struct {
	chain
	first uint64 // of the last segment; 0 while there is none
	size  int64  // of that segment
	moved chan struct{}
}

// Status is what monitoring wants to know of a [Log].
type Status struct {
	Entries uint64 // number of the last entry
	Commits int64  // writes since Open that succeeded, each for one or more entries
	Syncs   int64  // fsyncs of segments since Open
	Dropped int64  // outcomes that were lost because too many waited
	// Err is why the last commit failed; nil when it succeeded.
	Err error
}

// Open opens the trail in opt.Dir, or begins one. After a crash it drops what was
// written half. Only one process may have a trail open.
func Open(opt Options) (*Log, error) { return openOn(opt, nil) }

// openOn is Open with another device.
func openOn(opt Options, dev device) (_ *Log, err error) {
	if err := opt.complete(); err != nil {
		return nil, err
	}
	if dev == nil {
		dev = disk(opt.Dir)
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: %w (%s)", err, remedy(err))
	}
	l := &Log{
		opt: opt, names: newSensitiveNames(opt.SensitiveNames), next: newBatch(),
		wake: make(chan struct{}, 1), closing: make(chan struct{}), written: make(chan struct{}),
		w: &writer{dev: dev, fsync: opt.Fsync, limit: opt.SegmentBytes},
	}
	if l.lock, err = takeLock(filepath.Join(opt.Dir, lockName)); err != nil {
		return nil, fmt.Errorf("audit: open %s: %w (%s)", opt.Dir, err, remedy(err))
	}
	notes, err := resume(opt.Dir, dev, l.w)
	if err == nil {
		if err = l.w.repair(notes, opt.Logger); err != nil {
			l.w.close()
		}
	}
	if err != nil {
		l.lock.Close()
		return nil, fmt.Errorf("audit: open %s: %w (%s)", opt.Dir, err, remedy(err))
	}
	l.trail = Trail{dir: opt.Dir, end: l.end.Load}
	l.publish(nil)
	l.lateness = time.AfterFunc(outcomeDelay, l.overdue)
	go l.write()
	return l, nil
}

// Record writes one record, and returns nil when it is as durable as the fsync
// policy asks. Any error means that the frame must not go out: the device failed,
// or did not answer within the timeout, or ctx ended first. A record whose commit
// was under way when Record gave up may be in the trail all the same; then an
// outcome that says so follows it.
func (l *Log) Record(ctx context.Context, r *Record) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("audit: record not written: %w", err)
	}
	p, err := l.prepare(r)
	if err != nil {
		return err
	}
	return l.commitment(ctx, p)
}

// commitment waits until an entry is as durable as the fsync policy asks.
func (l *Log) commitment(ctx context.Context, p *pending) error {
	b, err := l.enqueue(p)
	if err != nil {
		return l.unwritten(err)
	}
	timer := time.NewTimer(l.opt.Timeout)
	defer timer.Stop()
	select {
	case <-b.done:
		err = b.err
	case <-ctx.Done():
		if err = l.abandon(b, p, false); errors.Is(err, errStalled) {
			return fmt.Errorf("audit: record not waited for: %w", context.Cause(ctx))
		}
	case <-timer.C:
		err = l.abandon(b, p, true)
	}
	return l.unwritten(err)
}

func (l *Log) unwritten(err error) error {
	if err == nil || errors.Is(err, ErrClosed) {
		return err
	}
	return fmt.Errorf("audit: record not written to %s: %w (%s; calls are refused until then)", l.opt.Dir, err, remedy(err))
}

// Outcome appends what became of an allowed frame. It does not wait for the
// device, nor does it make it work: the outcome is written with the next record,
// with Close, or after 200 ms, so that readers see it that much later and a crash
// may take it along, never its record. It has nobody to report to: an outcome that
// cannot be written is tried again with the next entry; when too many wait, it is
// dropped, counted (Status) and logged. After Close it does nothing.
func (l *Log) Outcome(decisionID string, o Outcome) {
	o.Error = clip(maskText(o.Error, prose), 1<<10)
	n := note{Type: typeOutcome, Time: time.Now().UTC(), DecisionID: clip(decisionID, shortText), Outcome: &o}
	_, err := l.enqueue(&pending{body: n.encode()})
	if err == nil || errors.Is(err, ErrClosed) {
		return
	}
	l.mu.Lock()
	l.dropped++
	first := l.dropped == 1
	l.mu.Unlock()
	if first {
		l.opt.Logger.Error("audit outcomes are being dropped", "err", err)
	}
}

// Status returns how the log is.
func (l *Log) Status() Status {
	s := *l.status.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Dropped = l.dropped
	if l.stalled && s.Err == nil {
		s.Err = errStalled
	}
	return s
}

// Close writes what waits, ends Tail calls, and lets go of the directory. It
// returns an error when something could not be written.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closed = true
	l.mu.Unlock()
	close(l.closing)
	timer := time.NewTimer(l.opt.Timeout)
	defer timer.Stop()
	select {
	case <-l.written:
	case <-timer.C:
		// The writing goroutine is stuck in the kernel; the lock goes with the process.
		return fmt.Errorf("audit: close %s: %w", l.opt.Dir, errStalled)
	}
	if err := errors.Join(l.closeEr, l.lock.Close()); err != nil {
		return fmt.Errorf("audit: close %s: %w (%s)", l.opt.Dir, err, remedy(err))
	}
	return nil
}
