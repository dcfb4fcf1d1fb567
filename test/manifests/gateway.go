package manifests

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	gatewayv1alpha1 "github.com/envoyproxy/gateway/api/v1alpha1"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// checkEnvoyGateway takes its manifests together with those of the base, whose
// enforcement points it asks.
func checkEnvoyGateway(text string) error {
	c, err := decode(text)
	if err != nil {
		return err
	}
	shared, err := newProgram(c, "mcpermit-pep", "mcpermit-pep")
	if err != nil {
		return err
	}
	return errors.Join(checkTargets(c), checkReached(c), checkHTTPRoutes(c, shared), checkSecurity(c), checkExtension(c), checkPatches(c), checkSinks(c))
}

// checkTargets wants every policy to be for the gateway or a route that there is.
func checkTargets(c *cluster) error {
	var f faults
	there := func(at string, kind gwapiv1.Kind, name gwapiv1.ObjectName) {
		switch kind {
		case "Gateway":
			_, err := named[*gwapiv1.Gateway](c, string(name))
			f.unless(err == nil, "%s: is for gateway %s, which there isn't", at, name)
		case "HTTPRoute":
			_, err := named[*gwapiv1.HTTPRoute](c, string(name))
			f.unless(err == nil, "%s: is for route %s, which there isn't", at, name)
		default:
			f.add("%s: is for a %s", at, kind)
		}
	}
	targets := func(at string, refs []gwapiv1.LocalPolicyTargetReferenceWithSectionName) {
		f.unless(len(refs) > 0, "%s: is for nothing", at)
		for _, r := range refs {
			there(at, r.Kind, r.Name)
		}
	}
	for _, p := range of[*gatewayv1alpha1.SecurityPolicy](c) {
		targets("SecurityPolicy "+p.Name, p.Spec.TargetRefs)
	}
	for _, p := range of[*gatewayv1alpha1.EnvoyExtensionPolicy](c) {
		targets("EnvoyExtensionPolicy "+p.Name, p.Spec.TargetRefs)
	}
	for _, p := range of[*gatewayv1alpha1.ClientTrafficPolicy](c) {
		targets("ClientTrafficPolicy "+p.Name, p.Spec.TargetRefs)
	}
	for _, p := range of[*gatewayv1alpha1.BackendTrafficPolicy](c) {
		targets("BackendTrafficPolicy "+p.Name, p.Spec.TargetRefs)
	}
	for _, p := range of[*gatewayv1alpha1.EnvoyPatchPolicy](c) {
		there("EnvoyPatchPolicy "+p.Name, p.Spec.TargetRef.Kind, p.Spec.TargetRef.Name)
	}
	for _, r := range of[*gwapiv1.HTTPRoute](c) {
		for _, p := range r.Spec.ParentRefs {
			there("route "+r.Name, "Gateway", p.Name)
		}
	}
	return f.err()
}

// endpoint is where a Backend leads, host:port.
func endpoint(c *cluster, ref gwapiv1.BackendObjectReference) (string, error) {
	if ref.Kind == nil || *ref.Kind != "Backend" || ref.Port == nil {
		return "", fmt.Errorf("%s is no Backend with a port", ref.Name)
	}
	b, err := named[*gatewayv1alpha1.Backend](c, string(ref.Name))
	if err != nil {
		return "", err
	}
	to := b.Spec.Endpoints[0].FQDN
	if len(b.Spec.Endpoints) != 1 || to == nil || to.Port != *ref.Port {
		return "", fmt.Errorf("backend %s leads not to one name at port %d", b.Name, *ref.Port)
	}
	return fmt.Sprintf("%s:%d", strings.TrimSuffix(to.Hostname, ".cluster.local"), to.Port), nil
}

