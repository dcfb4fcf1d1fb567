package quota

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func TestServiceLists(t *testing.T) {
	k := newKit(t, true)
	k.mustReserve(t, "d1", refunds("100", "30.50"), calls("5"))
	s := NewService(k.Ledger, ServiceOptions{})
	res, err := s.ListQuotas(t.Context(), &mcpermitv1.ListQuotasRequest{Quota: "refunds"})
	if err != nil || len(res.GetCounters()) != 1 {
		t.Fatalf("list: %v, %v", res, err)
	}
	c := res.GetCounters()[0]
	if c.GetPer()["subject"] != "ada" || c.GetLimit() != "100" || c.GetUsed() != "30.5" || c.GetRemaining() != "69.5" ||
		c.GetWindow() != "24h sliding" || !c.GetResetAt().AsTime().Equal(start.Add(24*time.Hour)) || !c.GetUpdatedAt().AsTime().Equal(start) {
		t.Errorf("counter: %v", c)
	}
	byID, err := s.ListQuotas(t.Context(), &mcpermitv1.ListQuotasRequest{Id: c.GetId()})
	if err != nil || len(byID.GetCounters()) != 1 {
		t.Errorf("by id: %v, %v", byID, err)
	}
	all, err := s.ListQuotas(t.Context(), &mcpermitv1.ListQuotasRequest{})
	if err != nil || len(all.GetCounters()) != 2 {
		t.Errorf("all: %v, %v", all, err)
	}
	one, err := s.ListQuotas(t.Context(), &mcpermitv1.ListQuotasRequest{Limit: 1})
	if err != nil || len(one.GetCounters()) != 1 {
		t.Errorf("one: %v, %v", one, err)
	}
	if _, err := s.ListQuotas(t.Context(), &mcpermitv1.ListQuotasRequest{Limit: -1}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a negative limit: %v", err)
	}
	// A whole window later nothing is used.
	k.clock.move(24 * time.Hour)
	res, err = s.ListQuotas(t.Context(), &mcpermitv1.ListQuotasRequest{Quota: "refunds"})
	if err != nil || res.GetCounters()[0].GetUsed() != "0" || res.GetCounters()[0].GetResetAt() != nil {
		t.Errorf("later: %v, %v", res, err)
	}
}

func TestServiceResetsWhatIsOnRecord(t *testing.T) {
	k := newKit(t, false)
	k.mustReserve(t, "d1", refunds("100", "30"))
	var recorded []string
	var failure error
	s := NewService(k.Ledger, ServiceOptions{Record: func(_ context.Context, target string) error {
		recorded = append(recorded, target)
		return failure
	}})
	for _, c := range []struct {
		req  *mcpermitv1.ResetQuotaRequest
		want codes.Code
	}{
		{&mcpermitv1.ResetQuotaRequest{}, codes.InvalidArgument},
		{&mcpermitv1.ResetQuotaRequest{Of: "ada"}, codes.InvalidArgument}, // everything that ada has is too much to ask for
		{&mcpermitv1.ResetQuotaRequest{Id: "unknown"}, codes.NotFound},
		{&mcpermitv1.ResetQuotaRequest{Quota: "refunds", Of: "bob"}, codes.NotFound},
	} {
		if _, err := s.ResetQuota(t.Context(), c.req); status.Code(err) != c.want {
			t.Errorf("%v: %v, want %v", c.req, err, c.want)
		}
	}
	if recorded != nil {
		t.Errorf("recorded what was not done: %q", recorded)
	}
	failure = errors.New("disk full")
	if _, err := s.ResetQuota(t.Context(), &mcpermitv1.ResetQuotaRequest{Quota: "refunds"}); status.Code(err) != codes.Unavailable {
		t.Errorf("a reset that can't be recorded: %v", err)
	}
	if got := k.used(t, refunds("100", "0")); got != "30" {
		t.Errorf("used %s: it was reset without a record", got)
	}
	failure = nil
	res, err := s.ResetQuota(t.Context(), &mcpermitv1.ResetQuotaRequest{Quota: "refunds", Of: "ada"})
	if err != nil || res.GetReset_() != 1 || recorded[len(recorded)-1] != "quota refunds of ada" {
		t.Errorf("reset: %v, %v, recorded %q", res, err, recorded)
	}
	if got := k.used(t, refunds("100", "0")); got != "0" {
		t.Errorf("used %s", got)
	}
	if _, err := NewService(k.Ledger, ServiceOptions{}).ResetQuota(t.Context(), &mcpermitv1.ResetQuotaRequest{Quota: "refunds"}); status.Code(err) != codes.Unimplemented {
		t.Errorf("without a recorder: %v", err)
	}
}
