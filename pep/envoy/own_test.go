package envoy

import (
	"net"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// process opens an ext_proc stream to a server that has no exchange.
func process(t *testing.T) procv3.ExternalProcessor_ProcessClient {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	NewServer(Options{}).Register(s)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	stream, err := procv3.NewExternalProcessorClient(conn).Process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// headOf is the first message about an answer, with what a check has left.
func headOf(t *testing.T, left map[string]any) *procv3.ProcessingRequest {
	t.Helper()
	m, err := structpb.NewStruct(left)
	if err != nil {
		t.Fatal(err)
	}
	return &procv3.ProcessingRequest{
		MetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{filterNamespace: m}},
		Request:         &procv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &procv3.HttpHeaders{}},
	}
}

func TestARefusalPassesAsItIs(t *testing.T) {
	for _, effect := range []string{"deny", "hide", "approve"} {
		stream := process(t)
		for _, m := range []*procv3.ProcessingRequest{
			headOf(t, map[string]any{metaDecision: "d1", metaEffect: effect}),
			{Request: &procv3.ProcessingRequest_ResponseBody{ResponseBody: &procv3.HttpBody{Body: []byte("no"), EndOfStream: true}}},
		} {
			if err := stream.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		head, err := stream.Recv()
		if err != nil || head.GetResponseHeaders() == nil || head.GetResponseHeaders().GetResponse() != nil {
			t.Fatalf("%s: head %v, %v", effect, head, err)
		}
		body, err := stream.Recv()
		got := body.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse()
		if err != nil || string(got.GetBody()) != "no" || !got.GetEndOfStream() {
			t.Errorf("%s: body %v, %v", effect, body, err)
		}
	}
}

// TestI1_AnAnswerOfNobodyIsRefused has what no check of this process is known
// to have said of.
func TestI1_AnAnswerOfNobodyIsRefused(t *testing.T) {
	for name, left := range map[string]map[string]any{
		"nothing":                   {},
		"an allow of another":       {metaDecision: "d1", metaEffect: "allow", metaForward: true},
		"an allow without more":     {metaDecision: "d1", metaEffect: "allow"},
		"a refusal that went on":    {metaDecision: "d1", metaEffect: "deny", metaForward: true},
		"a refusal of no decision":  {metaEffect: "deny"},
		"an effect of another kind": {metaDecision: "d1", metaEffect: "perhaps"},
	} {
		stream := process(t)
		if err := stream.Send(headOf(t, left)); err != nil {
			t.Fatal(err)
		}
		if m, err := stream.Recv(); status.Code(err) != codes.NotFound {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}
