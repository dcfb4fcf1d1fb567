package accounts

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/console"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/signin"
	"github.com/mcpermit/mcpermit/pdp/store"
	"github.com/mcpermit/mcpermit/test/provider"
	"github.com/mcpermit/mcpermit/test/shelf"
)

// patience is how long anything may take on a machine that does much else.
const patience = 30 * time.Second

// site is a protected server, its authorization server, and the decision points that
// have accounts there: a console, and a broker for each replica.
type site struct {
	*testing.T
	server   *protected
	provider *provider.Provider
	shelf    *shelf.Shelf
	brokers  []*credential.Broker
	console  *console.Console
	url      string
	trail    *audit.Log
	log      *logged
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{T: t, server: startProtected(t), shelf: shelf.New(), log: &logged{}}
	s.provider = startProvider(t, s.server)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	for i := range 3 {
		b, err := credential.NewBroker(credential.BrokerOptions{
			Servers: map[string]credential.Upstream{"protected": {
				URL: s.server.url, Credentials: map[string]credential.Brokered{"own": {Account: &credential.Account{}}},
			}},
			ConsoleURL: s.url, Vault: s.shelf.Vault(strconv.Itoa(i)), List: s.shelf.List,
			HTTP: &http.Client{}, Discovered: &http.Client{}, AllowHTTP: true, Log: slog.New(slog.NewTextHandler(s.log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		s.brokers = append(s.brokers, b)
	}
	s.serve(l)
	return s
}

// serve makes the console, with all that it shows.
func (s *site) serve(l net.Listener) {
	s.Helper()
	must := func(err error) {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
	}
	embedded, err := store.Open(s.Context(), s.TempDir())
	must(err)
	s.Cleanup(func() { _ = embedded.Close() })
	s.trail, err = audit.Open(audit.Options{Dir: s.TempDir(), Fsync: "never", Logger: slog.New(slog.DiscardHandler)})
	must(err)
	s.Cleanup(func() { _ = s.trail.Close() })
	dir := s.TempDir()
	must(os.Mkdir(filepath.Join(dir, "servers"), 0o700))
	must(os.WriteFile(filepath.Join(dir, "servers", "protected.rego"), []byte("package policy.servers.protected\n\nallow contains \"yes\"\n"), 0o600))
	source, err := policy.NewSource(dir, policy.SourceOptions{})
	must(err)
	loader := policy.NewLoader(source, policy.LoaderOptions{Snapshot: policy.Options{Deadline: patience}})
	must(loader.Reload(s.Context()))
	tools, err := catalog.New(s.Context(), embedded, []catalog.Server{{Name: "protected"}}, nil)
	must(err)
	grants, book, quotas := identity.NewAuthenticator(embedded, identity.Options{}), approval.New(embedded, approval.Options{Record: votes{s.trail}}), quota.NewLedger(quota.Options{Amounts: embedded})
	engine := pdp.NewEngine(pdp.Parts{Identity: grants, Policy: loader.Current, Catalog: tools, Approvals: book, Quotas: quotas, Audit: s.trail, Servers: map[string]pdp.Server{"protected": {}}})
	s.console, err = console.New(console.Options{
		URL: s.url, Admin: l.Addr().String(), Store: embedded, Approvals: book, Grants: grants, Record: s.trail, Audit: s.trail,
		Servers: []string{"protected"}, Engine: engine, Policy: loader, Catalog: tools, Quotas: quotas, Accounts: s.brokers[0],
		People: []signin.Person{{ID: "vera", Role: signin.Viewer}, {ID: "ada", Role: signin.Admin}}, Log: slog.New(slog.NewTextHandler(s.log, nil)),
	})
	must(err)
	served := &http.Server{Handler: s.console}
	served.RegisterOnShutdown(s.console.Close)
	go func() { _ = served.Serve(l) }()
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = served.Shutdown(ctx)
	})
}

// votes puts what is done to approvals on record.
type votes struct{ trail *audit.Log }

func (v votes) Act(ctx context.Context, a approval.Act) error {
	return v.trail.Act(ctx, audit.Act{Time: a.At, Person: a.Person, Via: a.Via, Act: a.Act, Target: a.Approval, Result: a.Result})
}

// logged is what was logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
