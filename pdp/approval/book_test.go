package approval

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func refund() Approval {
	return Approval{
		Subject: Subject{ID: "agent:1", Type: "agent", Groups: []string{"ops"}},
		GrantID: "g1", Server: "stripe", Method: "tools/call", Name: "create_refund",
		Arguments:        []byte(`{"amount": 20000, "charge": "ch_1"}`),
		DefinitionDigest: Digest{1},
		Policy:           Policy{Revision: "r1", Digest: "sha256:1"},
		Reason:           "Refunds above 100.00 need a person",
		Rules:            []Rule{{Path: "policy.servers.stripe.approve", ID: "big-refund", File: "stripe.rego", Line: 3, Title: "Big", Reason: "r"}},
		Requirements:     []Requirement{{Approvers: []string{"group:finance"}, Required: 1}},
	}
}

func request(t *testing.T, b *Book, a Approval) Approval {
	t.Helper()
	a, err := b.Request(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestRequestOpensARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(&memory{}, Options{})
		want := refund()
		got := request(t, b, want)
		if len(got.ID) < 26 {
			t.Errorf("id %q has less than 128 bits", got.ID)
		}
		now := time.Now().UTC()
		want.ID, want.State, want.CreatedAt, want.ExpiresAt, want.Valid = got.ID, Pending, now, now.Add(time.Hour), DefaultValid
		want.ArgumentsDigest, _ = DigestArguments(want.Arguments)
		want.ResponsesDigest, _ = DigestArguments(nil)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("record (-want +got):\n%s", diff)
		}
		read, err := b.Get(t.Context(), got.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, read); diff != "" {
			t.Errorf("read (-want +got):\n%s", diff)
		}
	})
}

// I8: the record of the identical call is found again, in whatever spelling it
// is made, and by no other call.
func TestI8_OnlyTheIdenticalCallHasTheRecord(t *testing.T) {
	b := New(&memory{}, Options{})
	first := request(t, b, refund())
	same := refund()
	same.Arguments = []byte(`{"charge":"ch_1","amount":2e4}`)
	// What follows from the policy does not name the call, nor does the policy.
	same.Reason, same.Requirements, same.Rules, same.Subject.Groups, same.Policy = "", nil, nil, nil, Policy{"r2", "sha256:2"}
	if got := request(t, b, same); got.ID != first.ID {
		t.Error("the identical call was given another record")
	}
	for name, change := range map[string]func(a *Approval){
		"subject":        func(a *Approval) { a.Subject.ID = "agent:2" },
		"subject type":   func(a *Approval) { a.Subject.Type = "person" },
		"grant":          func(a *Approval) { a.GrantID = "g2" },
		"server":         func(a *Approval) { a.Server = "stripe2" },
		"method":         func(a *Approval) { a.Method = "prompts/get" },
		"name":           func(a *Approval) { a.Name = "create_refund2" },
		"argument":       func(a *Approval) { a.Arguments = []byte(`{"amount": 20001, "charge": "ch_1"}`) },
		"no arguments":   func(a *Approval) { a.Arguments = nil },
		"definition":     func(a *Approval) { a.DefinitionDigest = Digest{2} },
		"no definition":  func(a *Approval) { a.DefinitionDigest = Digest{} },
		"shifted fields": func(a *Approval) { a.Server, a.Method = "stripetools", "/call" },
	} {
		other := refund()
		change(&other)
		if got := request(t, b, other); got.ID == first.ID {
			t.Errorf("%s: another call was given the same record", name)
		}
	}
}

func TestARecordExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(&memory{}, Options{})
		a := refund()
		a.ExpiresAt = time.Now().Add(time.Minute)
		first := request(t, b, a)
		time.Sleep(time.Minute - time.Microsecond)
		if got := request(t, b, a); got.ID != first.ID || got.State != Pending {
			t.Errorf("before its end: %+v", got)
		}
		time.Sleep(time.Microsecond)
		if got, err := b.Get(t.Context(), first.ID); err != nil || got.State != Expired {
			t.Errorf("state %v, %v", got.State, err)
		}
		a.ExpiresAt = time.Now().Add(time.Minute)
		if got := request(t, b, a); got.ID == first.ID {
			t.Error("an expired record was given to a new call")
		}
		pending, err := b.List(t.Context(), 10, false)
		if err != nil || len(pending) != 1 {
			t.Errorf("%d pending, %v", len(pending), err)
		}
		all, err := b.List(t.Context(), 10, true)
		if err != nil || len(all) != 2 || all[0].State != Pending || all[1].State != Expired {
			t.Errorf("all: %+v, %v", all, err)
		}
	})
}

// A call that cannot be bound exactly gets no record; the caller denies it.
func TestI1_RequestsWithoutARecord(t *testing.T) {
	m := &memory{}
	b := New(m, Options{})
	for name, change := range map[string]func(a *Approval){
		"no subject":          func(a *Approval) { a.Subject.ID = "" },
		"no grant":            func(a *Approval) { a.GrantID = "" },
		"no server":           func(a *Approval) { a.Server = "" },
		"no method":           func(a *Approval) { a.Method = "" },
		"ambiguous arguments": func(a *Approval) { a.Arguments = []byte(`{"a":1,"a":2}`) },
		"expired at once":     func(a *Approval) { a.ExpiresAt = time.Now().Add(-time.Second) },
	} {
		a := refund()
		change(&a)
		if got, err := b.Request(t.Context(), a); err == nil || got.ID != "" {
			t.Errorf("%s: record %q, error %v", name, got.ID, err)
		}
	}
	m.away = errors.New("gone")
	if got, err := b.Request(t.Context(), refund()); !errors.Is(err, m.away) || got.ID != "" {
		t.Errorf("store away: record %q, error %v", got.ID, err)
	}
	if len(m.list) != 0 {
		t.Errorf("%d records were stored", len(m.list))
	}
}

