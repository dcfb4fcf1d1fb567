package audit

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Fsync says when an entry counts as written.
type Fsync string

const (
	FsyncAlways   Fsync = "always"   // after fsync; the default
	FsyncInterval Fsync = "interval" // after write; fsync follows within FsyncInterval
	FsyncNever    Fsync = "never"    // after write; the operating system flushes when it likes
)

// Options of a [Log]. Only Dir is required.
type Options struct {
	Dir string // created with mode 0700 when it does not exist
	// Fsync is when an entry counts as written.
	Fsync Fsync
	// FsyncInterval is how long fsync may wait with FsyncInterval; default 200 ms.
	FsyncInterval time.Duration
	// SegmentBytes is the size from which a new segment is begun; default 32 MiB.
	SegmentBytes int64
	// Timeout is how long Record waits for the device; default 2 s.
	Timeout time.Duration
	// ArgumentBytes is the size above which arguments are replaced by length and
	// digest; default 16 KiB, negative for none at all.
	ArgumentBytes int
	// SensitiveNames are further member names whose values are masked.
	SensitiveNames []string
	Logger         *slog.Logger // default slog.Default()
}

// Filter selects records; empty fields select everything.
type Filter struct {
	Since, Until time.Time // Since ≤ time < Until
	DecisionID   string
	Subject      string
	Grant        string
	Server       string
	Method       string
	Name         string
	Effect       string
}

// Report is what [Log.Verify] found.
type Report struct {
	Entries int64  // entries of every kind
	Head    string // hash of the last one
	Problem string // empty when the chain is whole
}

// Log is the audit trail.
type Log struct{ opt Options }

var errUnwritten = errors.New("audit: not written yet")

// Open opens or creates the trail.
func Open(opt Options) (*Log, error) { return &Log{opt: opt}, nil }

// Record writes one record.
func (l *Log) Record(ctx context.Context, r *Record) error { return errUnwritten }

// Outcome appends what became of a frame.
func (l *Log) Outcome(decisionID string, o Outcome) {}

// Query reads records.
func (l *Log) Query(ctx context.Context, f Filter, limit int, fn func(*Record) error) error {
	return errUnwritten
}

// Tail reads records as they are written.
func (l *Log) Tail(ctx context.Context, f Filter, fn func(*Record) error) error { return errUnwritten }

// Find reads one record.
func (l *Log) Find(ctx context.Context, decisionID string) (*Record, error) { return nil, errUnwritten }

// Verify walks the chain.
func (l *Log) Verify(ctx context.Context) (Report, error) { return Report{}, errUnwritten }

// Close ends the log.
func (l *Log) Close() error { return nil }
