package console_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/console"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/signin"
	"github.com/mcpermit/mcpermit/pdp/store"
)

// kit is a console with everything under it, and a clock.
type kit struct {
	*testing.T
	console *console.Console
	options console.Options
	dir     string
	store   *store.SQLite
	book    *approval.Book
	grants  *identity.Authenticator
	record  *recorder
	*point

	browsers int

	mu  sync.Mutex
	now time.Time
}

// The people of the kit, one for each role, and two approvers of finance.
var kitPeople = []signin.Person{
	{ID: "vera", Name: "Vera Viewer", Role: signin.Viewer},
	{ID: "abel", Name: "Abel Approver", Groups: []string{"finance"}, Role: signin.Approver},
	{ID: "fine", Groups: []string{"finance"}, Role: signin.Approver},
	{ID: "ada", Name: "Ada Admin", Groups: []string{"ops"}, Role: signin.Admin},
}

// newKit makes one; change adds to what the console stands on.
func newKit(t *testing.T, change ...func(*console.Options)) *kit {
	t.Helper()
	k := &kit{T: t, dir: t.TempDir(), record: &recorder{}, now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	var err error
	if k.store, err = store.Open(t.Context(), k.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.store.Close(); err != nil {
			t.Error(err)
		}
	})
	if k.record.Log, err = audit.Open(audit.Options{Dir: t.TempDir(), Fsync: "never", Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.record.Close(); err != nil {
			t.Error(err)
		}
	})
	k.book = approval.New(k.store, approval.Options{Record: votes{k.record}, Now: k.clock})
	k.grants = identity.NewAuthenticator(k.store, identity.Options{Now: k.clock})
	k.options = console.Options{
		URL: "http://127.0.0.1:8701", Admin: "127.0.0.1:8701", People: kitPeople,
		Store: k.store, Approvals: k.book, Grants: k.grants, Record: k.record, Audit: k.record.Log, Servers: []string{"files", "stripe"}, Now: k.clock, Log: slog.New(slog.DiscardHandler),
	}
	k.point = newPoint(k)
	k.restart(change...)
	return k
}

// restart makes the console anew over the same store.
func (k *kit) restart(change ...func(*console.Options)) {
	k.Helper()
	for _, c := range change {
		c(&k.options)
	}
	var err error
	if k.console, err = console.New(k.options); err != nil {
		k.Fatal(err)
	}
}

// stored reports whether the text is in a file of the store.
func (k *kit) stored(text string) bool {
	k.Helper()
	files, err := filepath.Glob(filepath.Join(k.dir, "*"))
	if err != nil || len(files) < 2 {
		k.Fatalf("no store in %s: %v", k.dir, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			k.Fatal(err)
		}
		if bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}

func (k *kit) clock() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

func (k *kit) pass(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = k.now.Add(d)
}

// browser keeps cookies and follows nothing.
type browser struct {
	k       *kit
	cookies map[string]*http.Cookie
	addr    string
	// change is applied to every request.
	change func(*http.Request)
}

// browser returns one at an address of its own.
func (k *kit) browser() *browser {
	k.browsers++
	return &browser{k: k, cookies: map[string]*http.Cookie{}, addr: fmt.Sprintf("[2001:db8:0:%x::1]:4321", k.browsers)}
}

// as returns a browser in which the person is signed in, by a link.
func (k *kit) as(person string) *browser {
	k.Helper()
	b := k.browser()
	if p := b.follow(k.link(person)); p.status != http.StatusSeeOther {
		k.Fatalf("signing in as %s: %d %s", person, p.status, p.body)
	}
	return b
}

// link makes a sign-in link and returns its path and query.
func (k *kit) link(person string) string {
	k.Helper()
	address, _, err := k.console.NewLink(context.Background(), person)
	if err != nil {
		k.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		k.Fatal(err)
	}
	return u.RequestURI()
}

// follow opens a sign-in link and presses its button.
func (b *browser) follow(link string) *page {
	b.k.Helper()
	p := b.get(link)
	u, err := url.Parse(link)
	if err != nil {
		b.k.Fatal(err)
	}
	return b.send(http.MethodPost, "/sign-in", url.Values{"form": {p.formToken()}, "link": u.Query()["link"]})
}

// page is an answer.
type page struct {
	k      *kit
	status int
	header http.Header
	body   string
}

func (b *browser) get(path string) *page {
	b.k.Helper()
	return b.send(http.MethodGet, path, nil)
}

// post sends a form of the page that the path shows, or of the approvals.
func (b *browser) post(path string, fields ...string) *page {
	b.k.Helper()
	form := url.Values{"form": {b.get("/approvals").formToken()}}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return b.send(http.MethodPost, path, form)
}

func (b *browser) send(method, path string, form url.Values) *page {
	b.k.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:8701"+path, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Origin", "http://127.0.0.1:8701")
	}
	for _, c := range b.cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	r.RemoteAddr = b.addr
	if b.change != nil {
		b.change(r)
	}
	w := httptest.NewRecorder()
	b.k.console.ServeHTTP(w, r)
	res := w.Result()
	for _, c := range res.Cookies() {
		b.cookies[c.Name] = c
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.k.Fatal(err)
	}
	return &page{k: b.k, status: res.StatusCode, header: res.Header, body: string(body)}
}

