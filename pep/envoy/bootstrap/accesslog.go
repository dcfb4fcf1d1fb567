package bootstrap

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	grpcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// AccessLogName is the log_name under which the enforcement point is told what
// became of the requests.
const AccessLogName = "mcpermit"

func (s *settled) accessLogs(p *packer) []*accesslogv3.AccessLog {
	logs := []*accesslogv3.AccessLog{accessLog(p, "envoy.access_loggers.http_grpc", &grpcv3.HttpGrpcAccessLogConfig{
		CommonConfig: &grpcv3.CommonGrpcAccessLogConfig{
			LogName:             AccessLogName,
			GrpcService:         grpcService(decidingCluster, 0),
			TransportApiVersion: corev3.ApiVersion_V3,
			BufferFlushInterval: durationpb.New(200 * time.Millisecond),
		},
	})}
	switch s.accessLog {
	case "":
	case "-":
		logs = append(logs, accessLog(p, "envoy.access_loggers.stdout", &streamv3.StdoutAccessLog{
			AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: line()},
		}))
	default:
		logs = append(logs, accessLog(p, "envoy.access_loggers.file", &filev3.FileAccessLog{
			Path: s.accessLog, AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: line()},
		}))
	}
	return logs
}

func accessLog(p *packer, name string, config proto.Message) *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{Name: name, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: p.pack(config)}}
}

// line is one request in JSON. It has no path and no header of the client's: a
// token could be in them (I6).
func line() *corev3.SubstitutionFormatString {
	fields := map[string]string{
		"time":        "%START_TIME%",
		"request_id":  "%REQ(X-REQUEST-ID)%",
		"server":      "%ROUTE_NAME%",
		"method":      "%REQ(:METHOD)%",
		"status":      "%RESPONSE_CODE%",
		"details":     "%RESPONSE_CODE_DETAILS%",
		"flags":       "%RESPONSE_FLAGS%",
		"duration_ms": "%DURATION%",
		"sent_bytes":  "%BYTES_SENT%",
	}
	for _, key := range []string{"decision_id", "effect", "rule", "mcp_method", "mcp_name"} {
		fields[key] = "%DYNAMIC_METADATA(" + MetadataNamespace + ":" + key + ")%"
	}
	format := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(fields))}
	for key, value := range fields {
		format.Fields[key] = structpb.NewStringValue(value)
	}
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: format}}
}
