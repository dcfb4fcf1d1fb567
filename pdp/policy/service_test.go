package policy

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

type recorded map[string]string

func (r recorded) RecordedInput(_ context.Context, id string) ([]byte, error) {
	if in, ok := r[id]; ok {
		return []byte(in), nil
	}
	return nil, status.Errorf(codes.NotFound, "no decision %s", id)
}

const refundInput = `{"server": {"name": "stripe"}, "method": "tools/call", "context": {"direction": "to_server"},
	"tool": {"name": "create_refund", "class": "read"}, "arguments": {"amount": 500000}}`

func TestService(t *testing.T) {
	l, put := fileLoader(t, SourceOptions{})
	s := NewService(l)
	explain := func(req *v1.ExplainDecisionRequest) (*v1.ExplainDecisionResponse, codes.Code) {
		res, err := s.ExplainDecision(t.Context(), req)
		return res, status.Code(err)
	}

	res, err := s.GetPolicyStatus(t.Context(), nil)
	if err != nil || res.GetReady() || res.GetActivatedAt() != nil {
		t.Errorf("before anything: %v, %v", res, err)
	}
	if _, code := explain(&v1.ExplainDecisionRequest{Input: []byte(refundInput)}); code != codes.FailedPrecondition {
		t.Errorf("explained without a policy: %v", code)
	}

	put(tarball(t, append(good("7"), entry{"more.rego", []byte("package policy.global.more\n\nallow contains \"x\" if input.method == \"x\"")})...))
	if err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	put([]byte("bad"))
	if l.Reload(t.Context()) == nil {
		t.Fatal("a bad bundle loads")
	}
	res, err = s.GetPolicyStatus(t.Context(), nil)
	if err != nil || !res.GetReady() || res.GetPolicy().GetRevision() != "7" || res.GetLastError() == "" ||
		res.GetLastErrorAt() == nil || res.GetRules()["policy.servers.stripe.deny"] != 1 || len(res.GetFindings()) != 1 {
		t.Errorf("status: %v, %v", res, err)
	}

	s.Recorded = recorded{"d1": refundInput}
	for _, req := range []*v1.ExplainDecisionRequest{{Input: []byte(refundInput)}, {DecisionId: "d1"}} {
		ex, code := explain(req)
		if code != codes.OK || ex.GetEffect() != v1.Effect_EFFECT_DENY || ex.GetReasonCode() != v1.ReasonCode_REASON_CODE_POLICY ||
			ex.GetReason() != "revision 7" || len(ex.GetFired()) != 2 || len(ex.GetWinning()) != 1 ||
			ex.GetPolicy().GetDigest() != l.Current().Revision().Digest || !strings.Contains(ex.GetTrace(), "stripe.rego") {
			t.Errorf("%v: %v, %v", req, code, ex)
			continue
		}
		if w := ex.GetWinning()[0]; w.GetPath() != "policy.servers.stripe.deny" || w.GetId() != "refund-cap" || w.GetFile() != "stripe.rego" || w.GetLine() != 6 {
			t.Errorf("winning rule: %v", w)
		}
	}
	put(tarball(t, append(good("8"), entry{"more.rego", []byte(`package policy.global.more

scope contains "a" if input.tool.name == "get"
allow contains "x" if input.tool.name in {"get", "put"}
credential contains "c" if input.tool.name == "put"
`)})...))
	if err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	get := `{"server": {"name": "x"}, "method": "tools/call", "tool": {"name": "get"}}`
	if ex, code := explain(&v1.ExplainDecisionRequest{Input: []byte(get)}); code != codes.OK || ex.GetReasonCode() != v1.ReasonCode_REASON_CODE_INSUFFICIENT_SCOPE ||
		len(ex.GetScopes()) != 1 || ex.GetScopes()[0] != "a" || len(ex.GetFired()) != 2 || ex.GetWinning()[0].GetPath() != "policy.global.more.scope" {
		t.Errorf("a scope that is lacking: %v, %v", code, ex)
	}
	if ex, code := explain(&v1.ExplainDecisionRequest{Input: []byte(strings.Replace(get, `"get"`, `"put"`, 1))}); code != codes.OK || ex.GetCredential() != "c" {
		t.Errorf("a credential: %v, %v", code, ex)
	}
	for _, tt := range []struct {
		req  *v1.ExplainDecisionRequest
		want codes.Code
	}{
		{&v1.ExplainDecisionRequest{}, codes.InvalidArgument},
		{&v1.ExplainDecisionRequest{Input: []byte("{}"), DecisionId: "d1"}, codes.InvalidArgument},
		{&v1.ExplainDecisionRequest{Input: []byte(`{"methd": "x"}`)}, codes.InvalidArgument},
		{&v1.ExplainDecisionRequest{DecisionId: "d2"}, codes.NotFound},
	} {
		if _, code := explain(tt.req); code != tt.want {
			t.Errorf("%v: %v, want %v", tt.req, code, tt.want)
		}
	}
	s.Recorded = nil
	if _, code := explain(&v1.ExplainDecisionRequest{DecisionId: "d1"}); code != codes.Unimplemented {
		t.Errorf("a decision id without records: %v", code)
	}
}
