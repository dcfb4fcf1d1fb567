package approval

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// serviceOf is a service whose people are the operator, anna and bob.
func serviceOf(b *Book, names func(context.Context) []string) *Service {
	return NewService(b, ServiceOptions{
		Approver: func(id string) (Approver, bool) {
			switch id {
			case "", "operator":
				return Approver{ID: "operator"}, true
			case "anna":
				return anna, true
			case "bob":
				return bob, true
			}
			return Approver{}, false
		},
		Names: names, Log: slog.New(slog.DiscardHandler),
	})
}

func TestServiceDecides(t *testing.T) {
	o := newOffice()
	s := serviceOf(o.Book, nil)
	a := request(t, o.Book, needs(of(2)))
	first, err := s.ApproveCall(t.Context(), &mcpermitv1.ApproveCallRequest{Id: a.ID, Reason: "fine"})
	if err != nil || first.GetApproval().GetState() != mcpermitv1.ApprovalState_APPROVAL_STATE_PENDING {
		t.Fatalf("%v, %v", first, err)
	}
	second, err := s.ApproveCall(t.Context(), &mcpermitv1.ApproveCallRequest{Id: a.ID, Person: "anna"})
	p := second.GetApproval()
	if err != nil || p.GetState() != mcpermitv1.ApprovalState_APPROVAL_STATE_APPROVED || len(p.GetVotes()) != 2 || p.GetDecidedAt() == nil {
		t.Fatalf("%v, %v", second, err)
	}
	if v := p.GetVotes()[0]; v.GetPerson() != "operator" || v.GetReason() != "fine" || v.GetVia() != "cli" || !v.GetApproved() || v.GetAt() == nil {
		t.Errorf("vote: %v", v)
	}
	if v := p.GetVotes()[1]; v.GetPerson() != "anna" || len(v.GetGroups()) != 1 {
		t.Errorf("vote: %v", v)
	}
	if _, err := o.Use(t.Context(), a.ID, "d1"); err != nil {
		t.Fatal(err)
	}
	got, err := s.GetApproval(t.Context(), &mcpermitv1.GetApprovalRequest{Id: a.ID})
	if err != nil || got.GetApproval().GetState() != mcpermitv1.ApprovalState_APPROVAL_STATE_USED || got.GetApproval().GetUsedBy() != "d1" || got.GetApproval().GetUsedAt() == nil {
		t.Errorf("%v, %v", got, err)
	}
	b := request(t, o.Book, refund())
	refused, err := s.RefuseCall(t.Context(), &mcpermitv1.RefuseCallRequest{Id: b.ID, Person: "bob", Reason: "no"})
	if err != nil || refused.GetApproval().GetState() != mcpermitv1.ApprovalState_APPROVAL_STATE_REFUSED || refused.GetApproval().GetVotes()[0].GetReason() != "no" {
		t.Errorf("%v, %v", refused, err)
	}
}

func TestServiceSaysWhyAVoteIsNotTaken(t *testing.T) {
	o := newOffice()
	s := serviceOf(o.Book, nil)
	open := request(t, o.Book, needs(of(1, "group:finance", "dora"), of(2)))
	own := refund()
	own.Name, own.Owner = "own", "anna"
	own = request(t, o.Book, own)
	decided := refund()
	decided.Name = "decided"
	decided = request(t, o.Book, decided)
	if _, err := o.Refuse(t.Context(), decided.ID, anna, "", ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id, person string
		code       codes.Code
		says       string
	}{
		{"none", "anna", codes.NotFound, "there is no approval of that id"},
		{open.ID, "zoe", codes.InvalidArgument, "people"},
		{own.ID, "anna", codes.PermissionDenied, "another approver has to"},
		{own.ID, "operator", codes.PermissionDenied, "it needs 1 of group:finance"},
		{decided.ID, "bob", codes.FailedPrecondition, "is refused"},
	} {
		_, err := s.ApproveCall(t.Context(), &mcpermitv1.ApproveCallRequest{Id: c.id, Person: c.person})
		if status.Code(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("approve %s as %q: %v; want %v, %q", c.id, c.person, err, c.code, c.says)
		}
		_, err = s.RefuseCall(t.Context(), &mcpermitv1.RefuseCallRequest{Id: c.id, Person: c.person})
		if status.Code(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("refuse %s as %q: %v; want %v, %q", c.id, c.person, err, c.code, c.says)
		}
	}
	if got := wanted(open.Requirements); got != "1 of group:finance or dora, and 2 of any approver" {
		t.Errorf("wanted: %s", got)
	}
	o.acts.away = errAway
	if _, err := s.ApproveCall(t.Context(), &mcpermitv1.ApproveCallRequest{Id: open.ID, Person: "anna"}); status.Code(err) != codes.Internal || strings.Contains(err.Error(), errAway.Error()) {
		t.Errorf("unrecorded: %v", err)
	}
	// Without a directory nobody decides.
	if _, err := NewService(o.Book, ServiceOptions{}).ApproveCall(t.Context(), &mcpermitv1.ApproveCallRequest{Id: open.ID}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no directory: %v", err)
	}
}

// I10: a certificate says who somebody is; what the request says does not.
func TestI10_ACertificateDecidesForWhomItNames(t *testing.T) {
	o := newOffice()
	for _, c := range []struct {
		names  []string
		person string
		code   codes.Code
	}{
		{[]string{"host.example", "anna"}, "anna", codes.OK},
		{[]string{"anna"}, "bob", codes.PermissionDenied},
		{[]string{"anna"}, "", codes.PermissionDenied},
		{[]string{"operator"}, "", codes.OK},
		{[]string{"Anna"}, "anna", codes.PermissionDenied},
		{[]string{}, "anna", codes.PermissionDenied},
	} {
		a := refund()
		a.Name = strings.Join(c.names, ",") + "/" + c.person
		a.Requirements = []Requirement{of(2)}
		a = request(t, o.Book, a)
		got, err := serviceOf(o.Book, func(context.Context) []string { return c.names }).
			ApproveCall(t.Context(), &mcpermitv1.ApproveCallRequest{Id: a.ID, Person: c.person})
		if status.Code(err) != c.code {
			t.Errorf("%q as %q: %v, want %v", c.names, c.person, err, c.code)
		}
		if err == nil && got.GetApproval().GetVotes()[0].GetVia() != "api" {
			t.Errorf("via %q", got.GetApproval().GetVotes()[0].GetVia())
		}
		if read, _ := o.Get(t.Context(), a.ID); (len(read.Votes) == 1) != (c.code == codes.OK) {
			t.Errorf("%q as %q: %d votes", c.names, c.person, len(read.Votes))
		}
	}
}
