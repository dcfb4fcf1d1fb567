package pep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// EnforcerOptions configure an [Enforcer]. The zero value is usable.
type EnforcerOptions struct {
	// Deadline is how long one decision may take; a later one is a refusal.
	// Default 250 ms. A listing, which is as many decisions as it has items,
	// may take as long again for each 25 of them.
	Deadline time.Duration
	// Waiting bounds the calls that wait for an approval at once. Default 1,024.
	Waiting int
	// Logger gets what goes wrong between PEP and PDP. Default slog.Default.
	Logger *slog.Logger
}

// Enforcer asks a [Decider] in time and fails closed: here, and nowhere else,
// the lack of a decision becomes a refusal (I1). It is safe for concurrent use.
type Enforcer struct {
	decider     Decider
	deadline    time.Duration
	log         *slog.Logger
	meter       *meter
	completions *completions
	waiting     chan struct{} // holds one token for each call that waits for an approval
}

// NewEnforcer returns an Enforcer that asks d. Close it to flush completions.
func NewEnforcer(d Decider, o EnforcerOptions) *Enforcer {
	e := &Enforcer{decider: d, deadline: o.Deadline, log: o.Logger, meter: newMeter()}
	if e.deadline <= 0 {
		e.deadline = 250 * time.Millisecond
	}
	if e.log == nil {
		e.log = slog.Default()
	}
	if o.Waiting <= 0 {
		o.Waiting = 1024
	}
	e.waiting = make(chan struct{}, o.Waiting)
	e.completions = newCompletions(d, e.log, e.meter.dropped)
	return e
}

// Decide asks for the decision on one frame, to which things can be added by
// these means. The answer is never nil, and its effect is EFFECT_ALLOW only if a
// decision in time says so and every obligation is one that this PEP can carry
// out. That the client has gone does not end the question: what arrived is
// recorded (I5).
func (e *Enforcer) Decide(ctx context.Context, r *v1.DecideRequest, by Means) *v1.DecideResponse {
	start := time.Now()
	res, err := inTime(ctx, e.deadline, r, e.decider.Decide)
	if errors.Is(err, errLate) && res.GetEffect() == v1.Effect_EFFECT_ALLOW {
		e.Complete(res.GetDecisionId(), &v1.Outcome{Error: errLate.Error()})
	}
	if err != nil {
		e.log.WarnContext(ctx, "no decision, so the frame is refused", "server", r.GetServer(), "method", r.GetMethod(), "error", err)
		res = &v1.DecideResponse{
			Effect:     v1.Effect_EFFECT_DENY,
			ReasonCode: v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE,
			Reason:     "No decision could be had in time; try again.",
		}
	}
	res = e.check(ctx, r, by, res)
	e.meter.decided(ctx, time.Since(start), res)
	return res
}

// check turns a decision that cannot be followed into a refusal.
func (e *Enforcer) check(ctx context.Context, r *v1.DecideRequest, by Means, res *v1.DecideResponse) *v1.DecideResponse {
	switch res.GetEffect() {
	case v1.Effect_EFFECT_DENY, v1.Effect_EFFECT_HIDE, v1.Effect_EFFECT_APPROVE:
		return res
	case v1.Effect_EFFECT_ALLOW:
	default:
		e.log.ErrorContext(ctx, "the decision has an effect that this version does not know", "decision", res.GetDecisionId(), "effect", int32(res.GetEffect()))
		return refuse(res, v1.ReasonCode_REASON_CODE_POLICY_ERROR, "The decision could not be understood.")
	}
	if f := r.GetFault(); f != nil {
		return refuse(res, v1.ReasonCode_REASON_CODE_MALFORMED, f.GetReason())
	}
	for _, o := range res.GetObligations() {
		if err := dischargeable(r, by, o); err != nil {
			e.log.ErrorContext(ctx, "an obligation cannot be carried out, so the frame is refused", "decision", res.GetDecisionId(), "obligation", err)
			e.Complete(res.GetDecisionId(), &v1.Outcome{Error: "an obligation could not be carried out"})
			return refuse(res, v1.ReasonCode_REASON_CODE_OBLIGATION, "An obligation of the decision could not be carried out.")
		}
	}
	return res
}

// refuse returns a refusal that still names the decision. The decision itself
// may be shared and is left alone.
func refuse(res *v1.DecideResponse, code v1.ReasonCode, reason string) *v1.DecideResponse {
	return &v1.DecideResponse{
		DecisionId: res.GetDecisionId(), Effect: v1.Effect_EFFECT_DENY, ReasonCode: code, Reason: reason,
		Subject: res.GetSubject(), GrantId: res.GetGrantId(), Policy: res.GetPolicy(),
	}
}

// errLate is the error beside a decision that nobody could wait for.
var errLate = errors.New("the decision came too late")

// inTime asks on the caller's goroutine, within patience of now, and never
// returns neither an answer nor an error. An answer that comes later is
// returned beside errLate, for the books. That ctx ends does not end the
// question, its deadline does.
func inTime[Q, A any](ctx context.Context, patience time.Duration, q *Q, ask func(context.Context, *Q) (*A, error)) (*A, error) {
	deadline := time.Now().Add(patience)
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	res, err := recovered(ctx, q, ask)
	switch {
	case err != nil:
		return nil, err
	case res == nil:
		return nil, errors.New("the PDP gave an empty answer")
	case !time.Now().Before(deadline):
		return res, errLate
	}
	return res, nil
}

func recovered[Q, A any](ctx context.Context, q *Q, ask func(context.Context, *Q) (*A, error)) (res *A, err error) {
	defer func() {
		if p := recover(); p != nil {
			res, err = nil, fmt.Errorf("the PDP failed: %v", p)
		}
	}()
	return ask(ctx, q)
}
