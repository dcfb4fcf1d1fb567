package pep

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decider is a Decider made of functions; nil ones fail.
type decider struct {
	v1.UnimplementedDecisionServiceServer
	decide   func(context.Context, *v1.DecideRequest) (*v1.DecideResponse, error)
	list     func(context.Context, *v1.DecideListRequest) (*v1.DecideListResponse, error)
	complete func(context.Context, *v1.CompleteRequest) (*v1.CompleteResponse, error)
	await    func(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error)
	renew    func(context.Context, *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error)
	delegate func(context.Context, *v1.DelegateGrantRequest) (*v1.DelegateGrantResponse, error)
}

var errAway = status.Error(codes.Unavailable, "away")

func (d decider) Decide(ctx context.Context, r *v1.DecideRequest) (*v1.DecideResponse, error) {
	if d.decide == nil {
		return nil, errAway
	}
	return d.decide(ctx, r)
}

func (d decider) DecideList(ctx context.Context, r *v1.DecideListRequest) (*v1.DecideListResponse, error) {
	if d.list == nil {
		return nil, errAway
	}
	return d.list(ctx, r)
}

func (d decider) Complete(ctx context.Context, r *v1.CompleteRequest) (*v1.CompleteResponse, error) {
	if d.complete == nil {
		return nil, errAway
	}
	return d.complete(ctx, r)
}

func (d decider) AwaitApproval(ctx context.Context, r *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	if d.await == nil {
		return nil, errAway
	}
	return d.await(ctx, r)
}

func (d decider) RenewCredential(ctx context.Context, r *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error) {
	if d.renew == nil {
		return nil, errAway
	}
	return d.renew(ctx, r)
}

func (d decider) DelegateGrant(ctx context.Context, r *v1.DelegateGrantRequest) (*v1.DelegateGrantResponse, error) {
	if d.delegate == nil {
		return nil, errAway
	}
	return d.delegate(ctx, r)
}

func answer(r *v1.DecideResponse, err error) func(context.Context, *v1.DecideRequest) (*v1.DecideResponse, error) {
	return func(context.Context, *v1.DecideRequest) (*v1.DecideResponse, error) { return r, err }
}

// outcomes collects completions.
type outcomes struct {
	mu  sync.Mutex
	all []string
}

func (o *outcomes) complete(_ context.Context, r *v1.CompleteRequest) (*v1.CompleteResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, fmt.Sprintf("%s forwarded=%v %s", r.GetDecisionId(), r.GetOutcome().GetForwarded(), r.GetOutcome().GetError()))
	return &v1.CompleteResponse{}, nil
}

func (o *outcomes) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

var (
	toServer = &v1.FrameContext{Direction: v1.Direction_DIRECTION_TO_SERVER}
	toClient = &v1.FrameContext{Direction: v1.Direction_DIRECTION_TO_CLIENT}
)

func oblige(effect v1.Effect, obligations ...*v1.Obligation) *v1.DecideResponse {
	return &v1.DecideResponse{DecisionId: "d1", Effect: effect, Obligations: obligations, GrantId: "g", Subject: &v1.Subject{Id: "s"}}
}

func header(name, value string) *v1.Obligation {
	return &v1.Obligation{Act: &v1.Obligation_SetHeader{SetHeader: &v1.SetHeader{Name: name, Value: value}}}
}

func filter(ttl time.Duration) *v1.Obligation {
	return &v1.Obligation{Act: &v1.Obligation_FilterListing{FilterListing: &v1.FilterListing{MaxTtl: durationpb.New(ttl)}}}
}

