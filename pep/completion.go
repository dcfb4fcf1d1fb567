package pep

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const (
	completionQueue    = 8192
	completionWorkers  = 4
	completionsEach    = 16                   // that wait for each worker, before there is one more
	completionPause    = 5 * time.Millisecond // in which completions gather
	completionTimeout  = time.Second          // of one attempt
	completionPatience = 30 * time.Second     // of all attempts for one completion
)

// Complete tells the PDP, later and off the caller's path, what became of an
// allowed frame. It never blocks: when the PDP has been away for so long that
// the queue is full, the completion is dropped, counted and logged, and the
// decision's outcome stays open in the audit trail.
func (e *Enforcer) Complete(decisionID string, o *v1.Outcome) {
	e.completions.add(&v1.CompleteRequest{DecisionId: decisionID, Outcome: o})
}

// Close sends the completions that are queued and stops; a Complete after it
// is dropped. If ctx ends first, what is left is given up and ctx's error is
// returned.
func (e *Enforcer) Close(ctx context.Context) error { return e.completions.close(ctx) }

// completions is the queue behind Enforcer.Complete. They gather for a moment
// before they are sent, so that a busy PEP wakes a goroutine for many of them
// and not for each.
type completions struct {
	decider Decider
	log     *slog.Logger
	dropped func()
	ctx     context.Context //nolint:containedctx // ends with the queue, not with a call
	giveUp  context.CancelFunc

	mu       sync.Mutex
	queue    []*v1.CompleteRequest
	gather   *time.Timer // runs while gathering
	gathers  bool
	closed   bool
	sending  int // workers that run
	finished sync.WaitGroup
}

func newCompletions(d Decider, log *slog.Logger, dropped func()) *completions {
	c := &completions{decider: d, log: log, dropped: dropped}
	c.ctx, c.giveUp = context.WithCancel(context.Background())
	return c
}

func (c *completions) add(r *v1.CompleteRequest) {
	if !c.put(r) {
		c.drop(r, "the queue is full or closed")
	}
}

func (c *completions) put(r *v1.CompleteRequest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.queue) >= completionQueue {
		return false
	}
	c.queue = append(c.queue, r)
	switch {
	case c.gathers:
	case c.gather == nil:
		c.gathers, c.gather = true, time.AfterFunc(completionPause, c.gathered)
	default:
		c.gathers = true
		c.gather.Reset(completionPause)
	}
	return true
}

func (c *completions) gathered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gathers = false
	c.employ()
}

// employ starts the workers that the queue is long enough for; c.mu is held.
func (c *completions) employ() {
	for want := (len(c.queue) + completionsEach - 1) / completionsEach; c.sending < min(want, completionWorkers); c.sending++ {
		c.finished.Go(c.work)
	}
}

func (c *completions) drop(r *v1.CompleteRequest, why string) {
	c.dropped()
	c.log.Warn("the outcome of a call is not recorded", "decision", r.GetDecisionId(), "error", why)
}

func (c *completions) close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	if c.gather != nil {
		c.gather.Stop()
	}
	c.employ()
	c.mu.Unlock()
	stop := context.AfterFunc(ctx, c.giveUp)
	defer stop()
	c.finished.Wait()
	c.giveUp()
	return ctx.Err()
}

// work sends until the queue is empty.
func (c *completions) work() {
	for r := c.next(); r != nil; r = c.next() {
		if err := c.send(r); err != nil {
			c.drop(r, err.Error())
		}
	}
}

// next takes the oldest completion; nil ends the worker.
func (c *completions) next() *v1.CompleteRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		c.queue = nil
		c.sending--
		return nil
	}
	r := c.queue[0]
	c.queue[0], c.queue = nil, c.queue[1:]
	return r
}

// send tries until it is through, the PDP refuses for good, or patience ends.
func (c *completions) send(r *v1.CompleteRequest) error {
	last := time.Now().Add(completionPatience)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := c.attempt(r, last)
		if err == nil || !retryable(err) || !time.Now().Add(pause).Before(last) {
			return err
		}
		select {
		case <-c.ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (c *completions) attempt(r *v1.CompleteRequest, last time.Time) error {
	ctx, cancel := context.WithTimeout(c.ctx, min(completionTimeout, time.Until(last)))
	defer cancel()
	_, err := recovered(ctx, r, c.decider.Complete)
	return err
}

// retryable errors are those of a PDP that is away, not of one that refuses.
func retryable(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition, codes.Unimplemented:
		return false
	default:
		return true
	}
}
