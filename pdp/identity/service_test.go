package identity

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func TestServiceLifeOfAGrant(t *testing.T) {
	var log bytes.Buffer
	a := NewAuthenticator(&memory{}, Options{})
	s := NewService(a, ServiceOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)

	made, err := s.CreateGrant(t.Context(), &mcpermitv1.CreateGrantRequest{
		Subject: &mcpermitv1.Subject{Id: "agent:1", Groups: []string{"ops"}},
		Servers: []string{"stripe"}, Tools: []string{"get_*"}, Labels: map[string]string{"a": "b"},
		ExpiresAt: timestamppb.New(expires), Owner: "olga@example.com",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &mcpermitv1.Grant{
		Id: made.GetGrant().GetId(), Subject: &mcpermitv1.Subject{Id: "agent:1", Type: "agent", Groups: []string{"ops"}},
		Servers: []string{"stripe"}, Tools: []string{"get_*"}, Labels: map[string]string{"a": "b"},
		CreatedAt: made.GetGrant().GetCreatedAt(), ExpiresAt: timestamppb.New(expires), Owner: "olga@example.com",
	}
	same := func(what string, got *mcpermitv1.Grant) {
		t.Helper()
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	same("created", made.GetGrant())
	if g := identified(t, a, made.GetToken()); g.ID != want.GetId() {
		t.Errorf("the token is for %q", g.ID)
	}

	got, err := s.GetGrant(t.Context(), &mcpermitv1.GetGrantRequest{Id: want.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	same("read", got.GetGrant())

	revoked, err := s.RevokeGrant(t.Context(), &mcpermitv1.RevokeGrantRequest{Id: want.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	want.RevokedAt = revoked.GetGrant().GetRevokedAt()
	if want.GetRevokedAt() == nil {
		t.Error("no time of the revocation")
	}
	same("revoked", revoked.GetGrant())
	_ = refusal(t, a, made.GetToken())

	for _, c := range []struct {
		all  bool
		want int
	}{{false, 0}, {true, 1}} {
		list, err := s.ListGrants(t.Context(), &mcpermitv1.ListGrantsRequest{All: c.all})
		if err != nil || len(list.GetGrants()) != c.want {
			t.Errorf("all=%v: %d grants, %v; want %d", c.all, len(list.GetGrants()), err, c.want)
		}
	}
	if strings.Contains(log.String(), made.GetToken()[21:]) {
		t.Error("the token is in the log")
	}
	if !strings.Contains(log.String(), "grant created") || !strings.Contains(log.String(), "grant revoked") {
		t.Errorf("log: %s", log.String())
	}
}

func TestServiceLimits(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	for range 120 {
		create(t, a, Grant{})
	}
	s := NewService(a, ServiceOptions{})
	for limit, want := range map[int32]int{0: 100, 7: 7, 110: 110, 1_000_000: 120} {
		list, err := s.ListGrants(t.Context(), &mcpermitv1.ListGrantsRequest{Limit: limit})
		if err != nil || len(list.GetGrants()) != want {
			t.Errorf("limit %d: %d grants, %v; want %d", limit, len(list.GetGrants()), err, want)
		}
	}
}

func TestServiceFaults(t *testing.T) {
	m := &memory{}
	var log bytes.Buffer
	s := NewService(NewAuthenticator(m, Options{}), ServiceOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	check := func(what string, err error, want codes.Code) {
		t.Helper()
		if got := status.Code(err); got != want {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	_, err := s.CreateGrant(t.Context(), nil)
	check("nothing", err, codes.InvalidArgument)
	_, err = s.CreateGrant(t.Context(), &mcpermitv1.CreateGrantRequest{
		Subject: &mcpermitv1.Subject{Id: "a"}, Servers: []string{"*"}, ExpiresAt: &timestamppb.Timestamp{Nanos: -1},
	})
	check("no time", err, codes.InvalidArgument)
	_, err = s.ListGrants(t.Context(), &mcpermitv1.ListGrantsRequest{Limit: -1})
	check("negative limit", err, codes.InvalidArgument)
	_, err = s.GetGrant(t.Context(), &mcpermitv1.GetGrantRequest{Id: "none"})
	check("unknown", err, codes.NotFound)
	_, err = s.RevokeGrant(t.Context(), &mcpermitv1.RevokeGrantRequest{Id: "none"})
	check("unknown to revoke", err, codes.NotFound)

	m.away = errors.New("disk at /var/lib/x is gone")
	_, err = s.GetGrant(t.Context(), &mcpermitv1.GetGrantRequest{Id: "any"})
	check("store away", err, codes.Unavailable)
	if strings.Contains(err.Error(), "/var/lib") {
		t.Errorf("what the store said reaches the caller: %v", err)
	}
	if !strings.Contains(log.String(), "/var/lib") {
		t.Errorf("what the store said is not in the log: %s", log.String())
	}
}

func TestServiceOfANarrowGrant(t *testing.T) {
	a := NewAuthenticator(&memory{}, Options{})
	s := NewService(a, ServiceOptions{})
	now := time.Now().UTC().Truncate(time.Microsecond)
	parent, err := s.CreateGrant(t.Context(), &mcpermitv1.CreateGrantRequest{Subject: &mcpermitv1.Subject{Id: "agent:1"}, Servers: []string{"stripe"}, Delegations: 3})
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.CreateGrant(t.Context(), &mcpermitv1.CreateGrantRequest{
		Subject: &mcpermitv1.Subject{Id: "agent:2"}, NotBefore: timestamppb.New(now.Add(time.Minute)), ExpiresAt: timestamppb.New(now.Add(time.Hour)),
		MaxUses: 7, Classes: []string{"read"}, Policies: []string{"office_hours"}, ParentId: parent.GetGrant().GetId(), Delegations: 2,
		BoundTo: []string{"agent.example"}, Held: true,
	})
	if err != nil || made.GetToken() != "" {
		t.Fatalf("token %q, %v", made.GetToken(), err)
	}
	want := &mcpermitv1.Grant{
		Id: made.GetGrant().GetId(), Subject: &mcpermitv1.Subject{Id: "agent:2", Type: "agent"}, Servers: []string{"stripe"},
		CreatedAt: made.GetGrant().GetCreatedAt(), NotBefore: timestamppb.New(now.Add(time.Minute)), ExpiresAt: timestamppb.New(now.Add(time.Hour)),
		MaxUses: 7, Classes: []string{"read"}, Policies: []string{"office_hours"}, ParentId: parent.GetGrant().GetId(), Delegations: 2,
		BoundTo: []string{"agent.example"}, Held: true,
	}
	for name, req := range map[string]*mcpermitv1.ListGrantsRequest{"by subject": {Subject: "agent:2"}, "by parent": {ParentId: parent.GetGrant().GetId()}} {
		list, err := s.ListGrants(t.Context(), req)
		if err != nil || len(list.GetGrants()) != 1 {
			t.Fatalf("%s: %d grants, %v", name, len(list.GetGrants()), err)
		}
		if diff := cmp.Diff(want, list.GetGrants()[0], protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestServiceRotates(t *testing.T) {
	var log bytes.Buffer
	a := NewAuthenticator(&memory{}, Options{})
	s := NewService(a, ServiceOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	g, old := create(t, a, Grant{})
	res, err := s.RotateGrant(t.Context(), &mcpermitv1.RotateGrantRequest{Id: g.ID, Overlap: durationpb.New(time.Hour)})
	if err != nil || res.GetGrant().GetId() != g.ID || res.GetGrant().GetRotatedAt() == nil {
		t.Fatalf("%v, %v", res.GetGrant(), err)
	}
	identified(t, a, old)
	identified(t, a, res.GetToken())
	if strings.Contains(log.String(), res.GetToken()[21:]) || !strings.Contains(log.String(), "grant rotated") {
		t.Errorf("I6: log: %s", log.String())
	}
	for want, req := range map[codes.Code]*mcpermitv1.RotateGrantRequest{
		codes.NotFound: {Id: "nobody"}, codes.InvalidArgument: {Id: g.ID, Overlap: &durationpb.Duration{Seconds: 1, Nanos: -1}},
	} {
		if _, err := s.RotateGrant(t.Context(), req); status.Code(err) != want {
			t.Errorf("%v: %v", req, err)
		}
	}
}

func TestServicePrunes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator(&memory{}, Options{})
		var recorded []string
		refuse := false
		s := NewService(a, ServiceOptions{Log: slog.New(slog.DiscardHandler), Pruned: func(ctx context.Context, g *Grant, revoke func(context.Context) error) error {
			if refuse {
				return status.Error(codes.Internal, "not recorded")
			}
			recorded = append(recorded, g.ID)
			return revoke(ctx)
		}})
		first, _ := create(t, a, Grant{})
		second, token := create(t, a, Grant{})
		time.Sleep(time.Hour)
		req := &mcpermitv1.PruneGrantsRequest{UnusedSince: timestamppb.New(time.Now().Add(-time.Minute)), DryRun: true}
		prune := func(want ...string) {
			t.Helper()
			res, err := s.PruneGrants(t.Context(), req)
			var got []string
			for _, g := range res.GetGrants() {
				got = append(got, g.GetId())
				if revoked := g.GetRevokedAt() != nil; revoked == req.GetDryRun() {
					t.Errorf("%s: revoked: %t", g.GetId(), revoked)
				}
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("pruned %v, %v; want %v", got, err, want)
			}
		}
		prune(second.ID, first.ID)
		identified(t, a, token)
		req.DryRun, refuse = false, true
		if _, err := s.PruneGrants(t.Context(), req); status.Code(err) != codes.Internal {
			t.Error(err)
		}
		identified(t, a, token) // what can't be recorded is not done
		refuse = false
		prune(second.ID, first.ID)
		if !slices.Equal(recorded, []string{second.ID, first.ID}) {
			t.Errorf("recorded %v", recorded)
		}
		if r := refusal(t, a, token); r.Code != Revoked {
			t.Errorf("%+v", r)
		}
		prune()
		for _, bad := range []*mcpermitv1.PruneGrantsRequest{{}, {UnusedSince: timestamppb.Now()}} {
			if _, err := s.PruneGrants(t.Context(), bad); status.Code(err) != codes.InvalidArgument {
				t.Errorf("%v: %v", bad, err)
			}
		}
	})
}
