package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var when = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func waiting() approval.Approval {
	return approval.Approval{
		ID: "APPROVAL1", State: approval.Pending,
		Subject: approval.Subject{ID: "agent:1", Type: "agent", Groups: []string{"ops"}}, Owner: "olga",
		GrantID: "g1", Server: "stripe", Method: "tools/call", Name: "create_refund", ToolClass: "destructive", ToolRisk: "high",
		Arguments: []byte(`{"amount":20000,"card":"4242"}`), Masked: []string{"/card"},
		Reason:       "Refunds above 100.00 need a person",
		Rules:        []approval.Rule{{Path: "policy.servers.stripe.approve", ID: "big-refund", Title: "Big refunds"}},
		Requirements: []approval.Requirement{{Approvers: []string{"group:finance", "carl"}, Required: 2}},
		Votes:        []approval.Vote{{Person: "carl", At: when, Approved: true, Via: "cli"}},
		CreatedAt:    when, ExpiresAt: when.Add(time.Hour), OpenedBy: "d1",
	}
}

func opened(a approval.Approval) approval.Event {
	return approval.Event{Kind: approval.EventOpened, Approval: a, At: when}
}

// maskCard stands for the audit trail's masking.
func maskCard(arguments []byte, pointers []string) []byte {
	if slices.Contains(pointers, "/card") {
		arguments = bytes.ReplaceAll(arguments, []byte("4242"), []byte("[masked]"))
	}
	return arguments
}

// receiver is a real HTTP server that answers with the statuses in turn, then
// 204, and keeps what it was sent.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	statuses []int
	header   http.Header // of answers
	got      []received
	arrived  chan struct{}
}

type received struct {
	header http.Header
	path   string
	body   []byte
}

func newReceiver(t *testing.T, statuses ...int) *receiver {
	t.Helper()
	r := &receiver{statuses: statuses, header: http.Header{}, arrived: make(chan struct{}, 1000)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, received{req.Header, req.URL.Path, body})
	status := http.StatusNoContent
	if len(r.statuses) > 0 {
		status, r.statuses = r.statuses[0], r.statuses[1:]
	}
	for k, v := range r.header {
		w.Header()[k] = v
	}
	w.WriteHeader(status)
	r.arrived <- struct{}{}
}

func (r *receiver) wait(t *testing.T, n int) []received {
	t.Helper()
	for range n {
		select {
		case <-r.arrived:
		case <-time.After(20 * time.Second):
			t.Fatal("nothing arrives")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// sender has short pauses, and is closed with the test.
func sender(t *testing.T, log io.Writer, targets ...Target) *Sender {
	t.Helper()
	s, err := New(Options{
		Targets: targets, Link: func(id string) string { return "https://console.example/approvals/" + id },
		Mask: maskCard, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.pauses = []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond}
	t.Cleanup(func() { closed(t, s) })
	return s
}

func closed(t *testing.T, s *Sender) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// What a receiver that keeps to Standard Webhooks checks.
func signedBy(key []byte, r received) bool {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(r.header.Get("webhook-id") + "." + r.header.Get("webhook-timestamp") + "." + string(r.body)))
	return r.header.Get("webhook-signature") == "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestAMessageIsTriedUntilItIsTaken(t *testing.T) {
	r := newReceiver(t, 500, 429, 404)
	var log syncBuffer
	s := sender(t, &log, Target{URL: r.URL + "/hook/SECRET-PATH", Secret: "whsec_" + base64.StdEncoding.EncodeToString([]byte("the key"))})
	s.Tell(opened(waiting()))
	got := r.wait(t, 4)
	closed(t, s)
	if len(got) != 4 {
		t.Fatalf("%d tries", len(got))
	}
	for i, g := range got {
		at, err := strconv.ParseInt(g.header.Get("Webhook-Timestamp"), 10, 64)
		if err != nil || time.Since(time.Unix(at, 0)) > time.Minute {
			t.Errorf("timestamp %q", g.header.Get("Webhook-Timestamp"))
		}
		if g.header.Get("Webhook-Id") != got[0].header.Get("Webhook-Id") || !strings.HasPrefix(g.header.Get("Webhook-Id"), "msg_") {
			t.Errorf("try %d has the id %q", i, g.header.Get("Webhook-Id"))
		}
		if !signedBy([]byte("the key"), g) || g.header.Get("Content-Type") != "application/json" || g.path != "/hook/SECRET-PATH" || !bytes.Equal(g.body, got[0].body) {
			t.Errorf("try %d: %v %s", i, g.header, g.body)
		}
	}
	if strings.Contains(log.String(), "SECRET-PATH") || !strings.Contains(log.String(), "it answers 500") || strings.Contains(log.String(), "given up") {
		t.Errorf("log: %s", log.String())
	}
	s.Tell(opened(waiting())) // after Close nothing is sent
	if len(r.got) != 4 {
		t.Errorf("%d messages", len(r.got))
	}
}

func TestAMessageIsGivenUp(t *testing.T) {
	elsewhere := newReceiver(t)
	for name, c := range map[string]struct {
		statuses []int
		tries    int
		says     string
	}{
		"no end":    {[]int{500, 500, 500, 500, 500, 500, 500}, 5, "answers 500"},
		"redirect":  {[]int{307}, 1, "redirect"},
		"not there": {[]int{410}, 1, "410"},
	} {
		r := newReceiver(t, c.statuses...)
		r.header.Set("Location", elsewhere.URL)
		var log syncBuffer
		s := sender(t, &log, Target{URL: r.URL + "/SECRET-PATH"})
		s.Tell(opened(waiting()))
		r.wait(t, c.tries)
		log.wait(t, "given up")
		closed(t, s)
		if len(r.got) != c.tries || !strings.Contains(log.String(), c.says) || strings.Contains(log.String(), "SECRET-PATH") {
			t.Errorf("%s: %d tries, log %s", name, len(r.got), log.String())
		}
		if r.got[0].header.Get("Webhook-Signature") != "" {
			t.Errorf("%s: signed without a secret", name)
		}
	}
	if len(elsewhere.got) != 0 {
		t.Error("a redirect was followed")
	}
}

// I6: a receiver that does not answer is named by its host alone.
func TestI6_UnreachableReceiversAreNamedByTheirHost(t *testing.T) {
	r := newReceiver(t)
	address := r.URL
	r.Close()
	var log syncBuffer
	s := sender(t, &log, Target{URL: strings.Replace(address, "http://", "http://user:PASSWORD@", 1) + "/SECRET-PATH?token=SECRET-QUERY"})
	s.Tell(opened(waiting()))
	log.wait(t, "given up")
	closed(t, s)
	for _, secret := range []string{"PASSWORD", "SECRET-PATH", "SECRET-QUERY", "4242"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %s: %s", secret, log.String())
		}
	}
}

func TestTheDecisionNeverWaits(t *testing.T) {
	release := make(chan struct{})
	stuck := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-release:
		case <-req.Context().Done():
		}
	}))
	defer stuck.Close()
	var log syncBuffer
	r := newReceiver(t)
	s := sender(t, &log, Target{URL: stuck.URL}, Target{URL: r.URL})
	for range queued + 10 {
		s.Tell(opened(waiting()))
		<-r.arrived // the other target is not held up
	}
	if n := strings.Count(log.String(), "misses one"); n != 10 {
		t.Errorf("%d messages were dropped, want 10", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); err == nil || !strings.Contains(err.Error(), "given up") {
		t.Errorf("close: %v", err)
	}
	close(release)
}

