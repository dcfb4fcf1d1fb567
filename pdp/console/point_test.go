package console_test

import (
	"fmt"
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
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// kitPolicy is the policy of the kit's decision point, in servers/stripe.rego.
const kitPolicy = `package policy.servers.stripe

# METADATA
# title: Refund cap
# custom: {id: refund-cap}
deny contains "Refund exceeds the policy limit." if {
	input.tool.name == "create_refund"

	not input.arguments.amount <= 50000
}

hide contains "Not offered to agents" if input.tool.name == "delete_customer"

allow contains "Refunds within the cap" if {
	input.tool.name == "create_refund"
	input.arguments.amount > 0
	input.arguments.amount <= 50000
}

allow contains "Reading is free" if input.tool.name == "get_balance"

quota contains {"name": "refund-total", "limit": 60000, "cost": input.arguments.amount, "window": "24h", "per": ["subject"]} if {
	input.tool.name == "create_refund"
}

mask contains "/card" if input.tool.name == "create_refund"
`

// kitServers are what the configuration of the kit names.
var kitServers = []catalog.Server{{Name: "files", Trusted: true}, {Name: "stripe", Labels: map[string]string{"team": "payments"}}}

// point is the decision point that the kit's console shows.
type point struct {
	engine  *pdp.Engine
	loader  *policy.Loader
	catalog *catalog.Catalog
	ledger  *quota.Ledger
	policy  string // the directory
	token   string // of a grant of agent:refunds on stripe
	grant   identity.Grant
}

func newPoint(k *kit) *point {
	k.Helper()
	p := newPointOf(k, map[string]string{"servers/stripe.rego": kitPolicy})
	if p.loader.Current() == nil {
		k.Fatal(p.loader.Status().LastError)
	}
	return p
}

// newPointOf has any policy, also one that does not load.
func newPointOf(k *kit, files map[string]string) *point {
	k.Helper()
	p := &point{policy: k.TempDir()}
	for name, text := range files {
		p.write(k, name, text)
	}
	source, err := policy.NewSource(p.policy, policy.SourceOptions{})
	if err != nil {
		k.Fatal(err)
	}
	p.loader = policy.NewLoader(source, policy.LoaderOptions{Snapshot: policy.Options{Deadline: 10 * time.Second}, Log: k.options.Log})
	_ = p.loader.Reload(k.Context()) // its status says what is wrong
	if p.catalog, err = catalog.New(k.Context(), k.store, kitServers, k.clock); err != nil {
		k.Fatal(err)
	}
	p.ledger = quota.NewLedger(quota.Options{Amounts: k.store, Now: k.clock, Log: k.options.Log})
	servers := map[string]pdp.Server{}
	for _, s := range kitServers {
		servers[s.Name] = pdp.Server{Labels: s.Labels, Trusted: s.Trusted}
	}
	p.engine = pdp.NewEngine(pdp.Parts{
		Identity: k.grants, Policy: p.loader.Current, Catalog: p.catalog, Approvals: k.book, Quotas: p.ledger, Audit: k.record.Log,
		Servers: servers, Now: k.clock, Log: k.options.Log,
	})
	k.options.Engine, k.options.Policy, k.options.Catalog, k.options.Quotas = p.engine, p.loader, p.catalog, p.ledger
	return p
}

// agent is the grant of agent:refunds, made when it is first needed.
func (k *kit) agent() identity.Grant {
	k.Helper()
	if k.token != "" {
		return k.grant
	}
	var err error
	if k.grant, k.token, err = k.grants.Create(k.Context(), identity.Grant{
		Subject: identity.Subject{ID: "agent:refunds", Type: "agent", Groups: []string{"support"}}, Servers: []string{"stripe"},
	}); err != nil {
		k.Fatal(err)
	}
	return k.grant
}

// write puts a file into the policy's directory; reload puts it in force.
func (p *point) write(k *kit, name, text string) {
	k.Helper()
	path := filepath.Join(p.policy, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		k.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		k.Fatal(err)
	}
}

func (p *point) reload(k *kit) {
	k.Helper()
	if err := p.loader.Reload(k.Context()); err != nil {
		k.Fatal(err)
	}
}

// decides makes a decision about a call of the tool by agent:refunds, and returns
// its id.
func (k *kit) decides(tool, arguments string) string {
	k.Helper()
	k.agent()
	res, err := k.engine.Decide(k.Context(), &v1.DecideRequest{
		Evidence: &v1.Evidence{BearerToken: k.token, Peer: "127.0.0.1:4000"}, Server: "stripe", Kind: v1.FrameKind_FRAME_KIND_REQUEST,
		Method: "tools/call", Id: "7", FrameBytes: 120, FrameDigest: []byte(strings.Repeat("d", 32)),
		Target: &v1.Target{Name: tool}, Arguments: []byte(arguments), Client: &v1.Client{Name: "a client", Version: "1"},
		Context: &v1.FrameContext{Transport: v1.Transport_TRANSPORT_HTTP, Direction: v1.Direction_DIRECTION_TO_SERVER},
	})
	if err != nil {
		k.Fatal(err)
	}
	return res.GetDecisionId()
}

// records puts a record on the trail as it is.
func (k *kit) records(change func(*audit.Record)) string {
	k.Helper()
	r := &audit.Record{
		Time: k.clock(), DecisionID: fmt.Sprintf("d-%d", k.record.Status().Entries+1), Server: "stripe", Effect: "deny", ReasonCode: "policy",
		Frame: audit.Frame{Method: "tools/call", Name: "create_refund", Kind: "request"}, Subject: &audit.Subject{ID: "agent:refunds", Type: "agent"},
	}
	if change != nil {
		change(r)
	}
	if err := k.record.Record(k.Context(), r); err != nil {
		k.Fatal(err)
	}
	return r.DecisionID
}

// lists has the catalog see a whole listing of stripe: names and descriptions.
func (k *kit) lists(tools ...string) {
	k.Helper()
	var seen []catalog.Definition
	for i := 0; i < len(tools); i += 2 {
		seen = append(seen, catalog.Definition{Name: tools[i], Raw: []byte(fmt.Sprintf(`{"name":%q,"description":%q,"inputSchema":{"type":"object"}}`, tools[i], tools[i+1]))})
	}
	if err := k.catalog.Observe(k.Context(), "stripe", seen, true); err != nil {
		k.Fatal(err)
	}
}
