package pep

import (
	"context"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// renewPatience is how long a renewal may take: somebody else's token endpoint is
// asked in it.
const renewPatience = 5 * time.Second

// Renew is called once for an allowed frame that its server has refused with
// 401, and says with what obligations it may be sent once more. ok is false where
// it may not: the decision names no credential, the frame could do harm when it is
// sent twice, nothing better can be had in time, or something of it could not be
// carried out by these means. It returns when ctx ends at the latest.
func (e *Enforcer) Renew(ctx context.Context, server string, d *v1.DecideResponse, by Means) (obligations []*v1.Obligation, ok bool) {
	use := d.GetCredential()
	if use == nil {
		return nil, false
	}
	last := time.Now().Add(renewPatience)
	within, cancel := context.WithDeadline(ctx, last)
	defer cancel()
	q := &v1.RenewCredentialRequest{DecisionId: d.GetDecisionId(), Server: server, Credential: use}
	res, err := recovered(within, q, e.decider.RenewCredential)
	switch {
	case err != nil:
		e.log.WarnContext(ctx, "a credential that its server refuses could not be renewed", "server", server, "credential", use.GetName(), "error", err)
		return nil, false
	case !res.GetRetry() || !use.GetRetriable() || within.Err() != nil || !time.Now().Before(last):
		return nil, false
	}
	for _, o := range res.GetObligations() {
		if o.GetFilterListing() != nil {
			continue // as the decision says it
		}
		if err := addable(by, o); err != nil {
			e.log.ErrorContext(ctx, "an obligation of a renewed credential cannot be carried out", "decision", d.GetDecisionId(), "obligation", err)
			return nil, false
		}
	}
	return res.GetObligations(), true
}
