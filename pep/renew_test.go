package pep

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func use(retriable bool) *v1.DecideResponse {
	return &v1.DecideResponse{DecisionId: "d1", Effect: v1.Effect_EFFECT_ALLOW, Credential: &v1.CredentialUse{Name: "main", Retriable: retriable}}
}

func TestI1_ARenewalThatIsNoneIsNotTriedAgain(t *testing.T) {
	answer := func(retry bool, o ...*v1.Obligation) func(context.Context, *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error) {
		return func(context.Context, *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error) {
			return &v1.RenewCredentialResponse{Retry: retry, Obligations: o}, nil
		}
	}
	for _, c := range []struct {
		name     string
		decision *v1.DecideResponse
		renew    func(context.Context, *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error)
		ok       bool
	}{
		{"renewed", use(true), answer(true, header("X-Key", "k"), filter(time.Second)), true},
		{"not retriable", use(false), answer(true, header("X-Key", "k")), false},
		{"no credential", oblige(v1.Effect_EFFECT_ALLOW), answer(true, header("X-Key", "k")), false},
		{"nothing better", use(true), answer(false, header("X-Key", "k")), false},
		{"an unknown obligation", use(true), answer(true, &v1.Obligation{}), false},
		{"an impossible one", use(true), answer(true, header("Content-Length", "1")), false},
		{"of another kind of server", use(true), answer(true, &v1.Obligation{Act: &v1.Obligation_SetEnvironment{SetEnvironment: &v1.SetEnvironment{Name: "K"}}}), false},
		{"away", use(true), nil, false},
		{"nothing", use(true), func(context.Context, *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error) {
			return nil, nil
		}, false},
		{"a panic", use(true), func(context.Context, *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error) {
			panic("no")
		}, false},
		{"late", use(true), func(ctx context.Context, r *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error) {
			time.Sleep(renewPatience)
			return answer(true, header("X-Key", "k"))(ctx, r)
		}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			e := NewEnforcer(decider{renew: c.renew}, EnforcerOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			got, ok := e.Renew(t.Context(), "s", c.decision, SetHeaders)
			if ok != c.ok || ok != (len(got) > 0) {
				t.Errorf("%s: %v %v", c.name, got, ok)
			}
			if err := e.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestARenewalEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEnforcer(decider{renew: func(ctx context.Context, _ *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}, EnforcerOptions{Logger: quiet()})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		e.Renew(ctx, "s", use(true), SetHeaders)
		e.Renew(t.Context(), "s", use(true), SetHeaders)
		if took := time.Since(start); took != 6*time.Second {
			t.Errorf("waited %v, want 1 s and 5 s", took)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestI1_AGrantThatComesLateIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var takes time.Duration
		e := NewEnforcer(decider{delegate: func(context.Context, *v1.DelegateGrantRequest) (*v1.DelegateGrantResponse, error) {
			time.Sleep(takes)
			return &v1.DelegateGrantResponse{GrantId: "g2", Token: "mcpg_s3cret"}, nil
		}}, EnforcerOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for d, code := range map[time.Duration]v1.ReasonCode{
			delegatePatience - 1: v1.ReasonCode_REASON_CODE_UNSPECIFIED,
			delegatePatience:     v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE,
		} {
			takes = d
			got := e.Delegate(t.Context(), &v1.DelegateGrantRequest{})
			if got.GetReasonCode() != code || (got.GetToken() != "") != (code == 0) {
				t.Errorf("after %v: %v", d, got.GetReasonCode())
			}
		}
		if s := log.String(); !strings.Contains(s, "g2") || strings.Contains(s, "s3cret") {
			t.Errorf("log: %s", s)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestI1_NothingIsAddedWithoutTheMeans(t *testing.T) {
	query := &v1.Obligation{Act: &v1.Obligation_SetQuery{SetQuery: &v1.SetQuery{Name: "k", Value: "v"}}}
	environment := &v1.Obligation{Act: &v1.Obligation_SetEnvironment{SetEnvironment: &v1.SetEnvironment{Name: "K", Value: "v"}}}
	for _, c := range []struct {
		by    Means
		to    *v1.FrameContext
		taken []*v1.Obligation
	}{
		{0, toServer, nil},
		{SetHeaders, toServer, []*v1.Obligation{header("K", "v")}},
		{SetQuery, toServer, []*v1.Obligation{query}},
		{SetPlainQuery, toServer, []*v1.Obligation{query}},
		{SetEnvironment, toServer, []*v1.Obligation{environment}},
		{SetHeaders | SetQuery | SetEnvironment, toClient, nil},
	} {
		for _, o := range []*v1.Obligation{header("K", "v"), query, environment} {
			want := false
			for _, taken := range c.taken {
				want = want || taken.String() == o.String()
			}
			err := dischargeable(&v1.DecideRequest{Method: "tools/call", Context: c.to}, c.by, o)
			if (err == nil) != want {
				t.Errorf("%v with %b: %v", o, c.by, err)
			}
		}
	}
}
