package pep

import (
	"context"
	"log/slog"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// EnforcerOptions configure an [Enforcer]. The zero value is usable.
type EnforcerOptions struct {
	// Deadline is how long one decision may take; a later one is a refusal.
	// Default 250 ms.
	Deadline time.Duration
	// Logger gets what goes wrong between PEP and PDP. Default slog.Default.
	Logger *slog.Logger
}

// Enforcer asks a [Decider] in time and fails closed.
type Enforcer struct{ d Decider }

// NewEnforcer returns an Enforcer that asks d. Close it to flush completions.
func NewEnforcer(d Decider, o EnforcerOptions) *Enforcer { return &Enforcer{d: d} }

// Decide asks for the decision on one frame. The answer is never nil, and its
// effect is EFFECT_ALLOW only if a decision in time says so and every
// obligation is one that this PEP can carry out (I1).
func (e *Enforcer) Decide(ctx context.Context, r *v1.DecideRequest) *v1.DecideResponse {
	return &v1.DecideResponse{Effect: v1.Effect_EFFECT_DENY, ReasonCode: v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE}
}

// DecideList says of each item of r whether it may be listed. ok is false when
// there is no decision; then no item may be.
func (e *Enforcer) DecideList(ctx context.Context, r *v1.DecideListRequest) (keep []bool, ok bool) {
	return make([]bool, len(r.GetItems())), false
}

// Complete tells the PDP, later and off the caller's path, what became of an
// allowed frame. It never blocks.
func (e *Enforcer) Complete(decisionID string, o *v1.Outcome) {}

// Close sends the completions that are queued and stops. It returns ctx's
// error if it ends first.
func (e *Enforcer) Close(ctx context.Context) error { return nil }
