package identity

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// spendingKept is how long a use can be given back: longer than an enforcement
// point keeps telling that its call did not go out.
const spendingKept = 15 * time.Minute

// Limited reports whether the uses of the grant, or of one above it, are counted.
func (i *Identity) Limited() bool {
	return !i.every(func(g *Grant) bool { return g.MaxUses == 0 })
}

// UsedUp reports whether the grant, or one above it, had no uses left when it was
// last read, which was within a second. Only [Authenticator.Use] knows.
func (i *Identity) UsedUp() bool {
	return !i.every(func(g *Grant) bool { return g.MaxUses == 0 || g.Uses < g.MaxUses })
}

// Use counts one use of the grant and of all above it whose uses are counted, for
// the decision of that id; all of them, or none. It returns ErrUsedUp when one has
// none left. After any other error the use may be counted, and the call must be
// refused. Without a limit nothing is asked of the store.
func (a *Authenticator) Use(ctx context.Context, decision string, who *Identity) error {
	var ids []string
	who.every(func(g *Grant) bool {
		if g.MaxUses > 0 {
			ids = append(ids, g.ID)
		}
		return true
	})
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	now := a.stamp()
	if err := a.store.SpendGrants(ctx, Spending{Decision: decision, Grants: ids, At: now, ExpiresAt: now.Add(spendingKept)}); err != nil {
		return fmt.Errorf("count a use of grant %s: %w", who.Grant.ID, err)
	}
	return nil
}

// GiveBack takes back what Use has counted for the decision: its call certainly
// did not go out. Doing so twice, or for a decision that counted nothing, does
// nothing.
func (a *Authenticator) GiveBack(ctx context.Context, decision string) error {
	if err := a.store.GiveBackGrants(ctx, decision); err != nil {
		return fmt.Errorf("give back a use of a grant: %w", err)
	}
	return nil
}
