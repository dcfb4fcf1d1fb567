package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.opentelemetry.io/otel"
	"google.golang.org/grpc"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/approval/webhook"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/console"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pdp/quota"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// decisionPoint is the PDP of this process: the engine and what it stands on.
type decisionPoint struct {
	engine *pdp.Engine
	policy *policy.Loader

	store     *stores
	audit     *audit.Log
	grants    *identity.Authenticator
	approvals *approval.Book
	quotas    *quota.Ledger
	catalog   *catalog.Catalog
	console   *console.Console
	webhooks  *webhook.Sender
	vault     *credential.SealedVault // nil where there is none
	values    *credential.Values
	broker    *credential.Broker // nil without a vault
	keys      []io.Closer        // of the vault
	log       *slog.Logger

	// serving ends when the program begins to stop.
	serving context.Context //nolint:containedctx // the life of a part, not of a call
	drain   context.CancelFunc

	// watching ends when the point is closed.
	watching context.Context //nolint:containedctx // the life of a part, not of a call
	stop     context.CancelFunc
}

// newDecisionPoint opens the stores and reads the policy once. A
// policy that does not load is no error: everything is denied until one does.
func newDecisionPoint(ctx context.Context, cfg *config.Config, log *slog.Logger) (_ *decisionPoint, err error) {
	p := &decisionPoint{log: log}
	p.watching, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.serving, p.drain = context.WithCancel(p.watching)
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.store, err = openStores(ctx, cfg, log); err != nil {
		return nil, err
	}
	if p.audit, err = audit.Open(audit.Options{
		Dir: filepath.Join(cfg.State.Dir, "audit"), Fsync: audit.Fsync(cfg.Audit.Fsync),
		FsyncInterval: cfg.Audit.FsyncInterval.Or(0), Logger: log,
	}); err != nil {
		return nil, err
	}
	if p.vault, p.keys, err = openVault(ctx, cfg, p.store, log); err != nil {
		return nil, err
	}
	if p.values, err = newValues(cfg, p.vault); err != nil {
		return nil, misuse("%w", err)
	}
	provers, err := newProvers(cfg, log)
	if err != nil {
		return nil, misuse("%w", err)
	}
	go provers.Run(p.watching)
	p.grants = identity.NewAuthenticator(p.store, identity.Options{Prover: provers, Log: log})
	go p.grants.KeepUsage(p.watching)
	if p.broker, err = newBroker(cfg, p, log); err != nil {
		return nil, misuse("%w", err)
	}
	if p.broker != nil {
		go p.broker.Run(p.watching)
	}
	if p.webhooks, err = newWebhooks(cfg, log); err != nil {
		return nil, misuse("approvals.%w", err)
	}
	p.approvals = approval.New(p.store, approvalOptions(cfg, p.audit, p.webhooks, log))
	p.quotas = quota.NewLedger(quota.Options{Amounts: p.store.amounts, Counts: p.store.counts, Log: log})
	rounds, err := approval.NewSealer(ctx, p.store)
	if err != nil {
		return nil, err
	}
	if p.catalog, err = catalog.New(ctx, p.store, catalogServers(cfg), time.Now); err != nil {
		return nil, err
	}
	if shared, ok := p.store.database.(catalog.Shared); ok {
		go p.catalog.Follow(p.watching, shared, 500*time.Millisecond, log)
	}
	if p.policy, err = newLoader(cfg, log); err != nil {
		return nil, misuse("policy: %w", err)
	}
	_ = p.policy.Reload(ctx) // the loader has logged it, and its status tells
	p.engine = pdp.NewEngine(pdp.Parts{
		Identity: p.grants, Policy: p.policy.Current, Catalog: p.catalog, Approvals: p.approvals, Rounds: rounds, Quotas: p.quotas,
		Credentials: p.credentials(), Audit: p.audit, Servers: policyServers(cfg), ConsoleURL: cfg.ConsoleURL(), Log: log,
	})
	if p.console, err = newConsole(cfg, p); err != nil {
		return nil, misuse("console: %w", err)
	}
	return p, nil
}

