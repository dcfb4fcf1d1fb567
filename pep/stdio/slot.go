package stdio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/mcpermit/mcpermit/pep/proxy"
)

// key is what a process is for. Eras and protocol versions never share one:
// a process is initialized once.
type key struct {
	subject     string // empty when shared
	version     string // one of versions
	environment digest
}

const (
	modernVersion = "modern"
	// newestLegacy is what most legacy clients ask for.
	newestLegacy = "2025-11-25"
	otherVersion = "other"
)

// versionKey folds what clients may ask for into few enough processes.
func versionKey(asked string) string {
	switch asked {
	case "2024-11-05", "2025-03-26", "2025-06-18", newestLegacy:
		return asked
	}
	return otherVersion
}

// slot is the place of one process: it starts it when it is needed, and again
// after it broke down, not before a growing delay has passed.
type slot struct {
	child *Child
	key   key
	log   *slog.Logger

	mu      sync.Mutex
	link    *link
	fails   int       // breakdowns in a row
	notYet  time.Time // no start before
	removed bool      // the child forgot this slot: ask it for another one
}

// patience is how long a request waits for a process to be startable again.
// Past it, it is refused at once.
const patience = 2 * time.Second

var (
	errClosed    = errors.New("the gateway is shutting down")
	errProcesses = errors.New("too many server processes run")
	errRemoved   = errors.New("slot removed")
)

// DownError says that a process broke down and when it may be started again.
// It wraps [proxy.ErrNotSent].
type DownError struct {
	Wait time.Duration // until the next start
	Err  error         // why it could not be started; nil if it broke down later
}

// Error implements error.
func (e *DownError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("the server process can't be started, next try in %v: %v", e.Wait.Round(time.Millisecond), e.Err)
	}
	return fmt.Sprintf("the server process broke down and is started again in %v", e.Wait.Round(time.Millisecond))
}

// Unwrap says that the process has seen nothing of the request.
func (e *DownError) Unwrap() error { return proxy.ErrNotSent }

// acquire returns the running link, starting one with the environment if need be.
// The slot itself keeps only the digest of that.
func (s *slot) acquire(ctx context.Context, extra environment) (*link, error) {
	for {
		l, wait, err := s.try(extra)
		if err != nil {
			return nil, err
		}
		if wait == nil {
			return l, nil
		}
		if err := wait(ctx); err != nil {
			return nil, err
		}
	}
}

// try returns the link, or what to wait for before it is tried again.
func (s *slot) try(extra environment) (l *link, wait func(context.Context) error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return nil, nil, errRemoved
	}
	if l := s.link; l != nil {
		if !l.isClosing() {
			return l, nil, nil
		}
		return nil, func(ctx context.Context) error { return await(ctx, l.gone, nil) }, nil
	}
	if d := time.Until(s.notYet); d > patience {
		return nil, nil, &DownError{Wait: d}
	} else if d > 0 {
		return nil, func(ctx context.Context) error { return await(ctx, nil, time.After(d)) }, nil
	}
	l, err = s.start(extra)
	if errors.Is(err, errProcesses) {
		if idle := s.child.spare(); idle != nil && idle.retire() {
			return nil, func(ctx context.Context) error { return await(ctx, idle.gone, nil) }, nil
		}
	}
	return l, nil, err
}

func await(ctx context.Context, gone <-chan struct{}, later <-chan time.Time) error {
	select {
	case <-gone:
	case <-later:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ctx.Err(), proxy.ErrNotSent)
	}
	return nil
}

// start runs a new process. s.mu is held.
func (s *slot) start(extra environment) (*link, error) {
	if err := s.child.enter(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, proxy.ErrNotSent)
	}
	p, err := s.child.start(extra)
	if err != nil {
		s.child.exit()
		s.fails++
		d := s.child.options.Backoff.delay(s.fails)
		s.notYet = time.Now().Add(d)
		s.log.Error("stdio server can't be started", "error", err, "next", d)
		return nil, &DownError{Wait: d, Err: err}
	}
	o := s.child.options
	o.Env = slices.Concat(o.Env, extra)
	l := newLink(o, p, &s.child.sessions, s.key.version == modernVersion)
	l.environment = s.key.environment
	s.link = l
	s.log.Info("stdio server started", "pid", p.pid, "version", s.key.version)
	go s.serve(l)
	return l, nil
}

// serve runs the link to its end and keeps account of breakdowns.
func (s *slot) serve(l *link) {
	l.run()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(l.gone)
	defer s.child.exit() // before somebody who waits for its place is told
	s.link = nil
	if l.wasPlanned() {
		s.fails = 0
		s.log.Info("stdio server stopped", "pid", l.proc.pid)
		s.removed = true
		s.child.forget(s)
		return
	}
	if time.Since(l.started) >= s.child.options.Backoff.Stable {
		s.fails = 0
	}
	s.fails++
	d := s.child.options.Backoff.delay(s.fails)
	s.notYet = time.Now().Add(d)
	s.log.Warn("stdio server ended unasked", "pid", l.proc.pid, "next", d)
}

// unused says that nothing is lost when the child forgets the slot, and makes
// it unusable then. It doesn't wait for a slot that is in use.
func (s *slot) unused() bool {
	if !s.mu.TryLock() {
		return false
	}
	defer s.mu.Unlock()
	s.removed = s.link == nil && time.Now().After(s.notYet)
	return s.removed
}

// halt stops the running process, if there is one.
func (s *slot) halt() {
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	if l != nil {
		l.halt(errClosed, true)
	}
}
