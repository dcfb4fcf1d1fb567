package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(witnessDir); dir != "" {
		witness(dir) // never returns
	}
	goleak.VerifyTestMain(m)
}

// testLog opens a log that the test closes.
func testLog(t testing.TB, opt Options) *Log {
	t.Helper()
	l := openLog(t, opt, nil)
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

func openLog(t testing.TB, opt Options, dev device) *Log {
	t.Helper()
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	l, err := openOn(opt, dev)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return l
}

func testRecord(n int) *Record {
	return &Record{
		Time:       time.Date(2026, 11, 22, 17, 0, 0, n*1000, time.UTC),
		DecisionID: fmt.Sprintf("d-%06d", n),
		Frame:      Frame{Method: "tools/call", Name: "create_refund", ID: []byte("1"), Bytes: 120, Kind: "request", Direction: "to_server"},
		Subject:    &Subject{ID: "alice", Type: "agent", Groups: []string{"finance"}},
		Grant:      "g1",
		Server:     "stripe",
		Effect:     "deny",
		ReasonCode: "policy",
		Reason:     "Refund exceeds the policy limit.",
		Rules:      []Rule{{Path: "policy.servers.stripe.deny", ID: "refund-cap", File: "stripe.rego", Line: 6}},
		Arguments:  []byte(`{"charge_id":"ch_105","amount":500000}`),
	}
}

func mustRecord(t rapid.TB, l *Log, rs ...*Record) {
	t.Helper()
	for _, r := range rs {
		if err := l.Record(context.Background(), r); err != nil {
			t.Fatalf("Record(%s): %v", r.DecisionID, err)
		}
	}
}

func query(t rapid.TB, from interface {
	Query(context.Context, Filter, int, func(*Record) error) error
}, f Filter, limit int,
) []*Record {
	t.Helper()
	var out []*Record
	if err := from.Query(context.Background(), f, limit, func(r *Record) error {
		out = append(out, r)
		return nil
	}); err != nil {
		t.Fatalf("Query: %v", err)
	}
	return out
}

func ids(rs []*Record) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.DecisionID)
	}
	return out
}

func mustVerify(t rapid.TB, v interface {
	Verify(context.Context) (Report, error)
},
) Report {
	t.Helper()
	r, err := v.Verify(context.Background())
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	if r.Problem != "" {
		t.Fatalf("Verify found a problem: %s", r.Problem)
	}
	return r
}

