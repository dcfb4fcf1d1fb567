package envoy

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// check asks, and holds that the answer is a denial or a pass in every respect.
func (s *seam) check(t *testing.T, r *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	res, err := s.Check(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	switch code := codes.Code(res.GetStatus().GetCode()); {
	case code == codes.OK && res.GetOkResponse() != nil:
	case code == codes.PermissionDenied && res.GetDeniedResponse() != nil:
	default:
		t.Fatalf("neither a denial nor a pass: %v", res)
	}
	return res
}

func decisionOf(res *authv3.CheckResponse) string {
	return text(res.GetDynamicMetadata(), metaDecision)
}

// over is the access log's word on a request that was forwarded and answered.
func over(id string) *datav3.HTTPAccessLogEntry {
	return &datav3.HTTPAccessLogEntry{
		CommonProperties: &datav3.AccessLogCommon{
			UpstreamRemoteAddress: &corev3.Address{},
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
				filterNamespace: {Fields: map[string]*structpb.Value{metaDecision: structpb.NewStringValue(id)}},
			}},
		},
		Response: &datav3.HTTPResponseProperties{
			ResponseCode: wrapperspb.UInt32(http.StatusOK), ResponseBodyBytes: 42, ResponseCodeDetails: "via_upstream",
		},
	}
}

func TestI1_CheckWithoutARequestIsAnError(t *testing.T) {
	s := newSeam(t)
	for name, r := range map[string]*authv3.CheckRequest{
		"nil": nil, "zero": {}, "without HTTP": {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}},
	} {
		if res, err := s.Check(t.Context(), r); status.Code(err) != codes.InvalidArgument || res != nil {
			t.Errorf("%s: %v, %v", name, res, err)
		}
	}
}

func TestI1_EveryDenialIsOne(t *testing.T) {
	s := newSeam(t)
	with := func(h ...string) []string { return append(slices.Clone(authorized), h...) }
	get := ask("", authorized...)
	get.Attributes.Request.Http.Method = http.MethodPut
	elsewhere := ask(frame("echo"), authorized...)
	elsewhere.Attributes.ContextExtensions[contextServer] = "other"
	for name, c := range map[string]struct {
		r      *authv3.CheckRequest
		status int
		body   string
	}{
		"denied":                      {ask(frame("never"), authorized...), 200, "[POLICY DENIED] No."},
		"hidden":                      {ask(frame("secret"), authorized...), 200, "Unknown tool: secret"},
		"without a token":             {ask(frame("echo")), 401, "error"},
		"not JSON":                    {ask("{", authorized...), 400, "error"},
		"without a body":              {ask("", authorized...), 400, "error"},
		"a batch":                     {ask("["+frame("echo")+"]", authorized...), 400, "error"},
		"two content types":           {ask(frame("echo"), with("content-type", "application/json")...), 400, "repeated"},
		"two tokens":                  {ask(frame("echo"), with("authorization", "Bearer x")...), 400, "error"},
		"two versions":                {ask(frame("echo"), with("mcp-protocol-version", "2025-11-25", "mcp-protocol-version", "2025-11-25")...), 400, "error"},
		"a body that is seen in part": {ask(frame("echo"), with("x-envoy-auth-partial-body", "true")...), 413, "too-large"},
		"another method":              {get, 405, ""},
		"another server":              {elsewhere, 404, ""},
	} {
		res := s.check(t, c.r).GetDeniedResponse()
		if int(res.GetStatus().GetCode()) != c.status || !strings.Contains(res.GetBody(), c.body) {
			t.Errorf("%s: %v", name, res)
		}
		for _, h := range res.GetHeaders() {
			if h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
				t.Errorf("%s: %v is appended", name, h)
			}
		}
	}
	s.empty(t)
}

