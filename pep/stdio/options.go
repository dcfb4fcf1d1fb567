package stdio

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/mcpermit/mcpermit/pep/mcp"
	"github.com/mcpermit/mcpermit/pep/proxy"
)

// Isolation says who shares a child process.
type Isolation uint8

const (
	// Shared serves every subject from the same processes. Whatever state the
	// server keeps is then shared too: log level, subscriptions, files in
	// memory.
	Shared Isolation = iota
	// PerSubject gives each subject processes of its own; a request without a
	// subject is refused.
	PerSubject
)

// ChildOptions configure a [Child]. Only Command is required.
type ChildOptions struct {
	// Command is the program and its arguments, run as they stand: there is
	// no shell.
	Command []string
	// Env is what the process gets beside a small base without secrets (PATH,
	// HOME, TMPDIR, LANG and their kind). An entry is NAME=value, or NAME
	// alone to hand on the gateway's own value. Values of eight bytes and
	// more are blotted out when the process writes them to stderr.
	Env []string
	// Dir is the working directory; the gateway's own when empty.
	Dir string

	Isolation Isolation
	Backoff   Backoff
	Rlimits   Rlimits

	// Limits of the frames from clients.
	Limits mcp.Limits
	// AnswerBytes bounds a line that the process writes; 16 MiB when zero.
	AnswerBytes int
	// QueueBytes bounds the messages that wait for one slow reader, its answer
	// not counted; 1 MiB when zero.
	QueueBytes int
	// Processes that run at once, sessions that are open at once, and calls
	// that are in flight at once in one process. What is beyond is refused.
	// 64, 4096 and 1024 when zero.
	Processes, Sessions, Calls int

	// Timeout ends a call that the process has sent nothing about for so
	// long; 5 minutes when zero. An open subscription is never ended by it.
	Timeout time.Duration
	// DiscoverTimeout does the same for server/discover, which processes of
	// earlier protocol versions may leave unanswered; 10 seconds when zero.
	DiscoverTimeout time.Duration
	// Idle ends a session that has had no frame, no call and no open stream
	// for so long, and then a process that has neither a call nor a session;
	// 1 hour when zero, never when negative.
	Idle time.Duration
	// Grace is how long a process may take to end after its input was closed,
	// and again after SIGTERM; 2 seconds when zero.
	Grace time.Duration

	// Logger gets the life of the processes and their stderr; it is
	// slog.Default when nil.
	Logger *slog.Logger
}

// Rlimits are resource limits of each process. Zero inherits the gateway's.
// Linux only; core dumps are always off there.
type Rlimits struct {
	AddressSpace uint64 // bytes; runtimes that reserve much (V8, Go) need far more than they use
	CPUSeconds   uint64
	FileSize     uint64 // bytes of the largest file that it may write
	OpenFiles    uint64
}

// Backoff delays the start of a process after one that broke down: Min at
// first, doubled each time up to Max, a quarter more or less by chance. A
// process that ran for Stable makes the next breakdown count as the first.
// Zero fields: 250 ms, 30 s, 1 min.
type Backoff struct {
	Min, Max, Stable time.Duration
}

// delay before the start that follows the nth breakdown in a row, n >= 1.
func (b Backoff) delay(n int) time.Duration {
	d := b.Min
	for ; n > 1 && d < b.Max; n-- {
		d *= 2
	}
	d = min(d, b.Max)
	return d - d/4 + rand.N(d/2+1)
}

func (o ChildOptions) withDefaults() ChildOptions {
	setDefault(&o.AnswerBytes, 16<<20)
	setDefault(&o.QueueBytes, 1<<20)
	setDefault(&o.Processes, 64)
	setDefault(&o.Sessions, 4096)
	setDefault(&o.Calls, 1024)
	setDefault(&o.Backoff.Min, 250*time.Millisecond)
	setDefault(&o.Backoff.Max, 30*time.Second)
	setDefault(&o.Backoff.Stable, time.Minute)
	setDefault(&o.Timeout, 5*time.Minute)
	setDefault(&o.DiscoverTimeout, 10*time.Second)
	setDefault(&o.Idle, time.Hour)
	setDefault(&o.Grace, 2*time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// transportLimits are for frames that somebody else judges: strict about what
// a frame is, generous about its size, indifferent to what numbers mean.
func transportLimits(bytes int) mcp.Limits {
	return mcp.Limits{Bytes: bytes, Depth: 1000, Values: bytes, ExactNumbers: true}
}

type subjectKey struct{}

// WithSubject names the subject on whose behalf a request is made, for a
// [Child] that is not used by a proxy; what the proxy says is known without
// it. Sessions, and with [PerSubject] processes, are kept apart by subject.
func WithSubject(ctx context.Context, subject string) context.Context {
	return context.WithValue(ctx, subjectKey{}, subject)
}

func subjectOf(ctx context.Context) string {
	if s, ok := ctx.Value(subjectKey{}).(string); ok {
		return s
	}
	return proxy.SubjectFrom(ctx)
}
