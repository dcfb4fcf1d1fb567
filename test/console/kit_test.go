package console

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/console"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/signin"
	"github.com/mcpermit/mcpermit/pdp/store"
)

// site is a console that listens, and what it stands on.
type site struct {
	*testing.T
	url     string
	console *console.Console
	book    *approval.Book
	grants  *identity.Authenticator
	trail   *audit.Log
	point
}

// newSite makes one; change adds to what the console stands on.
func newSite(t *testing.T, change ...func(*console.Options)) *site {
	t.Helper()
	s := &site{T: t}
	embedded, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = embedded.Close() })
	if s.trail, err = audit.Open(audit.Options{Dir: t.TempDir(), Fsync: "never", Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.trail.Close() })
	s.book = approval.New(embedded, approval.Options{Record: votes{s.trail}})
	s.grants = identity.NewAuthenticator(embedded, identity.Options{})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	s.newPoint(embedded)
	o := console.Options{
		URL: s.url, Admin: l.Addr().String(), Store: embedded, Approvals: s.book, Grants: s.grants, Record: s.trail, Audit: s.trail,
		Servers: []string{"files", "stripe"}, Engine: s.engine, Policy: s.loader, Catalog: s.catalog, Quotas: s.quotas,
		People: []signin.Person{
			{ID: "vera", Name: "Vera Viewer", Role: signin.Viewer},
			{ID: "abel", Name: "Abel Approver", Groups: []string{"finance"}, Role: signin.Approver},
			{ID: "ada", Name: "Ada Admin", Groups: []string{"finance"}, Role: signin.Admin},
		},
	}
	for _, c := range change {
		c(&o)
	}
	if s.console, err = console.New(o); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.console}
	server.RegisterOnShutdown(s.console.Close)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("the console does not shut down: %v", err)
		}
	})
	return s
}

// votes puts what is done to approvals on record.
type votes struct{ trail *audit.Log }

func (v votes) Act(ctx context.Context, a approval.Act) error {
	return v.trail.Act(ctx, audit.Act{Time: a.At, Person: a.Person, Via: a.Via, Act: a.Act, Target: a.Approval, Result: a.Result, Reason: a.Reason})
}

func (s *site) link(person string) string {
	s.Helper()
	link, _, err := s.console.NewLink(s.Context(), person)
	if err != nil {
		s.Fatal(err)
	}
	return link
}

// as returns a browser in which the person has signed in, by pressing the
// button that a link leads to.
func (s *site) as(person string) *browser {
	s.Helper()
	b := newBrowser(s.T)
	b.open(s.link(person))
	b.press("main button")
	b.shows("Sign out", "Approvals")
	return b
}

// call is one that waits for one of finance.
func call() approval.Approval {
	return approval.Approval{
		Subject: approval.Subject{ID: "agent:refunds", Type: "agent", Groups: []string{"support"}}, GrantID: "7Hq2Ls0aZk3Vd9Xw", Owner: "olga",
		Server: "stripe", Method: "tools/call", Name: "create_refund", ToolClass: "financial", ToolRisk: "high",
		Arguments: []byte(`{"amount": 12500, "charge":"ch_3NkX2eLkdIwHu7ix", "reason":"requested_by_customer", "metadata":{"ticket":"48213","agent_note":"Customer says that the parcel never arrived; the carrier confirms it."}}`),
		Policy:    approval.Policy{Revision: "2026-11-25.3", Digest: "sha256:8b649196aa7e8fdc1b5a2b3795de43fe7584c67c090812e489de4c050025141e"},
		Reason:    "Refunds above 100.00 need a person", OpenedBy: "019ad0f0-0000-7000-8000-000000000001",
		Rules:        []approval.Rule{{Path: "policy.servers.stripe.approve", ID: "big-refund", File: "servers/stripe.rego", Line: 12, Title: "Big refunds", Reason: "Refunds above 100.00 need a person"}},
		Requirements: []approval.Requirement{{Approvers: []string{"group:finance"}, Required: 1}},
	}
}

func (s *site) waits(a approval.Approval) string {
	s.Helper()
	opened, err := s.book.Request(s.Context(), a)
	if err != nil {
		s.Fatal(err)
	}
	return opened.ID
}

// becomes waits until an approval is in the state.
func (s *site) becomes(id string, want approval.State) approval.Approval {
	s.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		a, err := s.book.Get(s.Context(), id)
		if err != nil {
			s.Fatal(err)
		}
		if a.State == want {
			return a
		}
		if time.Now().After(deadline) {
			s.Fatalf("the approval is %s, want %s", a.State, want)
		}
	}
}
