package manifests

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	mesh "istio.io/api/mesh/v1alpha1"
	istionetworking "istio.io/api/networking/v1alpha3"
	istiosecurity "istio.io/api/security/v1beta1"
	istionetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	istionetworkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istiosecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	appsv1 "k8s.io/api/apps/v1"
	syaml "sigs.k8s.io/yaml"
)

type grpcProvider = mesh.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationGrpcProvider

// istio is what has to fit together there.
type istio struct {
	cluster  *cluster
	name     string // the provider's
	provider *grpcProvider
	filter   *istionetworking.EnvoyFilter
	gateway  map[string]string // labels of the gateway's pods
}

// checkIstio takes the manifests and the part of the mesh's configuration.
func checkIstio(text, meshConfig string) error {
	c, err := decode(text)
	if err != nil {
		return err
	}
	i := &istio{cluster: c}
	if err := i.find(meshConfig); err != nil {
		return err
	}
	return errors.Join(i.checkProvider(), i.checkWiring(), i.checkRoutes(), i.checkFilter())
}

func (i *istio) find(meshConfig string) error {
	text, err := syaml.YAMLToJSONStrict([]byte(meshConfig))
	if err != nil {
		return err
	}
	var m mesh.MeshConfig
	if err := protojson.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("mesh config: %w", err)
	}
	if len(m.GetExtensionProviders()) != 1 || m.GetExtensionProviders()[0].GetEnvoyExtAuthzGrpc() == nil {
		return errors.New("mesh config: want one provider, of gRPC")
	}
	i.name, i.provider = m.GetExtensionProviders()[0].GetName(), m.GetExtensionProviders()[0].GetEnvoyExtAuthzGrpc()
	filter, err := named[*istionetworkingv1alpha3.EnvoyFilter](i.cluster, "mcpermit")
	if err != nil {
		return err
	}
	gateway, err := named[*appsv1.Deployment](i.cluster, "mcp-gateway")
	if err != nil {
		return err
	}
	i.filter, i.gateway = &filter.Spec, gateway.Spec.Template.Labels
	return nil
}

func (i *istio) checkProvider() error {
	var f faults
	p, body := i.provider, i.provider.GetIncludeRequestBodyInCheck()
	f.unless(!p.GetFailOpen(), "provider: fails open")
	f.unless(p.GetTimeout() != nil && p.GetTimeout().AsDuration() <= 10*time.Second, "provider: a request waits %s for a decision", p.GetTimeout().AsDuration())
	f.unless(p.GetStatusOnError() == "503", "provider: status %q where nobody decided", p.GetStatusOnError())
	f.unless(!p.GetClearRouteCache(), "provider: a request may go elsewhere than was decided on")
	f.unless(body.GetMaxRequestBytes() == bootstrap.DefaultMaxBytes+1, "provider: maxRequestBytes is %d, want %d", body.GetMaxRequestBytes(), bootstrap.DefaultMaxBytes+1)
	f.unless(!body.GetAllowPartialMessage(), "provider: a part of a body is decided on")
	f.unless(body.GetPackAsBytes(), "provider: bodies are sent as text")
	return f.err()
}

// clusterName is Istio's for a port of a service.
func clusterName(port uint32, host string) string { return fmt.Sprintf("outbound|%d||%s", port, host) }

