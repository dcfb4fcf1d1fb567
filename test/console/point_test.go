package console

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/store"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// stripeRego is the policy of the site's decision point.
const stripeRego = `# What agents may do with payments.
package policy.servers.stripe

# METADATA
# title: Refund cap
# description: No refund is larger than what one charge can be.
# custom: {id: refund-cap}
deny contains "Refund exceeds the policy limit." if {
	input.tool.name == "create_refund"
	not input.arguments.amount <= 50000
}

# METADATA
# title: Deleting customers
# custom: {id: no-deleting}
hide contains "Not offered to agents" if input.tool.name == "delete_customer"

# METADATA
# title: Small refunds
# custom: {id: refunds}
allow contains "Refunds within the cap" if {
	input.tool.name == "create_refund"
	input.arguments.amount > 0
	input.arguments.amount <= 50000
}

# METADATA
# title: Reading
# custom: {id: reading}
allow contains "Reading is free" if input.tool.class == "read"

allow contains "Balances are looked up" if looks_up

looks_up if startswith(input.tool.name, "get_")

quota contains {"name": "refund-total", "limit": 60000, "cost": input.arguments.amount, "window": "24h", "per": ["subject"]} if {
	input.tool.name == "create_refund"
}

quota contains {"name": "calls", "limit": 10, "window": "1h", "per": ["grant", "tool"]} if input.server.name == "stripe"

mask contains "/card" if input.tool.name == "create_refund"
`

// point is the decision point that the site shows.
type point struct {
	engine  *pdp.Engine
	loader  *policy.Loader
	catalog *catalog.Catalog
	quotas  *quota.Ledger
	policy  string // the directory
	token   string // of agent:refunds
}

func (s *site) newPoint(embedded *store.SQLite) {
	s.Helper()
	s.policy = s.TempDir()
	s.write(stripeRego)
	source, err := policy.NewSource(s.policy, policy.SourceOptions{})
	if err != nil {
		s.Fatal(err)
	}
	s.loader = policy.NewLoader(source, policy.LoaderOptions{Snapshot: policy.Options{Deadline: patience}})
	if err := s.loader.Reload(s.Context()); err != nil {
		s.Fatal(err)
	}
	servers := []catalog.Server{{Name: "files", Trusted: true}, {Name: "stripe", Labels: map[string]string{"team": "payments", "stage": "production"}}}
	if s.catalog, err = catalog.New(s.Context(), embedded, servers, nil); err != nil {
		s.Fatal(err)
	}
	s.quotas = quota.NewLedger(quota.Options{Amounts: embedded})
	s.engine = pdp.NewEngine(pdp.Parts{
		Identity: s.grants, Policy: s.loader.Current, Catalog: s.catalog, Approvals: s.book, Quotas: s.quotas, Audit: s.trail,
		Servers: map[string]pdp.Server{"files": {Trusted: true}, "stripe": {Labels: servers[1].Labels}},
	})
}

// write changes the policy's file.
func (s *site) write(rego string) {
	s.Helper()
	if err := os.MkdirAll(filepath.Join(s.policy, "servers"), 0o700); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.policy, "servers", "stripe.rego"), []byte(rego), 0o600); err != nil {
		s.Fatal(err)
	}
}

// decides makes a decision about a call of agent:refunds, and returns its id.
func (s *site) decides(tool, arguments string) string {
	s.Helper()
	if s.token == "" {
		var err error
		if _, s.token, err = s.grants.Create(s.Context(), identity.Grant{
			Subject: identity.Subject{ID: "agent:refunds", Type: "agent", Groups: []string{"support"}}, Owner: "olga", Servers: []string{"stripe"},
		}); err != nil {
			s.Fatal(err)
		}
	}
	res, err := s.engine.Decide(s.Context(), &v1.DecideRequest{
		Evidence: &v1.Evidence{BearerToken: s.token, Peer: "127.0.0.1:40312"}, Server: "stripe", Kind: v1.FrameKind_FRAME_KIND_REQUEST,
		Method: "tools/call", Id: "7", FrameBytes: 214, FrameDigest: []byte(strings.Repeat("\x5a", 32)),
		Target: &v1.Target{Name: tool}, Arguments: []byte(arguments), Client: &v1.Client{Name: "claude-code", Version: "2.1"},
		Context: &v1.FrameContext{Transport: v1.Transport_TRANSPORT_HTTP, Direction: v1.Direction_DIRECTION_TO_SERVER, ProtocolVersion: "2026-07-28", Pep: "proxy"},
	})
	if err != nil {
		s.Fatal(err)
	}
	return res.GetDecisionId()
}

// happens is what became of an allowed call.
func (s *site) happens(id string, o audit.Outcome) {
	s.Helper()
	o.DurationUS = int64(18400 * time.Microsecond / time.Microsecond)
	s.trail.Outcome(id, o)
}

// lists has the catalog see a whole listing of a server: names and descriptions.
func (s *site) lists(server string, tools ...string) {
	s.Helper()
	var seen []catalog.Definition
	for i := 0; i < len(tools); i += 2 {
		raw, err := json.Marshal(map[string]any{
			"name": tools[i], "description": tools[i+1], "inputSchema": map[string]any{
				"type": "object", "properties": map[string]any{"amount": map[string]any{"type": "integer", "minimum": 1}, "charge": map[string]any{"type": "string"}},
				"required": []string{"charge"}, "additionalProperties": false,
			},
		})
		if err != nil {
			s.Fatal(err)
		}
		seen = append(seen, catalog.Definition{Name: tools[i], Raw: raw})
	}
	if err := s.catalog.Observe(s.Context(), server, seen, true); err != nil {
		s.Fatal(err)
	}
}
