package envoy

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// The members of the metadata that a check leaves behind, in the namespace of
// the filter (envoy.filters.http.ext_authz).
const (
	metaDecision = "decision_id"
	metaEffect   = "effect"
	metaReason   = "reason_code"
	metaRule     = "rule" // path#id of the first rule that fired
	metaServer   = "server"
	metaMethod   = "mcp_method"
	metaName     = "mcp_name"
	metaAnswered = "answered"              // bool: by the gateway, and nothing was decided
	metaForward  = bootstrap.ForwardedKey  // bool: allowed
	metaRead     = bootstrap.ReadAnswerKey // bool: the answer has to be read, whatever it is
)

// Check implements envoy.service.auth.v3.Authorization. An error, for which
// Envoy refuses the request, means that there was no decision in time.
func (s *Server) Check(ctx context.Context, req *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	x := newExchange()
	r, err := s.newRequest(x.ctx, req)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	go x.serve(s.proxy, r)
	select {
	case forwarded := <-x.handed:
		if ctx.Err() == nil && s.exchanges.add(x) {
			return passed(x, r, forwarded), nil
		}
	case <-x.done:
		return denied(x), nil
	case <-ctx.Done():
	}
	x.abandon(errCheckOver)
	return nil, status.Error(codes.DeadlineExceeded, errCheckOver.Error())
}

// denied is what the proxy answered instead of passing the request on. The
// status is what denies, whatever the answer: a response without one lets pass.
func denied(x *exchange) *authv3.CheckResponse {
	left := metadata(x)
	if x.decision == nil {
		left.Fields[metaAnswered] = structpb.NewBoolValue(true)
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode(x.code())}, Headers: x.headers(setHeader), Body: string(x.buffer),
		}},
		DynamicMetadata: left,
	}
}

// passed lets the client's request go on as the proxy would have sent it.
func passed(x *exchange, client, forwarded *http.Request) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{}
	if x.question.GetKind() == v1.FrameKind_FRAME_KIND_REQUEST && !x.passage.ReadAnswer {
		ok.ResponseHeadersToAdd = unreadHeaders
	}
	for _, name := range slices.Sorted(maps.Keys(forwarded.Header)) {
		ok.Headers = append(ok.Headers, setHeader(name, strings.Join(forwarded.Header[name], ", ")))
	}
	for _, name := range slices.Sorted(maps.Keys(client.Header)) {
		if _, stays := forwarded.Header[name]; !stays && !isEnvoys(name) {
			ok.HeadersToRemove = append(ok.HeadersToRemove, strings.ToLower(name))
		}
	}
	// Envoy escapes nothing, and with validate_mutations takes nothing that is
	// escaped either (1.40): the proxy lets through what needs none.
	for name, value := range pep.Query(x.decision.GetObligations()) {
		ok.QueryParametersToSet = append(ok.QueryParametersToSet, &corev3.QueryParameter{Key: name, Value: value})
	}
	left := metadata(x)
	left.Fields[metaForward] = structpb.NewBoolValue(true)
	left.Fields[metaRead] = structpb.NewBoolValue(x.passage.ReadAnswer)
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: left,
	}
}

// isEnvoys says of a header that Envoy manages it, or needs it on the way. The
// X-Envoy-* headers are not among them: Envoy adds its own after this, and one
// that it has left of a client's could still have a request repeated.
func isEnvoys(name string) bool {
	switch name {
	case "Connection", "X-Request-Id", "X-Forwarded-Proto":
		return true
	}
	return false
}

// unreadHeaders are those that every answer of the gateway's has to a request.
// Answers that are not read get them from Envoy.
var unreadHeaders = []*corev3.HeaderValueOption{setHeader("Cache-Control", "no-store"), setHeader("X-Content-Type-Options", "nosniff")}

// setHeader is for ext_authz, which reads values as text alone.
func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: strings.ToLower(name), Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// metadata is what Envoy's access log, and the filters behind this one, see of
// the decision.
func metadata(x *exchange) *structpb.Struct {
	d := x.decision
	fields := map[string]*structpb.Value{}
	text := func(name, value string) {
		if value != "" {
			fields[name] = structpb.NewStringValue(strings.ToValidUTF8(value, "\uFFFD"))
		}
	}
	text(metaDecision, d.GetDecisionId())
	text(metaEffect, pep.EffectName(d.GetEffect()))
	text(metaReason, pep.ReasonName(d.GetReasonCode()))
	if rules := d.GetRules(); len(rules) > 0 {
		text(metaRule, rules[0].GetPath()+"#"+rules[0].GetId())
	}
	text(metaServer, x.question.GetServer())
	text(metaMethod, x.question.GetMethod())
	text(metaName, x.question.GetTarget().GetName())
	return &structpb.Struct{Fields: fields}
}
