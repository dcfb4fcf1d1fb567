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
	completionTimeout  = time.Second      // of one attempt
	completionPatience = 30 * time.Second // of all attempts for one completion
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

// completions is the queue behind Enforcer.Complete.
type completions struct {
	decider Decider
	log     *slog.Logger
	dropped func()

	mu      sync.RWMutex // guards closed and the closing of queue
	closed  bool
	queue   chan *v1.CompleteRequest
	ctx     context.Context //nolint:containedctx // ends with the queue, not with a call
	giveUp  context.CancelFunc
	workers sync.WaitGroup
}

func newCompletions(d Decider, log *slog.Logger, dropped func()) *completions {
	c := &completions{decider: d, log: log, dropped: dropped, queue: make(chan *v1.CompleteRequest, completionQueue)}
	c.ctx, c.giveUp = context.WithCancel(context.Background())
	for range completionWorkers {
		c.workers.Go(c.work)
	}
	return c
}

func (c *completions) add(r *v1.CompleteRequest) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.closed {
		select {
		case c.queue <- r:
			return
		default:
		}
	}
	c.drop(r, "the queue is full or closed")
}

func (c *completions) drop(r *v1.CompleteRequest, why string) {
	c.dropped()
	c.log.Warn("the outcome of a call is not recorded", "decision", r.GetDecisionId(), "error", why)
}

func (c *completions) close(ctx context.Context) error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.queue)
	}
	c.mu.Unlock()
	stop := context.AfterFunc(ctx, c.giveUp)
	defer stop()
	c.workers.Wait()
	c.giveUp()
	return ctx.Err()
}

func (c *completions) work() {
	for r := range c.queue {
		if err := c.send(r); err != nil {
			c.drop(r, err.Error())
		}
	}
}

// send tries until it is through, the PDP refuses for good, or patience ends.
func (c *completions) send(r *v1.CompleteRequest) error {
	ctx, cancel := context.WithTimeout(c.ctx, completionPatience)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := c.attempt(ctx, r)
		if err == nil || !retryable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (c *completions) attempt(ctx context.Context, r *v1.CompleteRequest) error {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	_, err := recovered(ctx, func(ctx context.Context) (*v1.CompleteResponse, error) {
		return c.decider.Complete(ctx, r)
	})
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
