// Package pdp is the policy decision point: it puts identity, catalog, policy,
// quotas, approvals, credentials and the audit trail in the order of a decision.
//
// [Engine] is the DecisionService, in process and behind gRPC alike. It knows
// nothing of MCP frames or Envoy: a PEP tells it what it read.
package pdp

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pdp/quota"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Server is what the configuration says of an upstream, for policy.
type Server struct {
	Labels  map[string]string `json:"labels,omitempty"`
	Trusted bool              `json:"trusted,omitempty"`
}

// Parts are what an Engine decides with. Some may be nil: without Approvals a
// call that needs a person is refused without a record of it; without Rounds its
// client is told in words where it could be asked to come back; without Quotas a
// call that counts against one is refused; without Credentials none is added. All
// others are required.
type Parts struct {
	Identity    *identity.Authenticator
	Policy      func() *policy.Snapshot // nil snapshot: everything is denied
	Catalog     *catalog.Catalog
	Approvals   *approval.Book
	Rounds      *approval.Sealer
	Quotas      *quota.Ledger
	Credentials credential.Source
	Audit       *audit.Log
	Servers     map[string]Server // upstreams that exist; others are refused
	ConsoleURL  string            // where people decide, without a slash at its end; "" where there is no console
	Now         func() time.Time  // default time.Now
	Log         *slog.Logger      // default slog.Default
}

// Engine implements mcpermit.v1.DecisionService. It is safe for concurrent
// use; a decision takes no lock of its own.
type Engine struct {
	v1.UnimplementedDecisionServiceServer
	Parts
	meter     meter
	completed recent[uuid.UUID, bool]   // whether as forwarded
	equipped  recent[string, equipment] // by decision id

	waits    context.Context //nolint:containedctx // a state: over when nobody may wait any more
	endWaits context.CancelFunc
}

// NewEngine returns an Engine over the given parts.
func NewEngine(p Parts) *Engine {
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.Log == nil {
		p.Log = slog.Default()
	}
	e := &Engine{
		Parts: p, meter: newMeter(),
		completed: recent[uuid.UUID, bool]{span: completedFor},
		equipped:  recent[string, equipment]{span: renewableFor, most: mostEquipped},
	}
	e.waits, e.endWaits = context.WithCancel(context.Background())
	return e
}
