package pdp

import (
	"context"
	"errors"

	"github.com/mcpermit/mcpermit/pdp/identity"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// usedUp is what the client is told, whichever grant of the chain it is.
const usedUp = "The uses of this grant, or of one that it was made from, are used up."

// spend counts an allowed call of a tool against the uses of the grant and of
// those above it. What is counted stays counted unless the upstream certainly did
// not see the call, as with quotas.
func (e *Engine) spend(ctx context.Context, d *decision) {
	if d.res.GetEffect() != v1.Effect_EFFECT_ALLOW || d.req.GetMethod() != "tools/call" || !d.who.Limited() {
		return
	}
	err := e.Identity.Use(ctx, d.res.GetDecisionId(), d.who)
	if err == nil {
		d.spent = true
		return
	}
	e.giveBack(ctx, d)
	if errors.Is(err, identity.ErrUsedUp) {
		d.deny(v1.ReasonCode_REASON_CODE_GRANT_USED_UP, usedUp)
		return
	}
	e.Log.ErrorContext(ctx, "a use of the grant could not be counted", "decision", d.res.GetDecisionId(), "error", err)
	d.deny(v1.ReasonCode_REASON_CODE_UNSPECIFIED, "A use of the grant could not be counted; try again.")
}

// giveBack takes back what the decision has reserved and used, and says no more of
// it: its call does not go out.
func (e *Engine) giveBack(ctx context.Context, d *decision) {
	d.quotas, d.res.Quotas = nil, nil
	id := d.res.GetDecisionId()
	if d.reserved {
		d.reserved = false
		if err := e.Quotas.Release(ctx, id); err != nil {
			e.Log.WarnContext(ctx, "a quota stays counted for a call that was refused", "decision", id, "error", err)
		}
	}
	if d.spent {
		d.spent = false
		if err := e.Identity.GiveBack(ctx, id); err != nil {
			e.Log.WarnContext(ctx, "a use of the grant stays counted for a call that was refused", "decision", id, "error", err)
		}
	}
}

// note tells the grant what became of a frame that was sent under it.
func (e *Engine) note(d *decision) {
	if d.who == nil {
		return
	}
	deed := identity.Seen
	switch effect := d.res.GetEffect(); {
	case effect == v1.Effect_EFFECT_ALLOW && d.req.GetMethod() == "tools/call":
		deed = identity.Called
	case effect != v1.Effect_EFFECT_ALLOW && effect != v1.Effect_EFFECT_APPROVE:
		deed = identity.Denied
	}
	e.Identity.Note(d.who, deed, d.start)
}
