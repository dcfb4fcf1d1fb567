package stdio

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mcpermit/mcpermit/pep/proxy"
)

// Child serves MCP over processes that speak it on their standard streams, as
// an http.RoundTripper: to its user it is one streamable HTTP server. It may
// be used concurrently. Close it to end the processes.
type Child struct {
	options  ChildOptions
	start    func(extra environment) (*process, error)
	sessions registry

	mu      sync.Mutex
	slots   map[key]*slot
	running int
	stopped bool
	idle    sync.WaitGroup // the running processes
}

// NewChild returns a Child. Processes are started when they are needed.
func NewChild(o ChildOptions) *Child {
	o = o.withDefaults()
	return newChild(o, func(extra environment) (*process, error) {
		c := command{argv: o.Command, env: childEnv(slices.Concat(o.Env, extra)), dir: o.Dir, limits: o.Rlimits}
		return c.start()
	})
}

func newChild(o ChildOptions, start func(environment) (*process, error)) *Child {
	o = o.withDefaults()
	return &Child{
		options: o, start: start, slots: map[key]*slot{},
		sessions: registry{byID: map[string]*session{}, most: o.Sessions},
	}
}

// Start starts the process that clients of the newest legacy version share,
// instead of with the first request, so that a command that can't be run is
// noticed. It does nothing where subjects are served apart.
func (c *Child) Start(ctx context.Context) error {
	if c.options.Isolation != Shared {
		return nil
	}
	_, err := c.link(ctx, "", newestLegacy, nil)
	return err
}

// Close ends all processes and what they started: their input is closed,
// after the grace period they get SIGTERM, after another one SIGKILL. Answers
// that come until then are still delivered. It returns when nothing is left;
// every later request is refused.
func (c *Child) Close() error {
	c.mu.Lock()
	c.stopped = true
	slots := make([]*slot, 0, len(c.slots))
	for _, s := range c.slots {
		slots = append(slots, s)
	}
	c.mu.Unlock()
	for _, s := range slots {
		s.halt()
	}
	c.idle.Wait()
	return nil
}

var errNoSubject = errors.New("the subject is not known: a process of its own can't be given to it")

// link returns the running process for the subject and protocol version that has
// the environment.
func (c *Child) link(ctx context.Context, subject, version string, extra environment) (*link, error) {
	k := key{version: version, environment: extra.digest()}
	if c.options.Isolation != Shared {
		if subject == "" {
			return nil, fmt.Errorf("%w: %w", errNoSubject, proxy.ErrNotSent)
		}
		k.subject = subject
	}
	for {
		l, err := c.slot(k).acquire(ctx, extra)
		if !errors.Is(err, errRemoved) {
			return l, err
		}
	}
}

func (c *Child) slot(k key) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots[k]
	if s == nil {
		if len(c.slots) >= 2*c.options.Processes {
			maps.DeleteFunc(c.slots, func(_ key, s *slot) bool { return s.unused() })
		}
		s = &slot{child: c, key: k, log: c.options.Logger}
		c.slots[k] = s
	}
	return s
}

// spare is the process that has been of no use for the longest, and could make
// room for another one; nil where all are of use.
func (c *Child) spare() (longest *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var since time.Time
	for _, s := range c.slots {
		if !s.mu.TryLock() { // it is starting one, or is the one that asks
			continue
		}
		l := s.link
		s.mu.Unlock()
		if l == nil {
			continue
		}
		if used, free := l.unusedSince(); free && (longest == nil || used.Before(since)) {
			longest, since = l, used
		}
	}
	return longest
}

func (c *Child) forget(s *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slots[s.key] == s {
		delete(c.slots, s.key)
	}
}

// enter counts a process that is about to start.
func (c *Child) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stopped:
		return errClosed
	case c.running >= c.options.Processes:
		return errProcesses
	}
	c.running++
	c.idle.Add(1)
	return nil
}

func (c *Child) exit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	c.idle.Done()
}
