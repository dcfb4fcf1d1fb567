package envoy

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
)

// allow lets a request pass, with dynamic metadata in names and values.
func allow(pairs ...any) *authv3.CheckResponse {
	metadata := &structpb.Struct{Fields: map[string]*structpb.Value{bootstrap.ForwardedKey: structpb.NewBoolValue(true)}}
	for pair := range slices.Chunk(pairs, 2) {
		v, err := structpb.NewValue(pair[1])
		if err != nil {
			panic(err) // the test's own value
		}
		metadata.Fields[pair[0].(string)] = v
	}
	return &authv3.CheckResponse{
		Status:          &status.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
		DynamicMetadata: metadata,
	}
}

// deny refuses with an answer in JSON.
func deny(code int, body string) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode(code)},
			Headers: []*corev3.HeaderValueOption{{
				Header:       &corev3.HeaderValue{Key: "content-type", Value: "application/json"},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			}},
			Body: body,
		}},
	}
}

// answered answers an ext_proc stream: headers as they are, and of each part of
// the body what the function makes of it; nil is nothing.
func answered(s procv3.ExternalProcessor_ProcessServer, part func(*procv3.HttpBody) *procv3.ProcessingResponse) error {
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		var reply *procv3.ProcessingResponse
		switch r := r.GetRequest().(type) {
		case *procv3.ProcessingRequest_ResponseHeaders:
			reply = &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseHeaders{
				ResponseHeaders: &procv3.HeadersResponse{},
			}}
		case *procv3.ProcessingRequest_ResponseBody:
			reply = part(r.ResponseBody)
		}
		if reply == nil {
			continue
		}
		if err := s.Send(reply); err != nil {
			return err
		}
	}
}

// echo answers with what it is given.
func echo(s procv3.ExternalProcessor_ProcessServer) error {
	return answered(s, func(b *procv3.HttpBody) *procv3.ProcessingResponse { return streamed(b.GetBody(), b.GetEndOfStream()) })
}

// rewrite answers with one body in the place of the server's.
func rewrite(s procv3.ExternalProcessor_ProcessServer, body string) error {
	return answered(s, func(b *procv3.HttpBody) *procv3.ProcessingResponse {
		if !b.GetEndOfStream() {
			return nil
		}
		return streamed([]byte(body), true)
	})
}

func streamed(b []byte, end bool) *procv3.ProcessingResponse {
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseBody{ResponseBody: &procv3.BodyResponse{
		Response: &procv3.CommonResponse{BodyMutation: &procv3.BodyMutation{Mutation: &procv3.BodyMutation_StreamedResponse{
			StreamedResponse: &procv3.StreamedBodyResponse{Body: b, EndOfStream: end},
		}}},
	}}}
}

// withhold answers an ext_proc stream with an answer of the enforcement point's
// own, before any of the server's was sent on.
func withhold(s procv3.ExternalProcessor_ProcessServer, code int, body string) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	return s.Send(&procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ImmediateResponse{
		ImmediateResponse: &procv3.ImmediateResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode(code)}, Body: []byte(body),
		},
	}})
}
