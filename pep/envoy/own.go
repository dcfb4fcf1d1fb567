package envoy

import (
	"errors"
	"io"

	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// isRefusal says of what a check left behind that it was a refusal, or an answer to
// what is no frame: the answer is then the gateway's own. Only where ext_proc can't be entered by metadata
// (Envoy Gateway) do such answers come here. Without a word of any check the
// answer is not known to be anybody's.
func isRefusal(left *structpb.Struct) bool {
	if left.GetFields()[metaAnswered].GetBoolValue() {
		return !left.GetFields()[metaForward].GetBoolValue()
	}
	switch text(left, metaEffect) {
	case "deny", "hide", "approve":
		return text(left, metaDecision) != "" && !left.GetFields()[metaForward].GetBoolValue()
	}
	return false
}

// echo lets an answer pass as it is.
func echo(stream procv3.ExternalProcessor_ProcessServer, m *procv3.ProcessingRequest) error {
	for {
		var reply *procv3.ProcessingResponse
		switch m := m.GetRequest().(type) {
		case *procv3.ProcessingRequest_ResponseHeaders:
			reply = &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &procv3.HeadersResponse{}}}
		case *procv3.ProcessingRequest_ResponseBody:
			reply = streamed(m.ResponseBody.GetBody(), m.ResponseBody.GetEndOfStream())
		case *procv3.ProcessingRequest_ResponseTrailers:
			reply = &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &procv3.TrailersResponse{}}}
		}
		if err := stream.Send(reply); err != nil {
			return err
		}
		next, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		m = next
	}
}

// streamed is a part of a body in mode FULL_DUPLEX_STREAMED.
func streamed(b []byte, end bool) *procv3.ProcessingResponse {
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseBody{
		ResponseBody: &procv3.BodyResponse{Response: &procv3.CommonResponse{BodyMutation: &procv3.BodyMutation{
			Mutation: &procv3.BodyMutation_StreamedResponse{StreamedResponse: &procv3.StreamedBodyResponse{Body: b, EndOfStream: end}},
		}}},
	}}
}