// checkReached: the enforcement point, by its service's name and with both
// certificates.
func checkReached(c *cluster) error {
	var f faults
	b, err := named[*gatewayv1alpha1.Backend](c, "mcpermit-pep")
	if err != nil {
		return err
	}
	if t := b.Spec.TLS; t == nil || t.BackendTLSConfig == nil || t.ClientCertificateRef == nil || len(t.CACertificateRefs) != 1 || t.SNI == nil {
		f.add("backend mcpermit-pep: one end does not prove who it is")
	} else {
		f.unless(*t.SNI == "mcpermit-pep.mcpermit.svc", "backend mcpermit-pep: expects %s", *t.SNI)
		f.unless(t.InsecureSkipVerify == nil || !*t.InsecureSkipVerify, "backend mcpermit-pep: believes any certificate")
	}
	for at, ref := range asked(c) {
		to, err := endpoint(c, ref)
		f.unless(err == nil && to == "mcpermit-pep.mcpermit.svc:8702", "%s: asks %q: %v", at, to, err)
	}
	return f.err()
}

// asked is whom each policy asks.
func asked(c *cluster) map[string]gwapiv1.BackendObjectReference {
	out := map[string]gwapiv1.BackendObjectReference{}
	for _, p := range of[*gatewayv1alpha1.SecurityPolicy](c) {
		if e := p.Spec.ExtAuth; e != nil && e.GRPC != nil {
			for _, b := range e.GRPC.BackendRefs {
				out["SecurityPolicy "+p.Name] = b.BackendObjectReference
			}
		}
	}
	for _, p := range of[*gatewayv1alpha1.EnvoyExtensionPolicy](c) {
		for _, e := range p.Spec.ExtProc {
			for _, b := range e.BackendRefs {
				out["EnvoyExtensionPolicy "+p.Name] = b.BackendObjectReference
			}
		}
	}
	for _, s := range sinks(c) {
		for _, b := range s.ALS.BackendRefs {
			out["access log"] = b.BackendObjectReference
		}
	}
	return out
}

func checkHTTPRoutes(c *cluster, pep *program) error {
	var f faults
	var routed []string
	for _, r := range of[*gwapiv1.HTTPRoute](c) {
		routed = append(routed, r.Name)
		f.unless(slices.Equal(r.Spec.Hostnames, []gwapiv1.Hostname{clientHost}), "route %s: for %q", r.Name, r.Spec.Hostnames)
		for _, rule := range r.Spec.Rules {
			checkRule(&f, c, r.Name, rule, pep.config.Servers[r.Name].URL)
		}
		named := 0
		for _, p := range of[*gatewayv1alpha1.SecurityPolicy](c) {
			if p.Spec.TargetRefs[0].Kind == "HTTPRoute" && string(p.Spec.TargetRefs[0].Name) == r.Name {
				named++
				x := p.Spec.ExtAuth.ContextExtensions
				ok := len(x) == 1 && x[0].Name == bootstrap.ServerKey && x[0].Value != nil && *x[0].Value == r.Name
				f.unless(ok, "route %s: is decided on as another server's", r.Name)
			}
		}
		f.unless(named == 1, "route %s: has %d policies", r.Name, named)
	}
	slices.Sort(routed)
	f.unless(slices.Equal(routed, pep.config.ServerNames()), "routes: to %q, want %q", routed, pep.config.ServerNames())
	return f.err()
}

func checkRule(f *faults, c *cluster, name string, rule gwapiv1.HTTPRouteRule, url string) {
	f.unless(len(rule.Matches) == 2, "route %s: %d paths, want 2", name, len(rule.Matches))
	for _, m := range rule.Matches {
		exact := m.Path != nil && *m.Path.Type == gwapiv1.PathMatchExact && (*m.Path.Value == "/mcp/"+name || *m.Path.Value == "/mcp/"+name+"/")
		f.unless(exact, "route %s: is taken for other paths", name)
	}
	f.unless(rule.Retry == nil, "route %s: a call may be made twice", name)
	f.unless(rule.Timeouts != nil && *rule.Timeouts.Request == "0s", "route %s: streams are ended", name)
	if len(rule.BackendRefs) != 1 || len(rule.Filters) != 1 || rule.Filters[0].URLRewrite == nil {
		f.add("route %s: leads not to one server", name)
		return
	}
	to, err := endpoint(c, rule.BackendRefs[0].BackendObjectReference)
	got := "http://" + to + *rule.Filters[0].URLRewrite.Path.ReplaceFullPath
	f.unless(err == nil && got == url, "route %s: leads to %s, and the enforcement point knows %s: %v", name, got, url, err)
}

