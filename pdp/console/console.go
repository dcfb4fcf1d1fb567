// Package console is the web pages for people: they decide on the calls that
// wait, and see what is decided, granted and in force.
//
// Pages are made here, from embedded templates, and work without JavaScript,
// which only keeps them up to date. One place (guard.go) decides who reaches
// what, and one (render.go) makes what others wrote safe to look at.
//
// A page is a Go file with its routes and what its template sees, a template of
// the same name that defines "title" and "main", an entry in sections if it is
// to be found, and a line per route in TestRoles. Forms begin with
// {{template "form" .}}, post, and redirect.
package console

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

// DefaultSession is how long somebody stays signed in where the configuration
// does not say.
const DefaultSession = 12 * time.Hour

// Options is what the console stands on.
type Options struct {
	// URL under which people reach the console: http(s)://host[:port].
	URL string
	// Admin is the address of the listener, host:port.
	Admin string
	// People may sign in. Without any there is the operator, an admin.
	People []signin.Person
	// Session is how long somebody stays signed in; 0 is DefaultSession.
	Session time.Duration
	// OIDC lets people of a provider sign in.
	OIDC OIDC

	Store     signin.Store
	Approvals *approval.Book
	Grants    *identity.Authenticator
	// Audit is the trail that decisions are read from.
	Audit *audit.Log
	// Record keeps what people do to grants. Votes are recorded by Approvals.
	Record Recorder
	// Servers are the names of those that grants can be for.
	Servers []string
	Engine  *pdp.Engine
	Policy  *policy.Loader
	Catalog *catalog.Catalog
	Quotas  *quota.Ledger
	// Accounts connects accounts of servers; nil: there are none to connect.
	Accounts *credential.Broker

	// Now is the clock; nil is the system's.
	Now func() time.Time
	Log *slog.Logger
}

// Console is the pages. It is safe for concurrent use.
type Console struct {
	url      *url.URL
	hosts    hosts
	cookies  cookies
	people   people
	provider *provider
	life     time.Duration

	store     signin.Store
	approvals *approval.Book
	grants    *identity.Authenticator
	audit     *audit.Log
	trail     *audit.Trail
	engine    *pdp.Engine
	policy    *policy.Loader
	catalog   *catalog.Catalog
	quotas    *quota.Ledger
	accounts  *credential.Broker
	record    Recorder
	servers   []string
	now       func() time.Time
	log       *slog.Logger

	approvalChanges *changes
	tails           atomic.Int64 // pages that follow the trail
	tries           tries
	closing         chan struct{}
	close           sync.Once

	attempts    *attempts
	crossOrigin *http.CrossOriginProtection
	handler     http.Handler
}

// New returns the console.
func New(o Options) (*Console, error) {
	u, err := url.Parse(strings.TrimSuffix(o.URL, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the console's URL %q is not http(s)://host", o.URL)
	}
	if o.Store == nil || o.Approvals == nil || o.Grants == nil || o.Record == nil || o.Audit == nil ||
		o.Engine == nil || o.Policy == nil || o.Catalog == nil || o.Quotas == nil {
		return nil, errors.New("the console needs a store and what it shows")
	}
	c := &Console{
		url: u, hosts: newHosts(o.Admin, u), cookies: newCookies(u.Scheme == "https"), people: newPeople(o.People),
		provider: newProvider(o.OIDC, u.String()),
		life:     o.Session, store: o.Store, approvals: o.Approvals, grants: o.Grants, audit: o.Audit, trail: o.Audit.Trail(),
		engine: o.Engine, policy: o.Policy, catalog: o.Catalog, quotas: o.Quotas, accounts: o.Accounts, record: o.Record, servers: o.Servers,
		now: o.Now, log: o.Log, closing: make(chan struct{}), crossOrigin: http.NewCrossOriginProtection(),
	}
	if c.life == 0 {
		c.life = DefaultSession
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	c.attempts = newAttempts(c.now)
	c.approvalChanges = newChanges(c.lookAtApprovals)
	// A proxy in front may have changed the host that a form was sent to.
	if err := c.crossOrigin.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
		return nil, fmt.Errorf("the console's URL: %w", err)
	}
	c.handler = c.mux()
	return c, nil
}

// Close ends the streams that keep pages up to date, which no server waits for.
func (c *Console) Close() { c.close.Do(func() { close(c.closing) }) }

// ServeHTTP answers a request for a page.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	if !c.hosts.allow(r.Host) {
		http.Error(w, "The console does not answer under this name; see console.url in the configuration.", http.StatusMisdirectedRequest)
		return
	}
	c.handler.ServeHTTP(w, r)
}
