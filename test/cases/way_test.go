package cases

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/cmd/serve"
	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/store"
	"github.com/mcpermit/mcpermit/pep"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
	"github.com/mcpermit/mcpermit/test/gateway"
	"github.com/mcpermit/mcpermit/test/parts"
)

// way is one of the ways from a client's request to a decision and back.
type way struct {
	name   string
	url    string
	house  *house
	trail  *trail
	heard  *listener         // where the decider is within reach
	tokens map[string]string // by name
	made   map[string]string // ids of grants by name
	grants map[string]string // placeholders by id
	client *http.Transport
	policy string // digest of what is in force
	// vote lets grace of finance decide on an approval; a reason refuses.
	vote func(t *testing.T, id, reason string)
}

// world is what all ways have in common.
type world struct {
	cases   []*testCase
	people  map[string]person
	secrets []secret
	policy  string
}

// prepare writes the configuration of a way.
func (wd *world) prepare(t *testing.T, name string) (*way, *gateway.Gateway) {
	t.Helper()
	w := &way{
		name: name, house: newHouse(t, wd.cases), tokens: map[string]string{"forger": "never-given-out"},
		made: map[string]string{}, grants: map[string]string{}, client: &http.Transport{DisableCompression: true},
	}
	t.Cleanup(w.client.CloseIdleConnections)
	servers := map[string]any{}
	for _, c := range wd.cases {
		servers[c.server] = c.configuration(w.house.URL)
	}
	g := gateway.Prepare(t, gateway.Config{
		Policy: wd.policy, Servers: servers,
		Extra: map[string]any{
			"audit":  map[string]any{"fsync": "never"},
			"limits": map[string]any{"frame_bytes": frameBytes, "answer_bytes": answerBytes},
			"log":    map[string]any{"level": "error"}, // refusals are the rule here
			"people": []any{map[string]any{"id": "grace", "groups": []string{"finance"}}},
			// One that is as long on all ways.
			"console": map[string]any{"url": consoleURL},
		},
	})
	w.url, w.trail = g.URL, newTrail(g.StateDir)
	w.vote = func(t *testing.T, id, reason string) {
		t.Helper()
		args := []string{"approvals", "approve", id, "--as", "grace"}
		if reason != "" {
			args = []string{"approvals", "refuse", id, "--as", "grace", "--reason", reason}
		}
		g.CLI(t, args...)
	}
	return w, g
}

const consoleURL = "https://console.example"

// The limits of the corpus, so low that cases can pass over them.
const (
	frameBytes  = 16 << 10
	answerBytes = 32 << 10
)

// proxy is `mcpermit up`.
func (wd *world) proxy(t *testing.T) *way {
	w, g := wd.prepare(t, "proxy")
	g.Up(t)
	w.issue(t, g, wd.people)
	keep(t, g, wd.secrets)
	return w
}

// envoy is `mcpermit pdp`, `mcpermit-pep envoy` and the real Envoy.
func (wd *world) envoy(t *testing.T) *way {
	w, g := wd.prepare(t, "envoy")
	g.Envoy(t, parts.Of(t).Envoy)
	w.issue(t, g, wd.people)
	keep(t, g, wd.secrets)
	return w
}

// grpc is `mcpermit pdp`, asked over its socket.
func (wd *world) grpc(t *testing.T) *way {
	w, g := wd.prepare(t, "grpc")
	g.PDPUp(t)
	client, err := pep.Dial(g.PDP, pep.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	w.serve(t, g, client)
	w.issue(t, g, wd.people)
	keep(t, g, wd.secrets)
	return w
}

// engine is a pdp.Engine in this process.
func (wd *world) engine(t *testing.T) *way {
	w, g := wd.prepare(t, "engine")
	engine, grants := newEngine(t, g, wd)
	w.vote = func(t *testing.T, id, reason string) {
		t.Helper()
		decide, grace := engine.Approvals.Approve, approval.Approver{ID: "grace", Groups: []string{"finance"}}
		if reason != "" {
			decide = engine.Approvals.Refuse
		}
		if _, err := decide(t.Context(), id, grace, reason, "test"); err != nil {
			t.Fatal(err)
		}
	}
	w.serve(t, g, engine)
	w.issueHere(t, grants, wd.people)
	return w
}

// serve puts the enforcement point of this process in front of a decider.
func (w *way) serve(t *testing.T, g *gateway.Gateway, d pep.Decider) {
	t.Helper()
	cfg, err := config.Load(g.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	w.heard = &listener{Decider: d}
	gw, err := serve.NewGateway(cfg, w.heard, v1.Transport_TRANSPORT_HTTP, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", strings.TrimPrefix(g.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- gw.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := gw.Shutdown(ctx); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
		if err := <-served; err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
	})
}

func newEngine(t *testing.T, g *gateway.Gateway, wd *world) (*pdp.Engine, *identity.Authenticator) {
	t.Helper()
	ctx := t.Context()
	db, err := store.Open(ctx, g.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(audit.Options{Dir: filepath.Join(g.StateDir, "audit"), Fsync: audit.FsyncNever})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		log.Close()
		db.Close()
	})
	rounds, err := approval.NewSealer(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	parts := pdp.Parts{
		Identity: identity.NewAuthenticator(db, identity.Options{}), Audit: log,
		Approvals: approval.New(db, approval.Options{Record: unrecorded{}}), Rounds: rounds, ConsoleURL: consoleURL,
		Quotas:  quota.NewLedger(quota.Options{Amounts: db}),
		Servers: map[string]pdp.Server{}, Log: slog.New(slog.DiscardHandler),
	}
	var servers []catalog.Server
	for _, c := range wd.cases {
		if _, known := parts.Servers[c.server]; known {
			continue
		}
		parts.Servers[c.server] = pdp.Server{Trusted: c.Trusted}
		servers = append(servers, catalog.Server{Name: c.server})
	}
	parts.Credentials = newValues(t, db, wd)
	if parts.Catalog, err = catalog.New(ctx, db, servers, time.Now); err != nil {
		t.Fatal(err)
	}
	source, err := policy.NewSource(wd.policy, policy.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	loader := policy.NewLoader(source, policy.LoaderOptions{
		Snapshot: policy.Options{Deadline: 2 * time.Second, Slots: policy.NewSlots(0)}, Log: parts.Log,
	})
	if err := loader.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	parts.Policy = loader.Current
	return pdp.NewEngine(parts), parts.Identity
}

// unrecorded takes votes without a record of them.
type unrecorded struct{}

func (unrecorded) Act(context.Context, approval.Act) error { return nil }

// listener remembers what a decider said.
type listener struct {
	pep.Decider

	mu   sync.Mutex
	said map[string]*v1.DecideResponse // by decision id
}

// Decide implements pep.Decider.
func (l *listener) Decide(ctx context.Context, r *v1.DecideRequest) (*v1.DecideResponse, error) {
	res, err := l.Decider.Decide(ctx, r)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.said == nil {
			l.said = map[string]*v1.DecideResponse{}
		}
		l.said[res.GetDecisionId()] = res
	}
	return res, err
}

// about is what it said in the decision.
func (l *listener) about(id string) *v1.DecideResponse {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said[id]
}