func TestI6_WhatGoesOnIsTheGatewaysRequest(t *testing.T) {
	s := newSeam(t)
	res := s.check(t, ask(frame("echo"), append(slices.Clone(authorized),
		"cookie", "a=b", "x-key", "forged", "x-forwarded-for", "10.0.0.1", "x-forwarded-proto", "http", "x-envoy-retry-on", "5xx", "x-secret", "s",
		"te", "trailers", "mcp-protocol-version", "2025-11-25")...))
	ok, set := res.GetOkResponse(), map[string]string{}
	for _, h := range ok.GetHeaders() {
		if h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%v is appended", h)
		}
		set[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	if set["x-key"] != "upstream" || set["mcp-protocol-version"] != "2025-11-25" || set["content-type"] != "application/json" {
		t.Errorf("set: %v", set)
	}
	for _, name := range []string{"authorization", "cookie", "x-forwarded-for", "x-envoy-retry-on", "x-secret", "te"} {
		if _, stays := set[name]; stays || !slices.Contains(ok.GetHeadersToRemove(), name) {
			t.Errorf("the client's %s goes on", name)
		}
	}
	for _, name := range ok.GetHeadersToRemove() {
		if _, both := set[name]; both || name == "x-request-id" || name == "x-forwarded-proto" || strings.HasPrefix(name, ":") {
			t.Errorf("%s is removed", name) // where it is set as well, Envoy would remove it last
		}
	}
	if fields := res.GetDynamicMetadata().GetFields(); !fields[metaForward].GetBoolValue() || text(res.GetDynamicMetadata(), metaName) != "echo" {
		t.Errorf("left behind: %v", fields)
	}
	s.ended(over(decisionOf(res)))
}

// TestBothFormsOfHeadersAreRead: a mesh may send them as a map.
func TestBothFormsOfHeadersAreRead(t *testing.T) {
	s := newSeam(t)
	for _, mapped := range []bool{false, true} {
		for tool, want := range map[string]codes.Code{"echo": codes.OK, "never": codes.PermissionDenied} {
			r := ask(frame(tool), authorized...)
			if h := r.GetAttributes().GetRequest().GetHttp(); mapped {
				h.Headers = map[string]string{}
				for _, v := range h.GetHeaderMap().GetHeaders() {
					h.Headers[v.GetKey()] = string(v.GetRawValue())
				}
				h.HeaderMap = nil
			}
			res := s.check(t, r)
			if got := codes.Code(res.GetStatus().GetCode()); got != want {
				t.Errorf("%s (as a map: %t): %v", tool, mapped, res)
			}
			s.ended(over(decisionOf(res)))
		}
	}
}

// TestI2_BodyAsTextIsAnError: text has other bytes than what Envoy forwards.
func TestI2_BodyAsTextIsAnError(t *testing.T) {
	s := newSeam(t)
	r := ask("", authorized...)
	r.GetAttributes().GetRequest().GetHttp().Body = frame("echo")
	if res, err := s.Check(t.Context(), r); status.Code(err) != codes.InvalidArgument || res != nil {
		t.Errorf("%v, %v", res, err)
	}
}

func TestI1_CheckThatIsOverNeverPasses(t *testing.T) {
	s := newSeam(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 200 {
		if res, err := s.Check(gone, ask(frame("echo"), authorized...)); err == nil || res != nil {
			t.Fatalf("passed: %v", res)
		}
	}
	s.empty(t)
	s.close()
	for id, outcomes := range s.decider.completed {
		for _, o := range outcomes {
			if o.GetForwarded() {
				t.Errorf("%s counts as forwarded: %v", id, o)
			}
		}
	}
}

func TestI5_AccessLogCompletesOnce(t *testing.T) {
	s := newSeam(t)
	one, two := s.check(t, ask(frame("echo"), authorized...)), s.check(t, ask(frame("echo"), authorized...))
	if n := s.under(); n != 2 {
		t.Fatalf("%d requests are under way, want 2", n)
	}
	for range 3 {
		s.ended(over(decisionOf(one)))
	}
	unsent := over(decisionOf(two))
	unsent.CommonProperties.UpstreamRemoteAddress = nil
	unsent.Response.ResponseCodeDetails = "no_healthy_upstream"
	s.ended(unsent)
	s.ended(over("d-of-nobody"))
	s.ended(&datav3.HTTPAccessLogEntry{})

	if o := s.outcomes(decisionOf(one)); len(o) != 1 || !o[0].GetForwarded() || o[0].GetStatus() != http.StatusOK || o[0].GetBytes() != 42 || o[0].GetError() != "" {
		t.Errorf("the answered call: %v", o)
	}
	if o := s.outcomes(decisionOf(two)); len(o) != 1 || o[0].GetForwarded() || o[0].GetError() != "envoy: no_healthy_upstream" {
		t.Errorf("the call that was not sent: %v", o)
	}
	s.empty(t)
}
