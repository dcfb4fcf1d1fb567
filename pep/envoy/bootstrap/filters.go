package bootstrap

import (
	"time"

	rulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// MetadataNamespace is where dynamic metadata has what the enforcement point
// says of a request. It is also the name of the filter that asks.
const MetadataNamespace = decideFilter

// ReadAnswerKey is the metadata key that the enforcement point sets to true
// where it wants to read the answer whatever it is. Anything else, and no word
// at all, lets an ordinary answer pass by it (see unreadAnswers).
const ReadAnswerKey = "read_answer"

// ForwardedKey is the metadata key that is true for requests that were allowed.
// An answer without it is Envoy's own, or the enforcement point's refusal, which
// passes this way too.
const ForwardedKey = "forwarded"

const (
	decideFilter  = "envoy.filters.http.ext_authz"
	answersFilter = "mcpermit.answers"
)

// answerBodyMode is how the body of an answer reaches the enforcement point: as
// it comes, and what comes back is as long as it likes.
const answerBodyMode = procv3.ProcessingMode_FULL_DUPLEX_STREAMED

// decidingTimeout is for an enforcement point that hangs. One that works has
// shorter deadlines of its own and says so in MCP: the decision's, and 3 s for a
// server's listing, which has to be known before the first call is decided.
const decidingTimeout = 5 * time.Second

// decide puts every request to the enforcement point, whole. It is closed in
// every respect: a late, missing or ill-formed word is a 503.
func (s *settled) decide(p *packer) *hcmv3.HttpFilter {
	return httpFilter(p, decideFilter, &authzv3.ExtAuthz{
		Services: &authzv3.ExtAuthz_GrpcService{GrpcService: grpcService(decidingCluster, decidingTimeout)},

		TransportApiVersion: corev3.ApiVersion_V3,
		FailureModeAllow:    false,
		StatusOnError:       unavailable(),
		WithRequestBody: &authzv3.BufferSettings{
			// One more than a frame may have. Envoy 1.40 answers a longer body
			// itself, unless the part that exceeds the limit also ends the
			// request, as an HTTP/2 client can arrange: then it asks about the
			// beginning of the body, exactly as long as the limit, and would
			// forward all of it. So what is cut off is always too long for the
			// enforcement point. (Envoy's body_size_limit filter would do, but
			// writes the query, and with it a token, to Envoy's log.)
			MaxRequestBytes:     s.maxBytes + 1,
			AllowPartialMessage: false,
			PackAsBytes:         true, // text would lose what is not UTF-8
		},
		EncodeRawHeaders:       true, // joined, one header sent twice looks like one
		IncludePeerCertificate: true,
		IncludeTlsSession:      true,
		ValidateMutations:      true,
	})
}

// readAnswers passes answers through the enforcement point, where it asked for
// that when it allowed the request. So it has to stand after decide: in front
// of it, it would never see the word and always be skipped.
func readAnswers(p *packer) *hcmv3.HttpFilter {
	return httpFilter(p, answersFilter, &matchingv3.ExtensionWithMatcher{
		XdsMatcher: unreadAnswers(p),
		ExtensionConfig: &corev3.TypedExtensionConfig{
			Name: "envoy.filters.http.ext_proc",
			TypedConfig: p.pack(&procv3.ExternalProcessor{
				GrpcService:      grpcService(answeringCluster, 0), // as long as the answer
				FailureModeAllow: false,
				StatusOnError:    unavailable(),
				MessageTimeout:   durationpb.New(time.Second),
				ProcessingMode: &procv3.ProcessingMode{
					RequestHeaderMode:   procv3.ProcessingMode_SKIP,
					RequestBodyMode:     procv3.ProcessingMode_NONE,
					RequestTrailerMode:  procv3.ProcessingMode_SKIP,
					ResponseHeaderMode:  procv3.ProcessingMode_SEND,
					ResponseBodyMode:    answerBodyMode,
					ResponseTrailerMode: procv3.ProcessingMode_SEND,
				},
				MetadataOptions: &procv3.MetadataOptions{
					ForwardingNamespaces: &procv3.MetadataOptions_MetadataNamespaces{Untyped: []string{MetadataNamespace}},
				},
				// A change that is not made must not look like one that is.
				MutationRules: &rulesv3.HeaderMutationRules{DisallowIsError: wrapperspb.Bool(true)},
			}),
		},
	})
}

// route is the last filter: it sends the request on.
func route(p *packer) *hcmv3.HttpFilter {
	return httpFilter(p, "envoy.filters.http.router", &routerv3.Router{SuppressEnvoyHeaders: true})
}

func httpFilter(p *packer, name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: p.pack(config)}}
}

// grpcService calls the enforcement point. A timeout of 0 is none.
func grpcService(cluster string, timeout time.Duration) *corev3.GrpcService {
	return &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}},
		Timeout:         durationpb.New(timeout),
	}
}

// unavailable is what a request gets that nobody decided on. Envoy's own choice
// is 403, which clients take for a refusal.
func unavailable() *typev3.HttpStatus {
	return &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable}
}