var formField = regexp.MustCompile(`name="form" value="([^"]+)"`)

func (p *page) formToken() string {
	p.k.Helper()
	m := formField.FindStringSubmatch(p.body)
	if m == nil {
		p.k.Fatalf("the page has no form: %d %s", p.status, p.body)
	}
	return m[1]
}

// is holds the page's status, and that its text has all these parts.
func (p *page) is(status int, parts ...string) *page {
	p.k.Helper()
	if p.status != status {
		p.k.Errorf("status %d, want %d: %s", p.status, status, p.body)
	}
	for _, part := range parts {
		if !strings.Contains(p.body, part) {
			p.k.Errorf("the page has no %q: %s", part, p.body)
		}
	}
	return p
}

// without holds that the text has none of these parts.
func (p *page) without(parts ...string) *page {
	p.k.Helper()
	for _, part := range parts {
		if strings.Contains(p.body, part) {
			p.k.Errorf("the page has %q: %s", part, p.body)
		}
	}
	return p
}

// leads holds that the answer is a redirect to the path.
func (p *page) leads(path string) *page {
	p.k.Helper()
	if got := p.header.Get("Location"); p.status != http.StatusSeeOther || got != path {
		p.k.Errorf("status %d to %q, want 303 to %q: %s", p.status, got, path, p.body)
	}
	return p
}

// recorder is the audit trail, until it fails.
type recorder struct {
	*audit.Log
	fails atomic.Bool
}

func (r *recorder) Act(ctx context.Context, a audit.Act) error {
	if r.fails.Load() {
		return errors.New("the disk is full")
	}
	return r.Log.Act(ctx, a)
}

// votes records what is done to approvals.
type votes struct{ *recorder }

func (v votes) Act(ctx context.Context, a approval.Act) error {
	return v.recorder.Act(ctx, audit.Act{Time: a.At, Person: a.Person, Via: a.Via, Act: a.Act, Target: a.Approval, Result: a.Result, Reason: a.Reason})
}

// acts are those on record, as "person act target: result".
func (k *kit) acts() []string {
	k.Helper()
	var list []string
	err := k.record.Trail().Acts(k.Context(), audit.ActFilter{}, 0, func(a *audit.Act) error {
		list = append(list, fmt.Sprintf("%s %s %s: %s", a.Person, a.Act, a.Target, a.Result))
		return nil
	})
	if err != nil {
		k.Fatal(err)
	}
	return list
}

// call is a call that waits for one of finance.
func call() approval.Approval {
	return approval.Approval{
		Subject: approval.Subject{ID: "agent:refunds", Type: "agent", Groups: []string{"support"}}, GrantID: "grant-1", Owner: "olga",
		Server: "stripe", Method: "tools/call", Name: "create_refund", ToolClass: "financial", ToolRisk: "high",
		Arguments: []byte(`{"amount": 12500, "charge":"ch_1"}`), Policy: approval.Policy{Revision: "r7", Digest: "sha256:0123456789abcdef0123"},
		Reason: "Refunds above 100.00 need a person", OpenedBy: "decision-1",
		Rules:        []approval.Rule{{Path: "policy.servers.stripe.approve", ID: "big-refund", File: "servers/stripe.rego", Line: 12, Title: "Big refunds", Reason: "Refunds above 100.00 need a person"}},
		Requirements: []approval.Requirement{{Approvers: []string{"group:finance"}, Required: 1}},
	}
}

// waits opens an approval and returns its id.
func (k *kit) waits(a approval.Approval) string {
	k.Helper()
	opened, err := k.book.Request(k.Context(), a)
	if err != nil {
		k.Fatal(err)
	}
	return opened.ID
}

// state is what has become of an approval.
func (k *kit) state(id string) string {
	k.Helper()
	a, err := k.book.Get(k.Context(), id)
	if err != nil {
		k.Fatal(err)
	}
	return a.State.String()
}