func TestAgentInALoop(t *testing.T) {
	b := New(&memory{}, Options{})
	for i := range maxPending {
		a := refund()
		a.Name = string(rune('a' + i))
		request(t, b, a)
	}
	if _, err := b.Request(t.Context(), refund()); !errors.Is(err, ErrTooManyPending) {
		t.Errorf("error %v, want ErrTooManyPending", err)
	}
}

func TestRequestKeepsItsOwnArguments(t *testing.T) {
	m := &memory{}
	a := refund()
	got := request(t, New(m, Options{}), a)
	a.Arguments[2] = 'X' // the frame's buffer is used again
	if string(got.Arguments) != string(refund().Arguments) || string(m.list[0].Arguments) != string(refund().Arguments) {
		t.Errorf("arguments %s", got.Arguments)
	}
}

// TestI6_RecordsKeepNoSecrets: what a call says is not kept whole, and only the
// identical call is still recognised.
func TestI6_RecordsKeepNoSecrets(t *testing.T) {
	m := &memory{}
	b := New(m, Options{Mask: func(said []byte, pointers []string) []byte {
		if len(pointers) > 0 {
			return []byte(`{"masked":true}`)
		}
		return bytes.ReplaceAll(said, []byte("c4n4ry"), []byte("x"))
	}})
	call := func(arguments string) Approval {
		a := refund()
		a.Arguments, a.Responses, a.Masked = []byte(arguments), []byte(`{"key":"c4n4ry"}`), []string{"/pin"}
		return a
	}
	first := request(t, b, call(`{"pin":"c4n4ry-1"}`))
	if kept := m.list[0]; string(kept.Arguments) != `{"masked":true}` || string(kept.Responses) != `{"key":"x"}` {
		t.Errorf("kept: %s, %s", kept.Arguments, kept.Responses)
	}
	if again := request(t, b, call(`{"pin":"c4n4ry-1"}`)); again.ID != first.ID {
		t.Error("the identical call has another record")
	}
	if other := request(t, b, call(`{"pin":"c4n4ry-2"}`)); other.ID == first.ID {
		t.Error("another call has the record")
	}
	a := refund()
	a.Arguments = nil
	if got := request(t, b, a); got.Arguments != nil {
		t.Errorf("a call without arguments has %s", got.Arguments)
	}
}

func TestService(t *testing.T) {
	m := &memory{}
	b := New(m, Options{})
	s := NewService(b, ServiceOptions{Log: slog.New(slog.DiscardHandler)})
	a := request(t, b, refund())
	got, err := s.GetApproval(t.Context(), &mcpermitv1.GetApprovalRequest{Id: a.ID})
	if err != nil {
		t.Fatal(err)
	}
	p := got.GetApproval()
	if p.GetId() != a.ID || p.GetState() != mcpermitv1.ApprovalState_APPROVAL_STATE_PENDING || p.GetSubject().GetId() != "agent:1" ||
		p.GetGrantId() != "g1" || p.GetServer() != "stripe" || p.GetMethod() != "tools/call" || p.GetName() != "create_refund" ||
		string(p.GetArguments()) != string(a.Arguments) || string(p.GetArgumentsDigest()) != string(a.ArgumentsDigest[:]) ||
		len(p.GetDefinitionDigest()) != 32 || p.GetReason() != a.Reason || len(p.GetRules()) != 1 || p.GetRules()[0].GetLine() != 3 ||
		p.GetPolicy().GetRevision() != "r1" || p.GetRequirements()[0].GetApprovers()[0] != "group:finance" ||
		!p.GetCreatedAt().AsTime().Equal(a.CreatedAt) || !p.GetExpiresAt().AsTime().Equal(a.ExpiresAt) {
		t.Errorf("approval: %v", p)
	}
	unlisted := refund()
	unlisted.DefinitionDigest = Digest{}
	request(t, b, unlisted)
	list, err := s.ListApprovals(t.Context(), nil)
	if err != nil || len(list.GetApprovals()) != 2 || len(list.GetApprovals()[0].GetDefinitionDigest()) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
	for what, c := range map[string]struct {
		err  error
		want codes.Code
	}{
		"unknown":        {second(s.GetApproval(t.Context(), &mcpermitv1.GetApprovalRequest{Id: "none"})), codes.NotFound},
		"negative limit": {second(s.ListApprovals(t.Context(), &mcpermitv1.ListApprovalsRequest{Limit: -1})), codes.InvalidArgument},
	} {
		if status.Code(c.err) != c.want {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}
	m.away = errors.New("gone")
	if _, err := s.ListApprovals(t.Context(), nil); status.Code(err) != codes.Unavailable {
		t.Errorf("store away: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestRecordsOfLongAgoGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		b := New(m, Options{})
		old := request(t, b, refund())
		time.Sleep(DefaultOpen + Retention)
		a := refund()
		a.Name = "another"
		request(t, b, a)
		if _, err := b.Get(t.Context(), old.ID); err != nil {
			t.Errorf("kept too short: %v", err)
		}
		time.Sleep(time.Second)
		a.Name = "a third"
		request(t, b, a)
		if _, err := b.Get(t.Context(), old.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("%v, want ErrNotFound", err)
		}
	})
}
