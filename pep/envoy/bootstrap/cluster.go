package bootstrap

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The enforcement point has two clusters at one address: an answer that is read
// holds a request for as long as it lasts, and decisions must not wait for it.
const (
	decidingCluster  = "mcpermit"
	answeringCluster = "mcpermit_answers"
)

// deciding is for questions (ext_authz), and for what became of them.
func (s *settled) deciding(p *packer) *clusterv3.Cluster { return s.pepCluster(p, decidingCluster) }

// answering is for the answers that are read (ext_proc).
func (s *settled) answering(p *packer) *clusterv3.Cluster { return s.pepCluster(p, answeringCluster) }

func (s *settled) pepCluster(p *packer, name string) *clusterv3.Cluster {
	c := newCluster(name, s.pep, 250*time.Millisecond)
	c.TypedExtensionProtocolOptions = httpOptions(p, &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
				},
			},
		},
	})
	// Without active checks half of the questions would go to a replica that is
	// gone, and with a panic threshold all of them would, once most are gone. Envoy
	// holds news of health back for a second where they follow on others: so long
	// would one that has come back not be asked.
	c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
		HealthyPanicThreshold: &typev3.Percent{Value: 0}, UpdateMergeWindow: durationpb.New(0),
	}
	c.HealthChecks = []*corev3.HealthCheck{{
		Timeout:            durationpb.New(500 * time.Millisecond),
		Interval:           durationpb.New(time.Second),
		UnhealthyThreshold: wrapperspb.UInt32(2),
		HealthyThreshold:   wrapperspb.UInt32(1),
		// The default is a minute: an Envoy that starts first would stay closed
		// that long.
		NoTrafficInterval: durationpb.New(time.Second),
		UnhealthyInterval: durationpb.New(250 * time.Millisecond),
		HealthChecker: &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{
			ServiceName: "envoy.service.auth.v3.Authorization",
		}},
	}}
	if s.pep.GetSocketAddress() != nil {
		// A host that vanishes closes no connection.
		c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes: wrapperspb.UInt32(3), KeepaliveTime: wrapperspb.UInt32(10), KeepaliveInterval: wrapperspb.UInt32(5),
		}}
	}
	return c
}

// clusterName keeps the servers' names apart from the enforcement point's own
// clusters: "_" is in no server's name but here.
func (up *upstream) clusterName() string { return "server_" + up.name }

func (up *upstream) cluster(p *packer, authorities string) *clusterv3.Cluster {
	c := newCluster(up.clusterName(), socketAddress(up.host, up.port), 5*time.Second)
	options := &httpv3.HttpProtocolOptions{
		// Idle connections go before the 5 s after which the usual servers
		// close theirs: a POST that meets a closing connection is lost, since
		// it must not be sent twice.
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(4 * time.Second)},
	}
	if up.secure {
		c.TransportSocket = up.transportSocket(p, authorities)
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_AutoConfig{
			AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{
				HttpProtocolOptions:  &corev3.Http1ProtocolOptions{},
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
			},
		}
	} else {
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
					HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
				},
			},
		}
	}
	c.TypedExtensionProtocolOptions = httpOptions(p, options)
	return c
}

// transportSocket is TLS to a server whose certificate is valid for its name,
// which Envoy by itself would not look at.
func (up *upstream) transportSocket(p *packer, authorities string) *corev3.TransportSocket {
	san := &tlsv3.SubjectAltNameMatcher{
		SanType: tlsv3.SubjectAltNameMatcher_DNS,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: up.host}},
	}
	sni := up.host
	if isIP(up.host) {
		san.SanType, sni = tlsv3.SubjectAltNameMatcher_IP_ADDRESS, ""
	}
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: p.pack(&tlsv3.UpstreamTlsContext{
			Sni: sni,
			CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsParams: oldestTLS(),
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{
					ValidationContext: &tlsv3.CertificateValidationContext{
						TrustedCa:                 fileSource(authorities),
						MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{san},
					},
				},
			},
		})},
	}
}

// newCluster has one endpoint: an IP address or a socket as it is, a name as
// DNS has it from time to time.
func newCluster(name string, at *corev3.Address, connect time.Duration) *clusterv3.Cluster {
	kind := clusterv3.Cluster_STATIC
	c := &clusterv3.Cluster{
		Name:           name,
		ConnectTimeout: durationpb.New(connect),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: wrapperspb.UInt32(streams), MaxPendingRequests: wrapperspb.UInt32(streams), MaxRequests: wrapperspb.UInt32(streams),
		}}},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: at}},
			}}}},
		},
	}
	if socket := at.GetSocketAddress(); socket != nil && !isIP(socket.GetAddress()) {
		kind = clusterv3.Cluster_STRICT_DNS
		// The default takes IPv6 where there is any, and "localhost" has it even
		// where nothing listens there.
		c.DnsLookupFamily = clusterv3.Cluster_V4_PREFERRED
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: kind}
	return c
}

func httpOptions(p *packer, o *httpv3.HttpProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": p.pack(o)}
}

func oldestTLS() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2}
}

func fileSource(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}
