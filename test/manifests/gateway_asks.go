package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	gatewayv1alpha1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// checkSecurity: each policy asks, with what the patches add to it, as is
// generated.
func checkSecurity(c *cluster) error {
	var f faults
	floor := false
	for _, p := range of[*gatewayv1alpha1.SecurityPolicy](c) {
		floor = floor || p.Spec.TargetRefs[0].Kind == "Gateway"
		if p.Spec.ExtAuth == nil {
			f.add("SecurityPolicy %s: asks nobody", p.Name)
			continue
		}
		f.unless(p.Spec.ExtAuth.HeadersToExtAuth == nil, "SecurityPolicy %s: headers are kept from the decision", p.Name)
		if err := checkAsks(c, p.Spec.ExtAuth); err != nil {
			f.add("SecurityPolicy %s: %w", p.Name, err)
		}
	}
	f.unless(floor, "routes without a policy of their own are not asked about")
	return f.err()
}

// checkAsks makes of it what Envoy Gateway does.
func checkAsks(c *cluster, e *gatewayv1alpha1.ExtAuth) error {
	timeout := 10 * time.Second
	if e.Timeout != nil {
		d, err := time.ParseDuration(string(*e.Timeout))
		if err != nil {
			return err
		}
		timeout = d
	}
	made := &authzv3.ExtAuthz{
		Services: &authzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "the policy's"}},
			Timeout:         durationpb.New(timeout),
		}},
		TransportApiVersion: corev3.ApiVersion_V3,
		FailureModeAllow:    e.FailOpen != nil && *e.FailOpen,
		ClearRouteCache:     e.RecomputeRoute != nil && *e.RecomputeRoute,
	}
	if e.StatusOnError != nil {
		made.StatusOnError = &typev3.HttpStatus{Code: typev3.StatusCode(*e.StatusOnError)}
	}
	if e.BodyToExtAuth != nil {
		made.WithRequestBody = &authzv3.BufferSettings{MaxRequestBytes: e.BodyToExtAuth.MaxRequestBytes}
	}
	for path, value := range patched(c, fmt.Sprintf(askingFilters, made.GetWithRequestBody().GetMaxRequestBytes())) {
		on := string(value) == "true"
		switch path {
		case "/with_request_body/pack_as_bytes":
			made.WithRequestBody.PackAsBytes = on
		case "/encode_raw_headers":
			made.EncodeRawHeaders = on
		case "/include_peer_certificate":
			made.IncludePeerCertificate = on
		case "/include_tls_session":
			made.IncludeTlsSession = on
		case "/validate_mutations":
			made.ValidateMutations = on
		default:
			return fmt.Errorf("a patch of %s is not checked here", path)
		}
	}
	want, err := generatedAuthz()
	if err != nil {
		return err
	}
	return errors.Join(sound(made), alike(made, want))
}

// askingFilters are, in a listener of Envoy Gateway's, the filters that ask.
const askingFilters = "..http_filters[?(@.typed_config.with_request_body.max_request_bytes==%d)].typed_config"

// patched are the values that patches put below a JSONPath.
func patched(c *cluster, jsonPath string) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for _, p := range of[*gatewayv1alpha1.EnvoyPatchPolicy](c) {
		for _, j := range p.Spec.JSONPatches {
			o := j.Operation
			if o.JSONPath != nil && *o.JSONPath == jsonPath && o.Path != nil {
				out[*o.Path] = nil
				if o.Value != nil {
					out[*o.Path] = json.RawMessage(o.Value.Raw)
				}
			}
		}
	}
	return out
}
