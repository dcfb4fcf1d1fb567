package audit

import (
	"context"
	"testing"
	"time"
)

// benchRecord is the record of an ordinary allowed call, as the engine makes it.
func benchRecord() *Record {
	return &Record{
		Time:       time.Date(2026, 11, 22, 17, 0, 0, 123456789, time.UTC),
		DecisionID: "019aac2e-7c1b-7d6e-8f3a-5b1d2c3e4f50",
		Frame: Frame{
			Method: "tools/call", Name: "create_refund", ID: []byte("17"), Bytes: 214, Kind: "request", Direction: "to_server",
			Digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		},
		Subject:    &Subject{ID: "agent:refund-bot@example.com", Type: "agent", Groups: []string{"finance", "agents"}},
		Grant:      "gr_01hx7v2m9q",
		Client:     &Client{Name: "claude-code", Version: "2.4.1"},
		Server:     "stripe",
		Tool:       &Tool{Class: "financial", Risk: "high", Digest: "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752", Pinned: "match"},
		Effect:     "allow",
		ReasonCode: "policy",
		Rules:      []Rule{{Path: "policy.servers.stripe.allow", ID: "small-refunds", File: "stripe.rego", Line: 12, Title: "Small refunds of the own team"}},
		Policy:     &Policy{Revision: "r7", Digest: "sha256:fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13"},
		Arguments:  []byte(`{"charge_id":"ch_3NqGZkLkdIwHu7ix0ab12cde","amount":4200,"reason":"requested_by_customer","note":"The parcel was lost on its way."}`),
		Input:      []byte(`{"grant":{"labels":{"env":"prod","team":"payments"},"servers":["stripe"],"expires_at":"2026-11-23T17:00:00Z"},"server":{"labels":{"tier":"gold"},"trusted":true},"tool":{"traits":["destructive"],"annotations":{"title":"Create refund","destructiveHint":true}}}`),
		TraceID:    "4bf92f3577b34da6a3ce929d0e0e4736",
		Context:    Context{Transport: "http", ProtocolVersion: "2026-07-28", Session: HashSession("s"), Peer: "127.0.0.1:51234", PEP: "proxy"},
	}
}

func benchOutcome() Outcome {
	return Outcome{Forwarded: true, Status: 200, Bytes: 812, DurationUS: 5321}
}

// BenchmarkPrepare is what a record costs before it waits for the device.
func BenchmarkPrepare(b *testing.B) {
	l := testLog(b, Options{Dir: b.TempDir()})
	r := benchRecord()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.prepare(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecord is one call's trail, record and outcome, one call at a time.
func BenchmarkRecord(b *testing.B) {
	for _, policy := range []Fsync{FsyncAlways, FsyncNever} {
		b.Run(string(policy), func(b *testing.B) {
			l := testLog(b, Options{Dir: b.TempDir(), Fsync: policy})
			r := benchRecord()
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Record(context.Background(), r); err != nil {
					b.Fatal(err)
				}
				l.Outcome(r.DecisionID, benchOutcome())
			}
			b.ReportMetric(float64(l.Status().Commits)/float64(b.N), "commits/op")
		})
	}
}

func BenchmarkOutcome(b *testing.B) {
	o := benchOutcome()
	b.ReportAllocs()
	for b.Loop() {
		n := note{Type: typeOutcome, Time: time.Now().UTC(), DecisionID: "019aac2e-7c1b-7d6e-8f3a-5b1d2c3e4f50", Outcome: &o}
		n.encode()
	}
}
