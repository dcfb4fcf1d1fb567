package manifests

import "testing"

func TestEnvoyGateway(t *testing.T) {
	if err := checkEnvoyGateway(manifests(t, "kubernetes/base", "envoy-gateway")); err != nil {
		t.Error(err)
	}
}

func TestBrokenEnvoyGatewayIsFound_I1(t *testing.T) {
	breaks(t, manifests(t, "kubernetes/base", "envoy-gateway"), checkEnvoyGateway, map[string]change{
		"unknown field":            {"statusOnError: 503", "statusOnErrors: 503", "unknown field"},
		"against the schema":       {"statusOnError: 503", "statusOnError: 200", "Unsupported value"},
		"against a rule in CEL":    {"failOpen: false\n    messageTimeout", "failOpen: true\n    messageTimeout", "FailOpen must be false"},
		"no timeout":               {"    timeout: 5s\n", "", "differs from"},
		"fails open":               {"failOpen: false\n    grpc", "failOpen: true\n    grpc", "differs from"},
		"no body":                  {"    bodyToExtAuth:\n      maxRequestBytes: 1048577\n", "", "differs from"},
		"the limit alone":          {"maxRequestBytes: 1048577", "maxRequestBytes: 1048576", "differs from"},
		"bodies as text":           {"path: /with_request_body/pack_as_bytes", "path: /with_request_body/allow_partial_message", "is not checked here"},
		"headers joined":           {"path: /encode_raw_headers\n      value: true", "path: /encode_raw_headers\n      value: false", "differs from"},
		"another server":           {"value: payments", "value: crm", "decided on as another server's"},
		"another extension":        {"name: mcp_server", "name: server", "decided on as another server's"},
		"no policy of its own":     {"kind: HTTPRoute\n    name: payments", "kind: HTTPRoute\n    name: crm", "has 0 policies"},
		"no such route":            {"kind: HTTPRoute\n    name: payments", "kind: HTTPRoute\n    name: payment", "which there isn't"},
		"the service's pods":       {"kind: Backend\n        name: mcpermit-pep", "kind: Service\n        name: mcpermit-pep", "is no Backend"},
		"another port":             {"name: mcpermit-pep\n        port: 8702", "name: mcpermit-pep\n        port: 8703", "leads not to one name at port 8703"},
		"no client certificate":    {"    clientCertificateRef:\n      kind: Secret\n      name: mcpermit-envoy-client\n", "", "does not prove"},
		"any certificate":          {"    sni: mcpermit-pep", "    insecureSkipVerify: true\n    sni: mcpermit-pep", "must not contain"},
		"buffered answers":         {"body: FullDuplexStreamed", "body: Buffered", "not streamed both ways"},
		"no metadata":              {"- envoy.filters.http.ext_authz", "- envoy.filters.http.ext_auth", "is not sent"},
		"another listener":         {"name: mcp-gateway/mcp/https", "name: mcp-gateway/mcp/http", "patch of mcp-gateway/mcp/http"},
		"another filter":           {"@.name=='envoy.filters.http.ext_proc/envoyextensionpolicy/mcp-gateway/mcpermit/", "@.name=='envoy.filters.http.ext_proc/envoyextensionpolicy/mcp-gateway/other/", "no patch is for the filter"},
		"unknown field of Envoy's": {"message_timeout: 1s", "message_timeouts: 1s", "unknown field"},
		"answers unread":           {"key: read_answer", "key: read_answers", "differs from"},
		"an error skipped":         {`exact: "202"`, `exact: "500"`, "differs from"},
		"another cluster":          {"cluster_name: envoyextensionpolicy/mcp-gateway/mcpermit", "cluster_name: envoyextensionpolicy/mcp-gateway/other", "calls cluster"},
		"WebSocket":                {"path: /upgrade_configs", "path: /upgrades", "upgraded to WebSocket"},
		"all below":                {"type: Exact\n        value: /mcp/payments/", "type: PathPrefix\n        value: /mcp/payments/", "is taken for other paths"},
		"streams end":              {"request: 0s", "request: 15s", "streams are ended"},
		"not told":                 {"logName: mcpermit", "logName: other", "is not told"},
	})
}
