package proxy

import (
	"time"

	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// staleness is how long a client may keep a filtered listing when the decision
// does not say.
const staleness = 30 * time.Second

// filter leaves out of a listing what the subject must not see. own says that
// it answers the act's own request.
func (a *act) filter(method string, l *mcp.Listing, own bool) []byte {
	if own {
		a.learn(method, l)
	}
	q := a.about(v1.Direction_DIRECTION_TO_SERVER)
	keep, ok := a.p.o.Enforcer.DecideList(a.ctx, &v1.DecideListRequest{
		Evidence: q.GetEvidence(), Client: q.GetClient(), Server: q.GetServer(), Context: q.GetContext(),
		Method: method, DecisionId: a.decision.GetDecisionId(), Items: targets(l.Items),
	})
	if !ok {
		a.out.Error = "answer refused: no decision on the listing"
		return mcp.Failed(l.Frame.ID, "The listing could not be decided on in time; try again.")
	}
	hidden := l.Dropped
	for _, k := range keep {
		if !k {
			hidden++
		}
	}
	a.out.Listed += int32(len(keep) + l.Dropped)
	a.out.Hidden += int32(hidden)
	return l.Keep(keep, pep.MaxTTL(a.decision, staleness).Milliseconds())
}

// learn remembers what the server listed, where the client asked for all.
func (a *act) learn(method string, l *mcp.Listing) {
	s := a.shelf()
	if s == nil {
		return
	}
	if cursor, whole := isWhole(a.frame.Params); whole {
		s.of(method).learn(method, cursor, l, &a.up.recent)
	}
}
