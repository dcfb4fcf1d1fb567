package bootstrap

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// listener is the one place where clients come in.
func (s *settled) listener(p *packer) *listenerv3.Listener {
	chain := &listenerv3.FilterChain{
		Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: p.pack(s.connectionManager(p))},
		}},
	}
	if s.tls.Cert != "" {
		chain.TransportSocket = s.tls.transportSocket(p)
	}
	return &listenerv3.Listener{
		Name:         "mcp",
		Address:      s.listen,
		FilterChains: []*listenerv3.FilterChain{chain},
		// A whole frame has to find room, and a frame that just is too long.
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(max(2<<20, 2*s.maxBytes)),
	}
}

func (s *settled) connectionManager(p *packer) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix: "mcp",
		CodecType:  hcmv3.HttpConnectionManager_AUTO,
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout: durationpb.New(2 * time.Minute), // of a connection without requests
			// Servers that turn "-" into "_" must not see two headers as one.
			HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_REJECT_REQUEST,
		},
		MaxRequestHeadersKb: wrapperspb.UInt32(32),

		// What is decided on, what is routed, and what the server sees is one
		// path, in one spelling.
		NormalizePath:                wrapperspb.Bool(true),
		MergeSlashes:                 true,
		PathWithEscapedSlashesAction: hcmv3.HttpConnectionManager_REJECT_REQUEST,

		// Nobody is believed what only a proxy could know: x-envoy-* headers,
		// addresses, certificates and request ids of clients end here. For that
		// InternalAddressConfig has to be absent: an empty one takes private and
		// loopback addresses for internal, and theirs would be obeyed.
		UseRemoteAddress:         wrapperspb.Bool(true),
		ForwardClientCertDetails: hcmv3.HttpConnectionManager_SANITIZE,
		GenerateRequestId:        wrapperspb.Bool(true),

		// Streams are silent for as long as they like. A request has to arrive,
		// and an answer to be taken.
		StreamIdleTimeout:     durationpb.New(0),
		RequestHeadersTimeout: durationpb.New(5 * time.Second),
		RequestTimeout:        durationpb.New(30 * time.Second),
		StreamFlushTimeout:    durationpb.New(30 * time.Second),

		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		RouteSpecifier:             &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: s.routes(p)},
		HttpFilters:                []*hcmv3.HttpFilter{s.decide(p), readAnswers(p), route(p)},
		LocalReplyConfig:           localReplies(p),
		AccessLog:                  s.accessLogs(p),
	}
}

func (t TLS) transportSocket(p *packer) *corev3.TransportSocket {
	common := &tlsv3.CommonTlsContext{
		TlsParams:       oldestTLS(),
		AlpnProtocols:   []string{"h2", "http/1.1"},
		TlsCertificates: []*tlsv3.TlsCertificate{{CertificateChain: fileSource(t.Cert), PrivateKey: fileSource(t.Key)}},
	}
	if t.ClientCA != "" {
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: fileSource(t.ClientCA)},
		}
	}
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: p.pack(&tlsv3.DownstreamTlsContext{
			CommonTlsContext:         common,
			RequireClientCertificate: wrapperspb.Bool(t.ClientCA != ""),
		})},
	}
}