// checkWiring follows a decision from the policy to the sidecar's port.
func (i *istio) checkWiring() error {
	var f faults
	policy, err := named[*istiosecurityv1.AuthorizationPolicy](i.cluster, "mcpermit")
	if err != nil {
		return err
	}
	f.unless(policy.Spec.GetAction() == istiosecurity.AuthorizationPolicy_CUSTOM && policy.Spec.GetProvider().GetName() == i.name,
		"policy: does not ask provider %s", i.name)
	f.unless(len(policy.Spec.GetRules()) == 1 && proto.Equal(policy.Spec.GetRules()[0], &istiosecurity.Rule{}), "policy: there are requests that it does not match")
	for what, labels := range map[string]map[string]string{
		"policy": policy.Spec.GetSelector().GetMatchLabels(), "filter": i.filter.GetWorkloadSelector().GetLabels(),
	} {
		f.unless(len(labels) > 0, "%s: selects no workload of its own", what)
		for k, v := range labels {
			f.unless(i.gateway[k] == v, "%s: selects %s=%s, which the gateway has not", what, k, v)
		}
	}
	entry, err := named[*istionetworkingv1.ServiceEntry](i.cluster, "mcpermit-pep")
	if err != nil {
		return err
	}
	service := entry.Namespace + "/" + entry.Spec.GetHosts()[0]
	f.unless(i.provider.GetService() == service, "provider: asks %s, want %s", i.provider.GetService(), service)
	f.unless(i.provider.GetPort() == entry.Spec.GetPorts()[0].GetNumber(), "provider: port %d, want %d", i.provider.GetPort(), entry.Spec.GetPorts()[0].GetNumber())
	sidecar, err := newProgram(i.cluster, "mcp-gateway", "mcpermit-pep")
	if err != nil {
		return err
	}
	address := net.JoinHostPort(entry.Spec.GetEndpoints()[0].GetAddress(), strconv.Itoa(int(i.provider.GetPort())))
	f.unless(sidecar.config.Envoy.Listen == address, "the service entry leads to %s, and the sidecar listens at %s", address, sidecar.config.Envoy.Listen)
	for _, p := range i.filter.GetConfigPatches() {
		walkGRPC(p, func(cluster string) {
			want := clusterName(i.provider.GetPort(), entry.Spec.GetHosts()[0])
			f.unless(cluster == want, "filter: calls cluster %s, want %s", cluster, want)
		})
	}
	return f.err()
}

// checkRoutes wants each path to lead to the server of its name, once.
func (i *istio) checkRoutes() error {
	sidecar, err := newProgram(i.cluster, "mcp-gateway", "mcpermit-pep")
	if err != nil {
		return err
	}
	var f faults
	var routed []string
	for _, s := range of[*istionetworkingv1.VirtualService](i.cluster) {
		f.unless(slices.Equal(s.Spec.GetHosts(), []string{clientHost}), "routes: for %q", s.Spec.GetHosts())
		for _, r := range s.Spec.GetHttp() {
			name := r.GetName()
			routed = append(routed, name)
			for _, m := range r.GetMatch() {
				path := m.GetUri().GetExact()
				f.unless(path == "/mcp/"+name || path == "/mcp/"+name+"/", "route %s: is taken for %v", name, m)
			}
			f.unless(len(r.GetMatch()) == 2, "route %s: %d paths, want 2", name, len(r.GetMatch()))
			f.unless(r.GetRetries() != nil && r.GetRetries().GetAttempts() == 0, "route %s: a call may be made twice", name)
			f.unless(r.GetTimeout() == nil, "route %s: ends streams after %s", name, r.GetTimeout().AsDuration())
			if len(r.GetRoute()) != 1 {
				f.add("route %s: leads to %d servers", name, len(r.GetRoute()))
				continue
			}
			to := r.GetRoute()[0].GetDestination()
			host := net.JoinHostPort(strings.TrimSuffix(to.GetHost(), ".cluster.local"), strconv.Itoa(int(to.GetPort().GetNumber())))
			url := "http://" + host + r.GetRewrite().GetUri()
			f.unless(sidecar.config.Servers[name].URL == url, "route %s: leads to %s, and the enforcement point knows %s", name, url, sidecar.config.Servers[name].URL)
		}
	}
	slices.Sort(routed)
	f.unless(slices.Equal(routed, sidecar.config.ServerNames()), "routes: to %q, want %q", routed, sidecar.config.ServerNames())
	return f.err()
}

// checkFilter applies the patches as Istio does, to what it would apply them to,
// and compares the result with what is generated for an Envoy alone.
func (i *istio) checkFilter() error {
	var f faults
	done := map[string]bool{}
	for _, p := range i.filter.GetConfigPatches() {
		what := p.GetApplyTo().String() + " " + p.GetPatch().GetOperation().String()
		f.unless(!done[what], "filter: %s is there twice", what)
		done[what] = true
		text, err := p.GetPatch().GetValue().MarshalJSON()
		if err != nil {
			return err
		}
		sub := p.GetMatch().GetListener().GetFilterChain().GetFilter().GetSubFilter().GetName()
		switch what {
		case "NETWORK_FILTER MERGE":
			err = checkManager(text)
		case "LISTENER MERGE":
			err = checkListener(text)
		case "HTTP_FILTER MERGE":
			f.unless(sub == bootstrap.MetadataNamespace, "filter: merges into %q", sub)
			err = i.checkDecide(text)
		case "HTTP_FILTER INSERT_AFTER":
			f.unless(sub == bootstrap.MetadataNamespace, "filter: stands behind %q", sub)
			err = checkAnswers(text)
		default:
			err = errors.New("is not checked here")
		}
		if err != nil {
			f.add("%s: %w", what, err)
		}
		f.unless(p.GetMatch().GetContext() == istionetworking.EnvoyFilter_GATEWAY, "%s: for %s", what, p.GetMatch().GetContext())
	}
	for _, what := range []string{"NETWORK_FILTER MERGE", "LISTENER MERGE", "HTTP_FILTER MERGE", "HTTP_FILTER INSERT_AFTER"} {
		f.unless(done[what], "filter: there is no %s", what)
	}
	return f.err()
}