func checkExtension(c *cluster) error {
	all := of[*gatewayv1alpha1.EnvoyExtensionPolicy](c)
	if len(all) != 1 || len(all[0].Spec.ExtProc) != 1 {
		return errors.New("want one EnvoyExtensionPolicy with one extProc")
	}
	var f faults
	e := all[0].Spec.ExtProc[0]
	f.unless(e.FailOpen == nil || !*e.FailOpen, "answers: fail open")
	f.unless(e.ShadowMode == nil || !*e.ShadowMode, "answers: are let through unread")
	f.unless(e.StatusOnError != nil && *e.StatusOnError == 503, "answers: a wrong status on errors")
	m := e.ProcessingMode
	f.unless(m != nil && m.Request == nil && !m.AllowModeOverride && m.Response != nil && m.Response.Body != nil &&
		*m.Response.Body == gatewayv1alpha1.FullDuplexStreamedExtBodyProcessingMode, "answers: are not streamed both ways, or requests are sent too")
	f.unless(e.Metadata != nil && slices.Equal(e.Metadata.AccessibleNamespaces, []string{bootstrap.MetadataNamespace}),
		"answers: the enforcement point is not sent %s", bootstrap.MetadataNamespace)
	return f.err()
}

// checkPatches: they are for the listener that the gateway gets, and for the filter
// that the policy gets, and put the generated matcher around it.
func checkPatches(c *cluster) error {
	gateway, err := named[*gwapiv1.Gateway](c, "mcp")
	if err != nil {
		return err
	}
	policy, err := named[*gatewayv1alpha1.EnvoyExtensionPolicy](c, "mcpermit")
	if err != nil {
		return err
	}
	var f faults
	listener := fmt.Sprintf("%s/%s/%s", gateway.Namespace, gateway.Name, gateway.Spec.Listeners[0].Name)
	f.unless(len(gateway.Spec.Listeners) == 1, "the gateway has listeners that are not patched")
	for _, p := range of[*gatewayv1alpha1.EnvoyPatchPolicy](c) {
		for _, j := range p.Spec.JSONPatches {
			f.unless(j.Name == listener, "patch of %s, want %s", j.Name, listener)
		}
	}
	cluster := fmt.Sprintf("envoyextensionpolicy/%s/%s/extproc/0", policy.Namespace, policy.Name)
	value := patched(c, "..http_filters[?(@.name=='envoy.filters.http.ext_proc/"+cluster+"')]")["/typed_config"]
	if value == nil {
		f.add("no patch is for the filter of %s", cluster)
		return f.err()
	}
	var config anypb.Any
	if err := protojson.Unmarshal(value, &config); err != nil {
		f.add("patch: %w", err)
		return f.err()
	}
	filter := &hcmv3.HttpFilter{Name: answersFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: &config}}
	walkClusters(filter, func(got string) { f.unless(got == cluster, "patch: calls cluster %s, want %s", got, cluster) })
	want, err := generatedFilter(answersFilter)
	if err != nil {
		return err
	}
	_, upgrades := patched(c, "..routes[?(@.route.upgrade_configs)].route")["/upgrade_configs"]
	f.unless(upgrades, "patch: routes can be upgraded to WebSocket")
	return errors.Join(f.err(), sound(filter), alike(filter, want))
}

// sinks are the access logs for services.
func sinks(c *cluster) []gatewayv1alpha1.ProxyAccessLogSink {
	var out []gatewayv1alpha1.ProxyAccessLogSink
	for _, p := range of[*gatewayv1alpha1.EnvoyProxy](c) {
		if p.Spec.Telemetry == nil || p.Spec.Telemetry.AccessLog == nil {
			continue
		}
		for _, s := range p.Spec.Telemetry.AccessLog.Settings {
			for _, sink := range s.Sinks {
				if sink.ALS != nil {
					out = append(out, sink)
				}
			}
		}
	}
	return out
}

func checkSinks(c *cluster) error {
	all := sinks(c)
	if len(all) != 1 || all[0].ALS.LogName == nil || *all[0].ALS.LogName != bootstrap.AccessLogName || all[0].ALS.Type != gatewayv1alpha1.ALSEnvoyProxyAccessLogTypeHTTP {
		return errors.New("the enforcement point is not told what became of requests")
	}
	return nil
}
