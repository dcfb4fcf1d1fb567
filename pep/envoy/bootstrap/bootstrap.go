// Package bootstrap writes the configuration of an Envoy that enforces what
// `mcpermit-pep envoy` decides: one listener in front of MCP servers, where
// every request is put to the enforcement point (ext_authz, with its body), the
// answers that the enforcement point wants to read pass through it (ext_proc),
// and the access log tells it what became of the rest.
//
// It is built of Envoy's own protocol buffers, for Envoy 1.40, and checked
// against the rules that they carry. Nothing in it fails open.
package bootstrap

import (
	"fmt"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// streams is how many connections, and how many requests to one cluster, there
// may be at a time. An open event stream holds one of each for as long as it
// lives, and Envoy's own 1024 would soon refuse everything else.
const streams = 20_000

// New returns the configuration that the options describe. The error says which
// option to change, and how.
func New(o Options) (*bootstrapv3.Bootstrap, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	var p packer
	b := &bootstrapv3.Bootstrap{
		// The access log service is sent the node's id, and Envoy insists on one.
		Node: &corev3.Node{Id: "mcpermit", Cluster: "mcpermit"},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Listeners: []*listenerv3.Listener{s.listener(&p)},
			Clusters:  []*clusterv3.Cluster{s.deciding(&p), s.answering(&p)},
		},
		OverloadManager: &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name: "envoy.resource_monitors.global_downstream_max_connections",
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: p.pack(
				&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: streams},
			)},
		}}},
	}
	for _, up := range s.upstreams {
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, up.cluster(&p, s.upstreamCA))
	}
	if s.admin != nil {
		b.Admin = &bootstrapv3.Admin{Address: s.admin}
	}
	p.check(b)
	if p.err != nil {
		return nil, fmt.Errorf("the configuration breaks Envoy's rules: %w", p.err)
	}
	return b, nil
}

// packer packs messages into Any and keeps the first error, so that the
// configuration reads as one expression.
type packer struct{ err error }

// pack checks and packs a message. Its bytes do not depend on the run.
func (p *packer) pack(m proto.Message) *anypb.Any {
	p.check(m)
	packed := new(anypb.Any)
	if err := anypb.MarshalFrom(packed, m, proto.MarshalOptions{Deterministic: true}); err != nil && p.err == nil {
		p.err = err
	}
	return packed
}

// check holds a message against the rules of its proto file. These do not look
// into an Any, which is why every message is checked where it is packed.
func (p *packer) check(m proto.Message) {
	checked, ok := m.(interface{ ValidateAll() error })
	if !ok || p.err != nil {
		return
	}
	if err := checked.ValidateAll(); err != nil {
		p.err = fmt.Errorf("%s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
}
