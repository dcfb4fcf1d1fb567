package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Loader keeps the policy of one source in force. A new policy is read,
// verified and built beside the one in force; then one pointer changes.
// Whatever goes wrong on the way leaves the last good one where it is (I11).
// All methods are safe for concurrent use.
type Loader struct {
	source  *Source
	options LoaderOptions
	metrics loadMetrics
	build   func(context.Context, *bundle.Bundle, Options) (*Snapshot, error)

	current atomic.Pointer[Snapshot]

	// activating is held while one policy replaces another, not while a source
	// is read: a server may hold its answer for long.
	activating sync.Mutex
	activation int    // counts what was put in force
	content    string // Digest of what is in force
	etag       string // of what is in force, where the source gave one
	restored   bool   // the kept copy was tried

	statusMu sync.Mutex
	status   Status
}

// LoaderOptions are what a Loader needs beside its source. The zero value is
// good.
type LoaderOptions struct {
	// Snapshot goes to Build.
	Snapshot Options
	// KeepDir is a directory for a copy of the last good bundle of a remote
	// source. At the next start it is verified again and put in force until
	// the source answers, and no older revision replaces it. Empty: no copy.
	KeepDir string
	// Rescan is how often a directory or a file is read although no change was
	// noticed: file systems without notification exist. Default 10 s.
	Rescan time.Duration
	// OnChange is called after each activation and each failure, one call at a
	// time. It must not call Reload.
	OnChange func(Status)
	// Log takes activations and failures. Default: slog.Default().
	Log *slog.Logger
	// Meter takes the metrics mcpermit.policy.*. Default: none.
	Meter metric.Meter
}

// NewLoader returns a loader that has read nothing yet: Current is nil, which
// denies everything, until Reload or Run has found a good policy.
func NewLoader(source *Source, o LoaderOptions) *Loader {
	if o.Rescan <= 0 {
		o.Rescan = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Meter == nil {
		o.Meter = noop.Meter{}
	}
	return &Loader{
		source:  source,
		options: o,
		metrics: newLoadMetrics(o.Meter),
		build:   Build,
		status:  Status{Source: source.String()},
	}
}

// Current is the policy in force. Nil means that there is none: everything is
// to be denied. A caller loads it once and uses that snapshot for the whole
// decision. It takes no lock.
func (l *Loader) Current() *Snapshot { return l.current.Load() }

// Reload reads the source once and puts what it finds in force, if it is good
// and differs from what is. On an error what was in force still is; the error
// is in Status as well.
func (l *Loader) Reload(ctx context.Context) error {
	_, _, err := l.load(ctx, 0)
	return err
}

// Run keeps the policy in force up to date until the context ends: it watches
// a directory or file, and polls a URL. It returns when all that it started
// has ended. A policy that cannot be loaded is no reason to return.
func (l *Loader) Run(ctx context.Context) {
	if l.source.remote != nil {
		l.poll(ctx)
		return
	}
	l.watch(ctx)
}

// load reads the source, waiting up to wait for a server that has nothing new,
// and activates what it gives.
func (l *Loader) load(ctx context.Context, wait time.Duration) (reading, outcome, error) {
	l.restore(ctx)
	for {
		l.activating.Lock()
		seen, etag := l.activation, l.etag
		l.activating.Unlock()

		r, err := l.source.read(ctx, condition{etag: etag, wait: wait})

		l.activating.Lock()
		if seen != l.activation {
			// Another policy came into force meanwhile; what was read may be older.
			l.activating.Unlock()
			continue
		}
		done := unchanged
		if err == nil && r.bundle != nil {
			done, err = l.activate(ctx, r.bundle)
		}
		l.settle(ctx, r, done, err)
		l.activating.Unlock()
		return r, done, err
	}
}

// activate builds a snapshot of the bundle and changes the pointer.
func (l *Loader) activate(ctx context.Context, b *bundle.Bundle) (outcome, error) {
	content := Digest(b)
	if current := l.Current(); current != nil {
		if content == l.content {
			return unchanged, nil
		}
		if l.source.verified() {
			if err := checkNewer(current.Revision().Revision, b.Manifest.Revision); err != nil {
				return failed, err
			}
		}
	}
	if len(b.Modules) == 0 {
		// An empty directory is a mount that is not there yet more often than a
		// wish to deny everything; a package without rules says that.
		return failed, errors.New("there is no policy: no .rego file was found")
	}
	if err := checkDefaults(b); err != nil {
		return failed, err
	}
	snapshot, err := l.buildSafely(ctx, b)
	if err != nil {
		return failed, err
	}
	l.current.Store(snapshot)
	l.content = content
	l.activation++
	l.reportActivation(ctx, b, snapshot)
	return activated, nil
}

// buildSafely turns a panic into an error: a policy that trips over a bug must
// not take the one in force down with it.
func (l *Loader) buildSafely(ctx context.Context, b *bundle.Bundle) (s *Snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("building the policy panicked: %v", p)
		}
	}()
	s, err = l.build(ctx, b, l.options.Snapshot)
	if err == nil && s == nil {
		err = errors.New("building the policy gave none")
	}
	return s, err
}

// settle records what became of a reading.
func (l *Loader) settle(ctx context.Context, r reading, o outcome, err error) {
	if err != nil {
		if ctx.Err() == nil { // a shutdown is no fault of the policy
			l.reportFailure(ctx, err)
		}
		return
	}
	l.etag = r.etag
	if o == activated && r.archive != nil {
		l.keep(r.archive)
	}
	if o == unchanged {
		l.reportUnchanged(ctx)
	}
}
