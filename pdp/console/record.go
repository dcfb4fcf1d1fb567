package console

import (
	"context"
	"errors"
	"net/http"

	"github.com/mcpermit/mcpermit/pdp/audit"
)

// Recorder keeps on record what people do. What cannot be recorded is not done.
type Recorder interface {
	Act(ctx context.Context, a audit.Act) error
}

// recordAct puts an act on record; its error says that nothing may be done.
func (c *Console) recordAct(ctx context.Context, a audit.Act) error {
	if err := c.record.Act(ctx, a); err != nil {
		c.log.ErrorContext(ctx, "an act could not be recorded", "act", a.Act, "target", a.Target, "person", a.Person, "error", err)
		return &problem{http.StatusServiceUnavailable, "This could not be recorded, so it was not done."}
	}
	return nil
}

// recorded does something that is on record before it is done; what failed then
// has a second record that says so.
func (c *Console) recorded(v *visit, a audit.Act, do func(context.Context) error) error {
	a.Person, a.Via, a.Result = v.Person.ID, "console", "taken"
	if err := c.recordAct(v.r.Context(), a); err != nil {
		return err
	}
	err := do(v.r.Context())
	if err != nil {
		a.Result = "failed"
		err = errors.Join(err, c.recordAct(context.WithoutCancel(v.r.Context()), a))
	}
	return err
}