// checkManager: what the patch sets is what is generated, the access log for the
// enforcement point too.
func checkManager(text []byte) error {
	filter, err := envoys(text, new(listenerv3.Filter))
	if err != nil {
		return err
	}
	patch, err := unpack(filter.GetTypedConfig(), new(hcmv3.HttpConnectionManager))
	if err != nil {
		return err
	}
	want, err := generated()
	if err != nil {
		return err
	}
	// The rest is Istio's own.
	subset(patch.ProtoReflect(), want.ProtoReflect())
	whole := proto.Clone(patch).(*hcmv3.HttpConnectionManager) // Istio's own part, as far as it has to be there
	whole.StatPrefix = "istio"
	whole.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}, RouteConfigName: "https"}}
	return errors.Join(sound(whole), alike(patch, want))
}

func checkListener(text []byte) error {
	l, err := envoys(text, new(listenerv3.Listener))
	if err != nil {
		return err
	}
	if most := l.GetPerConnectionBufferLimitBytes().GetValue(); most < 2*bootstrap.DefaultMaxBytes {
		return fmt.Errorf("a whole frame finds no room in %d bytes", most)
	}
	return sound(l)
}

// checkDecide merges into what istiod makes of the provider.
func (i *istio) checkDecide(text []byte) error {
	filter, err := envoys(text, new(hcmv3.HttpFilter))
	if err != nil {
		return err
	}
	patch, err := unpack(filter.GetTypedConfig(), new(authzv3.ExtAuthz))
	if err != nil {
		return err
	}
	body := i.provider.GetIncludeRequestBodyInCheck()
	status, err := strconv.Atoi(i.provider.GetStatusOnError())
	if err != nil {
		return err
	}
	made := &authzv3.ExtAuthz{
		Services: &authzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "istio's"}},
			Timeout:         durationpb.New(i.provider.GetTimeout().AsDuration()),
		}},
		TransportApiVersion: corev3.ApiVersion_V3,
		FailureModeAllow:    i.provider.GetFailOpen(),
		StatusOnError:       &typev3.HttpStatus{Code: typev3.StatusCode(status)},
		WithRequestBody: &authzv3.BufferSettings{
			MaxRequestBytes: body.GetMaxRequestBytes(), AllowPartialMessage: body.GetAllowPartialMessage(), PackAsBytes: body.GetPackAsBytes(),
		},
	}
	proto.Merge(made, patch)
	want, err := generatedAuthz()
	if err != nil {
		return err
	}
	return errors.Join(sound(made), alike(made, want))
}

// checkAnswers: the filter that reads answers is the generated one.
func checkAnswers(text []byte) error {
	got, err := envoys(text, new(hcmv3.HttpFilter))
	if err != nil {
		return err
	}
	want, err := generatedFilter(answersFilter)
	if err != nil {
		return err
	}
	return errors.Join(sound(got), alike(got, want))
}

// walkGRPC calls f with each cluster that a patch has Envoy call.
func walkGRPC(p *istionetworking.EnvoyFilter_EnvoyConfigObjectPatch, f func(cluster string)) {
	inner := p.GetPatch().GetValue().GetFields()["typed_config"]
	if inner == nil {
		return
	}
	text, err := inner.MarshalJSON()
	if err != nil {
		return
	}
	var packed anypb.Any
	if err := protojson.Unmarshal(text, &packed); err != nil {
		return // checkFilter says so
	}
	walkClusters(&packed, f)
}
