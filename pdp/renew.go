package pdp

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mcpermit/mcpermit/pdp/credential"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// RenewCredential implements mcpermit.v1.DecisionService. It answers for decisions
// that were made here and not long ago, and once for each: whoever asks for another
// gets nothing, so that credentials reach enforcement points by decisions alone. It
// is no error that a credential could not be renewed: the frame is then not sent
// again.
func (e *Engine) RenewCredential(ctx context.Context, req *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error) {
	res := &v1.RenewCredentialResponse{}
	q, ok := e.equipped.take(req.GetDecisionId(), e.Now())
	if !ok || e.Credentials == nil || q.asked.Server != req.GetServer() || !proto.Equal(q.use, req.GetCredential()) {
		return res, nil
	}
	m, err := e.Credentials.Renew(ctx, q.asked, q.use.GetGeneration())
	if err != nil {
		e.Log.WarnContext(ctx, "a credential that its server refused could not be renewed", "decision", req.GetDecisionId(), "server", q.asked.Server, "credential", q.asked.Name, "error", err)
		return res, nil
	}
	if m.Generation == 0 || m.Generation == q.use.GetGeneration() || !q.use.GetRetriable() {
		return res, nil
	}
	res.Retry, res.Obligations = true, obligations(&m)
	return res, nil
}

// renewableFor is how long a decision's credential can be renewed at least: as long
// as the usual servers take to refuse one.
const renewableFor = time.Minute

// mostEquipped bounds what is remembered; what is beyond cannot be renewed.
const mostEquipped = 1 << 16

// equipment is what a decision has given its frame to carry.
type equipment struct {
	asked credential.Request // secret
	use   *v1.CredentialUse
}
