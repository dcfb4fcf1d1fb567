package envoy

import (
	"errors"
	"io"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
	"github.com/mcpermit/mcpermit/pep/proxy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// filterNamespace is where Envoy keeps what a check left behind.
const filterNamespace = bootstrap.MetadataNamespace

// StreamAccessLogs implements envoy.service.accesslog.v3: Envoy tells how each
// request has ended. It does so on one stream for as long as it runs, so that the
// end has to come from here.
func (s *Server) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	ended := make(chan error, 1)
	go func() { ended <- s.listen(stream) }()
	select {
	case err := <-ended:
		return err
	case <-s.closed:
		return status.Error(codes.Unavailable, "the enforcement point shuts down")
	}
}

func (s *Server) listen(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&accesslogv3.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		for _, entry := range m.GetHttpLogs().GetLogEntry() {
			s.ended(entry)
		}
	}
}

// ended takes the end of a request whose answer nobody has read here.
func (s *Server) ended(entry *datav3.HTTPAccessLogEntry) {
	left := entry.GetCommonProperties().GetMetadata().GetFilterMetadata()[filterNamespace]
	// One that is not here was denied, its answer was read, or it is of before a
	// restart: its outcome stays open.
	if x := s.exchanges.get(text(left, metaDecision)); x != nil {
		x.settle(upstreamHead{err: &proxy.Reported{Outcome: outcome(entry)}})
	}
}

func outcome(entry *datav3.HTTPAccessLogEntry) *v1.Outcome {
	common := entry.GetCommonProperties()
	o := &v1.Outcome{
		// An upstream that was chosen may have seen the request.
		Forwarded: common.GetUpstreamRemoteAddress() != nil,
		Status:    int32(entry.GetResponse().GetResponseCode().GetValue()),
		Bytes:     int64(entry.GetResponse().GetResponseBodyBytes()),
		Duration:  common.GetTimeToLastDownstreamTxByte(),
	}
	if o.Duration == nil {
		o.Duration = durationpb.New(0)
	}
	if why := entry.GetResponse().GetResponseCodeDetails(); why != "" && why != "via_upstream" {
		o.Error = "envoy: " + why
	}
	return o
}