func TestRecordIsReadBack(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir()})
	want := testRecord(1)
	want.Policy = &Policy{Revision: "r7", Digest: "sha256:00"}
	want.Quota = []Quota{{Name: "refunds-per-day", Used: "3", Limit: "20", Reset: time.Unix(1800000000, 0).UTC()}}
	want.Tool = &Tool{Class: "financial", Risk: "high", Digest: "sha256:11", Pinned: "match"}
	want.Client = &Client{Name: "inspector", Version: "1.2"}
	want.Context = Context{Transport: "http", ProtocolVersion: "2026-07-28", Session: HashSession("s"), Peer: "127.0.0.1:1", PEP: "proxy"}
	want.TraceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	want.Approval = &Approval{ID: "a1", State: "pending"}
	want.Input = []byte(`{"grant":{"labels":{"team":"x"}}}`)
	mustRecord(t, l, want)

	got := query(t, l, Filter{}, 0)[0]
	full := *want
	full.Seq, full.Type, full.Prev, full.Hash = 1, "record", genesis.String(), got.Hash
	if diff := cmp.Diff(&full, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

// The record is one JSON object a line with the documented members, and what
// Record.JSON makes of a record that was read is that line.
func TestRecordLine(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Options{Dir: dir})
	mustRecord(t, l, testRecord(1))
	line, err := os.ReadFile(filepath.Join(dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"seq":1,"type":"record","time":"2026-11-22T17:00:00.000001Z","decision_id":"d-000001",` +
		`"frame":{"method":"tools/call","name":"create_refund","id":1,"bytes":120,"kind":"request","direction":"to_server"},` +
		`"subject":{"id":"alice","type":"agent","groups":["finance"]},"grant":"g1","server":"stripe","effect":"deny",` +
		`"reason_code":"policy","reason":"Refund exceeds the policy limit.",` +
		`"rules":[{"path":"policy.servers.stripe.deny","id":"refund-cap","file":"stripe.rego","line":6}],` +
		`"arguments":{"charge_id":"ch_105","amount":500000},"context":{},` +
		`"prev":"0000000000000000000000000000000000000000000000000000000000000000","hash":"`
	if got := string(line); !strings.HasPrefix(got, want) || len(got) != len(want)+hashHex+len("\"}\n") {
		t.Errorf("line:\n%s\nwant prefix:\n%s", got, want)
	}
	again, err := query(t, l, Filter{}, 0)[0].JSON()
	if err != nil || string(again)+"\n" != string(line) {
		t.Errorf("JSON of the record that was read: %s, %v\nwant the line: %s", again, err, line)
	}
}

func TestReopenGoesOn(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		l := openLog(t, Options{Dir: dir, SegmentBytes: 1500}, nil)
		mustRecord(t, l, testRecord(2*i), testRecord(2*i+1))
		l.Outcome(fmt.Sprintf("d-%06d", 2*i), Outcome{Forwarded: true, Status: 200})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	trail := NewTrail(dir)
	report := mustVerify(t, trail)
	if report.Records != 10 || len(report.Repairs) != 0 {
		t.Errorf("report %+v, want 10 records and no repairs", report)
	}
	firsts, _, _ := listSegments(dir)
	if len(firsts) < 3 {
		t.Errorf("%d segments, want some", len(firsts))
	}
	for i, r := range query(t, trail, Filter{}, 0) {
		if (r.Outcome != nil) != (i%2 == 0) {
			t.Errorf("record %d: outcome %v", i, r.Outcome)
		}
	}
}

func TestOneWriterOnly(t *testing.T) {
	dir := t.TempDir()
	testLog(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, errLocked) {
		t.Errorf("second Open: %v, want %v", err, errLocked)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, opt := range []Options{{}, {Dir: t.TempDir(), Fsync: "sometimes"}} {
		if l, err := Open(opt); err == nil {
			l.Close()
			t.Errorf("Open(%+v) went well", opt)
		}
	}
}

func TestClosed(t *testing.T) {
	l := openLog(t, Options{Dir: t.TempDir()}, nil)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(context.Background(), testRecord(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("Record after Close: %v", err)
	}
	l.Outcome("d", Outcome{})
	if err := l.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}

// Many writers share a write and an fsync, and nothing is lost or doubled.
func TestI5_GroupCommit(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir, SegmentBytes: 64 << 10}, nil)
	const writers, each = 64, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				r := testRecord(w*each + i)
				if err := l.Record(context.Background(), r); err != nil {
					t.Errorf("Record: %v", err)
				}
				l.Outcome(r.DecisionID, Outcome{Forwarded: true, Status: 200, DurationUS: 5})
			}
		})
	}
	wg.Wait()
	s := l.Status()
	if s.Syncs >= writers*each {
		t.Errorf("%d fsyncs for %d records: none were shared", s.Syncs, writers*each)
	}
	t.Logf("%d records and as many outcomes: %d commits, %d fsyncs", writers*each, s.Commits, s.Syncs)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, NewTrail(dir))
	seen := map[string]int{}
	for _, r := range query(t, NewTrail(dir), Filter{}, 0) {
		seen[r.DecisionID]++
		if r.Outcome == nil || r.Outcome.DurationUS != 5 {
			t.Errorf("%s: outcome %+v", r.DecisionID, r.Outcome)
		}
	}
	for i := range writers * each {
		if id := fmt.Sprintf("d-%06d", i); seen[id] != 1 {
			t.Errorf("%s is there %d times", id, seen[id])
		}
	}
}

func TestRecordLeavesTheCallersAlone(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir()})
	r := testRecord(1)
	r.Arguments = []byte(`{"password":"hunter2"}`)
	r.Subject.Groups = []string{"mcpg_0123456789"}
	before, _ := json.Marshal(r)
	mustRecord(t, l, r)
	if after, _ := json.Marshal(r); string(after) != string(before) {
		t.Errorf("Record changed its argument:\n%s\n%s", before, after)
	}
}

func TestFsyncPolicies(t *testing.T) {
	for _, policy := range []Fsync{FsyncAlways, FsyncInterval, FsyncNever} {
		t.Run(string(policy), func(t *testing.T) {
			dir := t.TempDir()
			l := openLog(t, Options{Dir: dir, Fsync: policy, FsyncInterval: time.Hour, SegmentBytes: 2000}, nil)
			for i := range 10 {
				mustRecord(t, l, testRecord(i))
			}
			syncs := l.Status().Syncs
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			mustVerify(t, NewTrail(dir))
			switch {
			case policy == FsyncAlways && syncs < 10, policy == FsyncNever && syncs > 0,
				policy == FsyncInterval && (syncs == 0 || syncs >= 10): // one for each seal
				t.Errorf("%d fsyncs for 10 records", syncs)
			}
		})
	}
}

// What was not masked is in the record as it was sent: numbers with all their
// digits, strings with their escapes. Only white space between tokens is gone.
func TestI12_ArgumentsAreKept(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir()})
	r := testRecord(1)
	r.Arguments = []byte("{ \"a\" : [1.50, 1e400, -0, 9007199254740993],\r\n\t\"\\u0062\\/\":\"\\u00e9\u2028\\ud83d\\ude00\" , \"c\" : {} }")
	const want = "{\"a\":[1.50,1e400,-0,9007199254740993],\"\\u0062\\/\":\"\\u00e9\u2028\\ud83d\\ude00\",\"c\":{}}"
	r.Input = []byte(`{"grant":{"labels":{"x":"\u0061"}}}`)
	mustRecord(t, l, r)
	got := query(t, l, Filter{}, 0)[0]
	if string(got.Arguments) != want || string(got.Input) != string(r.Input) || got.Masked != nil {
		t.Errorf("arguments %s\nwant      %s\ninput %s, masked %v", got.Arguments, want, got.Input, got.Masked)
	}
}