func TestCloseTriesOnceMoreAtOnce(t *testing.T) {
	r := newReceiver(t, 500)
	var log syncBuffer
	s := sender(t, &log, Target{URL: r.URL})
	s.pauses = []time.Duration{time.Hour, time.Hour}
	s.Tell(opened(waiting()))
	log.wait(t, "tried again")
	closed(t, s)
	if len(r.got) != 2 || strings.Contains(log.String(), "given up") {
		t.Errorf("%d tries, log %s", len(r.got), log.String())
	}
}

func TestRetryAfterIsKeptTo(t *testing.T) {
	r := newReceiver(t, 429)
	r.header.Set("Retry-After", "3600")
	var log syncBuffer
	s := sender(t, &log, Target{URL: r.URL})
	s.Tell(opened(waiting()))
	log.wait(t, "tried again")
	time.Sleep(50 * time.Millisecond)
	r.mu.Lock()
	tries := len(r.got)
	r.mu.Unlock()
	if tries != 1 {
		t.Errorf("%d tries", tries)
	}
}

func TestTargetsThatMakeNoSense(t *testing.T) {
	for _, target := range []Target{
		{URL: "ftp://host/SECRET"},
		{URL: "https:///SECRET"},
		{URL: "://SECRET"},
		{URL: ""},
		{URL: "https://host/SECRET", Secret: "whsec_SECRET!"},
		{URL: "https://host/SECRET", Secret: "whsec_"},
		{URL: "https://host/SECRET", Format: "xml"},
	} {
		if _, err := New(Options{Targets: []Target{{URL: "https://good.example"}, target}}); err == nil || !strings.Contains(err.Error(), "webhooks[1]") || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%+v: %v", target, err)
		}
	}
}

func TestOnlyWhatReceiversNeedIsSent(t *testing.T) {
	r := newReceiver(t)
	s := sender(t, io.Discard, Target{URL: r.URL})
	for _, kind := range []approval.EventKind{approval.EventVote, "other", approval.EventOpened} {
		s.Tell(approval.Event{Kind: kind, Approval: waiting(), At: when})
	}
	r.wait(t, 1)
	closed(t, s)
	if len(r.got) != 1 {
		t.Errorf("%d messages", len(r.got))
	}
}

func object(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

// syncBuffer is a log that can be waited on.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *syncBuffer) wait(t *testing.T, text string) {
	t.Helper()
	for range 20_000 {
		if strings.Contains(b.String(), text) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("the log never says %q: %s", text, b.String())
}