func TestI1_WhatIsNoAllowIsARefusal(t *testing.T) {
	const (
		allow = v1.Effect_EFFECT_ALLOW
		deny  = v1.Effect_EFFECT_DENY
		none  = v1.ReasonCode_REASON_CODE_UNSPECIFIED
		away  = v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE
		duty  = v1.ReasonCode_REASON_CODE_OBLIGATION
	)
	call := &v1.DecideRequest{Method: "tools/call", Context: toServer}
	list := &v1.DecideRequest{Method: "tools/list", Context: toServer}
	for _, c := range []struct {
		name   string
		ask    *v1.DecideRequest
		answer *v1.DecideResponse
		err    error
		effect v1.Effect
		code   v1.ReasonCode
	}{
		{"allow", call, oblige(allow), nil, allow, none},
		{"allow with a header", call, oblige(allow, header("Authorization", "Bearer x")), nil, allow, none},
		{"allow with a filter", list, oblige(allow, filter(time.Second)), nil, allow, none},
		{"deny", call, oblige(deny), nil, deny, none},
		{"hide", call, oblige(v1.Effect_EFFECT_HIDE), nil, v1.Effect_EFFECT_HIDE, none},
		{"approve", call, oblige(v1.Effect_EFFECT_APPROVE), nil, v1.Effect_EFFECT_APPROVE, none},

		{"away", call, nil, errAway, deny, away},
		{"an answer with an error", call, oblige(allow), errAway, deny, away},
		{"nothing", call, nil, nil, deny, away},
		{"the zero answer", call, &v1.DecideResponse{}, nil, deny, v1.ReasonCode_REASON_CODE_POLICY_ERROR},
		{"an unknown effect", call, oblige(99), nil, deny, v1.ReasonCode_REASON_CODE_POLICY_ERROR},
		{"an unknown obligation", call, oblige(allow, &v1.Obligation{}), nil, deny, duty},
		{"an unknown obligation behind a known one", call, oblige(allow, header("X-Key", "x"), &v1.Obligation{}), nil, deny, duty},
		{"a filter on a call", call, oblige(allow, filter(time.Second)), nil, deny, duty},
		{"a header without a name", call, oblige(allow, header("", "x")), nil, deny, duty},
		{"a header with a line break", call, oblige(allow, header("X-Key", "a\nb")), nil, deny, duty},
		{"a header with an underscore", call, oblige(allow, header("X_Key", "a")), nil, deny, duty},
		{"the length", call, oblige(allow, header("content-length", "1")), nil, deny, duty},
		{"the session", call, oblige(allow, header("MCP-Session-Id", "1")), nil, deny, duty},
		{"a header for the client", &v1.DecideRequest{Method: "roots/list", Context: toClient}, oblige(allow, header("X-Key", "a")), nil, deny, duty},
		{"allow of a fault", &v1.DecideRequest{Context: toServer, Fault: &v1.Fault{Rule: "x"}}, oblige(allow), nil, deny, v1.ReasonCode_REASON_CODE_MALFORMED},
	} {
		t.Run(c.name, func(t *testing.T) {
			var done outcomes
			e := NewEnforcer(decider{decide: answer(c.answer, c.err), complete: done.complete}, EnforcerOptions{Logger: quiet()})
			got := e.Decide(t.Context(), c.ask, SetHeaders)
			if got.GetEffect() != c.effect || got.GetReasonCode() != c.code {
				t.Errorf("%v %v, want %v %v", got.GetEffect(), got.GetReasonCode(), c.effect, c.code)
			}
			if got.GetEffect() != allow && len(got.GetObligations()) > 0 {
				t.Error("a refusal carries obligations")
			}
			if c.err == nil && c.answer.GetDecisionId() != got.GetDecisionId() {
				t.Errorf("decision %q became %q", c.answer.GetDecisionId(), got.GetDecisionId())
			}
			if err := e.Close(t.Context()); err != nil {
				t.Error(err)
			}
			want := []string(nil)
			if c.code == duty {
				want = []string{"d1 forwarded=false an obligation could not be carried out"}
			}
			if diff := cmp.Diff(want, done.all); diff != "" {
				t.Errorf("completions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestI6_ObligationsAreNotLogged(t *testing.T) {
	var log bytes.Buffer
	e := NewEnforcer(decider{
		decide:   answer(oblige(v1.Effect_EFFECT_ALLOW, header("X-Key", "s3cret\n")), nil),
		complete: new(outcomes).complete,
	}, EnforcerOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	e.Decide(t.Context(), &v1.DecideRequest{Context: toServer, Evidence: &v1.Evidence{BearerToken: "t0ken"}}, SetHeaders)
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := log.String(); !strings.Contains(s, "x-key") || strings.Contains(s, "s3cret") || strings.Contains(s, "t0ken") {
		t.Errorf("log: %s", s)
	}
}

func TestI1_ALateDecisionIsARefusalAndIsGivenBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		takes  time.Duration
		effect v1.Effect
		want   []string
	}{
		{"in time", 249 * time.Millisecond, v1.Effect_EFFECT_ALLOW, nil},
		{"at the deadline", 250 * time.Millisecond, v1.Effect_EFFECT_ALLOW, []string{"d1 forwarded=false the decision came too late"}},
		{"late", time.Second, v1.Effect_EFFECT_ALLOW, []string{"d1 forwarded=false the decision came too late"}},
		{"a late refusal", time.Second, v1.Effect_EFFECT_HIDE, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var done outcomes
				e := NewEnforcer(decider{
					decide: func(context.Context, *v1.DecideRequest) (*v1.DecideResponse, error) {
						time.Sleep(c.takes)
						return oblige(c.effect), nil
					},
					complete: done.complete,
				}, EnforcerOptions{Logger: quiet()})
				got := e.Decide(t.Context(), &v1.DecideRequest{Context: toServer}, SetHeaders)
				late := got.GetEffect() == v1.Effect_EFFECT_DENY && got.GetReasonCode() == v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE
				if want := c.takes >= 250*time.Millisecond; late != want || !late && got.GetEffect() != v1.Effect_EFFECT_ALLOW {
					t.Errorf("%v %v", got.GetEffect(), got.GetReasonCode())
				}
				if err := e.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(c.want, done.all); diff != "" {
					t.Errorf("completions (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestI1_AListDecidedLateIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEnforcer(decider{list: func(_ context.Context, r *v1.DecideListRequest) (*v1.DecideListResponse, error) {
			time.Sleep(500 * time.Millisecond)
			res := &v1.DecideListResponse{}
			for range r.GetItems() {
				res.Items = append(res.Items, &v1.ItemDecision{Effect: v1.Effect_EFFECT_ALLOW})
			}
			return res, nil
		}}, EnforcerOptions{Logger: quiet()})
		// A listing has as long again for each 25 of its items.
		for n, want := range map[int]bool{1: false, 49: false, 50: true} {
			items := make([]*v1.Target, n)
			for i := range items {
				items[i] = &v1.Target{Name: strconv.Itoa(i)}
			}
			keep, ok := e.DecideList(t.Context(), &v1.DecideListRequest{Items: items})
			if ok != want || keep[0] != want {
				t.Errorf("%d items: %v %v", n, keep[0], ok)
			}
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestI1_ADeciderIsToldTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEnforcer(decider{
			decide: func(ctx context.Context, _ *v1.DecideRequest) (*v1.DecideResponse, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
			list: func(ctx context.Context, _ *v1.DecideListRequest) (*v1.DecideListResponse, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		}, EnforcerOptions{Logger: quiet()})
		start := time.Now()
		got := e.Decide(t.Context(), &v1.DecideRequest{Context: toServer}, SetHeaders)
		if got.GetEffect() != v1.Effect_EFFECT_DENY || got.GetReasonCode() != v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE {
			t.Errorf("%v %v", got.GetEffect(), got.GetReasonCode())
		}
		if _, ok := e.DecideList(t.Context(), &v1.DecideListRequest{Items: make([]*v1.Target, 50)}); ok {
			t.Error("a listing without a decision")
		}
		if took := time.Since(start); took != (1+3)*250*time.Millisecond {
			t.Errorf("waited %v", took)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestI1_ADeciderThatPanicsIsARefusal(t *testing.T) {
	e := NewEnforcer(decider{decide: func(context.Context, *v1.DecideRequest) (*v1.DecideResponse, error) {
		panic("a bug")
	}}, EnforcerOptions{Logger: quiet()})
	got := e.Decide(t.Context(), &v1.DecideRequest{Context: toServer}, SetHeaders)
	if got.GetEffect() != v1.Effect_EFFECT_DENY || got.GetReasonCode() != v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE {
		t.Errorf("%v %v", got.GetEffect(), got.GetReasonCode())
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestI5_TheQuestionOutlivesTheClient(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := NewEnforcer(decider{decide: func(ctx context.Context, _ *v1.DecideRequest) (*v1.DecideResponse, error) {
		return oblige(v1.Effect_EFFECT_ALLOW), ctx.Err()
	}}, EnforcerOptions{Logger: quiet()})
	if got := e.Decide(ctx, &v1.DecideRequest{Context: toServer}, SetHeaders); got.GetEffect() != v1.Effect_EFFECT_ALLOW {
		t.Errorf("%v", got)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestI1_ListsFailClosed(t *testing.T) {
	items := []*v1.Target{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	verdict := func(effects ...v1.Effect) func(context.Context, *v1.DecideListRequest) (*v1.DecideListResponse, error) {
		return func(context.Context, *v1.DecideListRequest) (*v1.DecideListResponse, error) {
			res := &v1.DecideListResponse{}
			for _, e := range effects {
				res.Items = append(res.Items, &v1.ItemDecision{Effect: e})
			}
			return res, nil
		}
	}
	for _, c := range []struct {
		name string
		list func(context.Context, *v1.DecideListRequest) (*v1.DecideListResponse, error)
		keep []bool
		ok   bool
	}{
		{"each its own", verdict(v1.Effect_EFFECT_ALLOW, v1.Effect_EFFECT_HIDE, v1.Effect_EFFECT_UNSPECIFIED), []bool{true, false, false}, true},
		{"approve is no allow", verdict(v1.Effect_EFFECT_APPROVE, v1.Effect_EFFECT_DENY, 99), []bool{false, false, false}, true},
		{"too few", verdict(v1.Effect_EFFECT_ALLOW, v1.Effect_EFFECT_ALLOW), []bool{false, false, false}, false},
		{"too many", verdict(1, 1, 1, 1), []bool{false, false, false}, false},
		{"away", nil, []bool{false, false, false}, false},
	} {
		e := NewEnforcer(decider{list: c.list}, EnforcerOptions{Logger: quiet()})
		keep, ok := e.DecideList(t.Context(), &v1.DecideListRequest{Items: items})
		if ok != c.ok || !cmp.Equal(keep, c.keep) {
			t.Errorf("%s: %v %v, want %v %v", c.name, keep, ok, c.keep, c.ok)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestALongListingIsDecidedInParts(t *testing.T) {
	items := make([]*v1.Target, 7)
	for i := range items {
		items[i] = &v1.Target{Name: strconv.Itoa(i), Definition: make([]byte, maxListBytes/2-100)}
	}
	items[3].Definition = make([]byte, 3*maxListBytes)
	var parts []int
	e := NewEnforcer(decider{list: func(_ context.Context, r *v1.DecideListRequest) (*v1.DecideListResponse, error) {
		parts = append(parts, len(r.GetItems()))
		res := &v1.DecideListResponse{}
		for _, it := range r.GetItems() {
			effect := v1.Effect_EFFECT_HIDE
			if strings.Contains("0245", it.GetName()) && r.GetMethod() == "tools/list" && r.GetServer() == "s" && r.GetDecisionId() == "d" {
				effect = v1.Effect_EFFECT_ALLOW
			}
			res.Items = append(res.Items, &v1.ItemDecision{Effect: effect})
		}
		return res, nil
	}}, EnforcerOptions{Logger: quiet()})
	keep, ok := e.DecideList(t.Context(), &v1.DecideListRequest{Server: "s", DecisionId: "d", Method: "tools/list", Items: items})
	if want := []bool{true, false, true, false, true, true, false}; !ok || !cmp.Equal(keep, want) {
		t.Errorf("%v %v, want %v", keep, ok, want)
	}
	if diff := cmp.Diff([]int{2, 1, 1, 2, 1}, parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestObligationHelpers(t *testing.T) {
	r := oblige(v1.Effect_EFFECT_ALLOW, header("A", "1"), filter(2*time.Second), header("B", "2"), filter(time.Second))
	got := map[string]string{}
	for name, value := range Headers(r.GetObligations()) {
		got[name] = value
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "2"}, got); diff != "" {
		t.Error(diff)
	}
	for range Headers(r.GetObligations()) {
		break
	}
	if ttl := MaxTTL(r, time.Minute); ttl != time.Second {
		t.Errorf("MaxTTL %v", ttl)
	}
	if ttl := MaxTTL(oblige(v1.Effect_EFFECT_ALLOW, filter(-time.Second)), time.Minute); ttl != 0 {
		t.Errorf("MaxTTL of a negative one: %v", ttl)
	}
	if ttl := MaxTTL(oblige(v1.Effect_EFFECT_ALLOW), time.Minute); ttl != time.Minute {
		t.Errorf("MaxTTL without one: %v", ttl)
	}
}

func TestTheDecisionItselfIsLeftAlone(t *testing.T) {
	shared := oblige(v1.Effect_EFFECT_ALLOW, &v1.Obligation{})
	before := oblige(v1.Effect_EFFECT_ALLOW, &v1.Obligation{})
	e := NewEnforcer(decider{decide: answer(shared, nil), complete: new(outcomes).complete}, EnforcerOptions{Logger: quiet()})
	e.Decide(t.Context(), &v1.DecideRequest{Context: toServer}, SetHeaders)
	if diff := cmp.Diff(before, shared, protocmp.Transform()); diff != "" {
		t.Errorf("the PDP's answer was changed:\n%s", diff)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