func newLoader(cfg *config.Config, log *slog.Logger) (*policy.Loader, error) {
	c := cfg.Policy
	if c.Source == "" {
		return nil, errors.New("say where the policy is, for instance `policy: ./policy`")
	}
	o := policy.SourceOptions{KeyID: c.KeyID, Token: c.Token, Poll: c.Poll.Or(0)}
	if c.PublicKey != "" {
		key, err := os.ReadFile(c.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("public_key: %w", err)
		}
		o.PublicKey = key
	}
	source, err := policy.NewSource(c.Source, o)
	if err != nil {
		return nil, err
	}
	return policy.NewLoader(source, policy.LoaderOptions{
		Snapshot: policy.Options{Deadline: c.Deadline.Or(0), Slots: policy.NewSlots(0)}, KeepDir: filepath.Join(cfg.State.Dir, "policy"),
		Log: log, Meter: otel.Meter("github.com/mcpermit/mcpermit/pdp/policy"),
	}), nil
}

func catalogServers(cfg *config.Config) []catalog.Server {
	var out []catalog.Server
	for _, name := range cfg.ServerNames() {
		s := cfg.Servers[name]
		out = append(out, catalog.Server{Name: name, Labels: s.Labels, Trusted: s.Trusted})
	}
	return out
}

func policyServers(cfg *config.Config) map[string]pdp.Server {
	out := make(map[string]pdp.Server, len(cfg.Servers))
	for name, s := range cfg.Servers {
		out[name] = pdp.Server{Labels: s.Labels, Trusted: s.Trusted}
	}
	return out
}

// credentials are what frames carry.
func (p *decisionPoint) credentials() credential.Source {
	if p.broker == nil {
		return p.values
	}
	return p.broker
}

func (p *decisionPoint) credentialService() credential.ServiceOptions {
	o := credential.ServiceOptions{Check: p.values.Check, Log: p.log}
	if p.broker != nil {
		o.Accounts = p.broker
	}
	return o
}

// ready says why no call could be allowed now, or nil.
func (p *decisionPoint) ready() error {
	if err := p.audit.Status().Err; err != nil {
		return fmt.Errorf("the audit trail can't be written, so every call is refused: %w", err)
	}
	if db, shared := p.store.database.(interface{ Ping(context.Context) error }); shared {
		ctx, cancel := context.WithTimeout(p.watching, time.Second)
		defer cancel()
		if db.Ping(ctx) != nil { // why is not for everybody who may ask
			return errors.New("the database does not answer, so every call is refused")
		}
	}
	if p.policy.Current() != nil {
		return nil
	}
	if last := p.policy.Status().LastError; last != "" {
		return fmt.Errorf("no policy is in force: %s", last)
	}
	return errors.New("no policy is in force")
}

// register offers the services for people and tools.
func (p *decisionPoint) register(s *grpc.Server) {
	v1.RegisterGrantServiceServer(s, identity.NewService(p.grants, identity.ServiceOptions{Pruned: p.recordPruned, Log: p.log}))
	v1.RegisterApprovalServiceServer(s, approval.NewService(p.approvals, approval.ServiceOptions{Approver: p.console.Approver, Names: callerNames, Log: p.log}))
	v1.RegisterQuotaServiceServer(s, quota.NewService(p.quotas, quota.ServiceOptions{Record: p.recordReset, Log: p.log}))
	v1.RegisterServerServiceServer(s, catalog.NewService(p.catalog, p.log))
	v1.RegisterCredentialServiceServer(s, credential.NewService(p.vault, p.credentialService()))
	v1.RegisterAuditServiceServer(s, audit.NewService(p.audit))
	explaining := policy.NewService(p.policy)
	explaining.Recorded, explaining.Counter = pdp.Recorded{Trail: p.audit.Trail()}, p.engine
	v1.RegisterPolicyServiceServer(s, explaining)
	v1.RegisterConsoleServiceServer(s, console.NewService(p.console, callerNames))
	v1.RegisterDecisionServiceServer(s, p.engine)
}

// watchPolicy keeps the policy up to date until close.
func (p *decisionPoint) watchPolicy() error {
	p.policy.Run(p.watching)
	return nil
}

// close flushes and closes what is open; the engine must not be asked any more.
func (p *decisionPoint) close() error {
	p.stop()
	if p.broker != nil {
		p.broker.Close() // a renewal whose answer is lost loses the account
	}
	var err error
	if p.webhooks != nil {
		err = flushWebhooks(p.webhooks)
	}
	if p.audit != nil {
		err = errors.Join(err, p.audit.Close())
	}
	if p.grants != nil {
		p.flushUsage()
	}
	if p.store != nil {
		err = errors.Join(err, p.store.Close())
	}
	return errors.Join(err, closeAll(p.keys))
}

// flushUsage writes down what was done under grants of late. It is worth a short
// wait, and no failure.
func (p *decisionPoint) flushUsage() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := p.grants.Flush(ctx); err != nil {
		p.log.Warn("the last use of grants is not written down", "error", err)
	}
}
