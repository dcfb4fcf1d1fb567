package manifests

import "testing"

func meshConfig(t *testing.T) string {
	t.Helper()
	text, err := read("istio/mesh-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestIstio(t *testing.T) {
	if err := checkIstio(manifests(t, "istio"), meshConfig(t)); err != nil {
		t.Error(err)
	}
}

func TestBrokenMeshConfigIsFound_I1(t *testing.T) {
	breaks(t, meshConfig(t), func(text string) error { return checkIstio(manifests(t, "istio"), text) }, map[string]change{
		"unknown field":   {"failOpen: false", "failOpens: false", "unknown field"},
		"no timeout":      {"    timeout: 5s\n", "", "waits 0s for a decision"},
		"long timeout":    {"timeout: 5s", "timeout: 600s", "waits 10m0s"},
		"fails open":      {"failOpen: false", "failOpen: true", "fails open"},
		"403":             {`statusOnError: "503"`, `statusOnError: "403"`, `status "403"`},
		"part of a body":  {"allowPartialMessage: false", "allowPartialMessage: true", "a part of a body"},
		"text":            {"packAsBytes: true", "packAsBytes: false", "sent as text"},
		"the limit alone": {"1048577", "1048576", "maxRequestBytes is 1048576"},
		"another service": {"mcpermit-pep.internal", "mcpermit.internal", "asks mcp-gateway/mcpermit.internal"},
		"another port":    {"port: 8702", "port: 8703", "provider: port 8703"},
		"another name":    {"name: mcpermit", "name: permit", "does not ask provider permit"},
	})
}

func TestBrokenIstioIsFound_I1(t *testing.T) {
	breaks(t, manifests(t, "istio"), func(text string) error { return checkIstio(text, meshConfig(t)) }, map[string]change{
		"unknown field of Istio's":   {"resolution: STATIC", "resolutions: STATIC", "unknown field"},
		"unknown value":              {"resolution: STATIC", "resolution: STATICS", "resolution"},
		"against the schema":         {"attempts: 0", "attempts: 0\n    timeout: 0s", "must be a valid duration"},
		"unknown field of Envoy's":   {"encode_raw_headers: true", "encode_all_headers: true", "encode_all_headers"},
		"unknown type of Envoy's":    {"ext_authz.v3.ExtAuthz", "ext_authz.v3.ExtAuth", "unable to resolve"},
		"against Envoy's rules":      {"log_name: mcpermit", `log_name: ""`, "LogName"},
		"exceptions":                 {"rules:\n  - {}", "rules:\n  - to:\n    - operation:\n        paths: [/mcp/*]", "does not match"},
		"a rule too many":            {"rules:\n  - {}", "rules: []", "does not match"},
		"allows":                     {"action: CUSTOM", "action: ALLOW", "does not ask provider"},
		"other pods":                 {"- {}\n  selector:\n    matchLabels:\n      istio: mcp-gateway\n", "- {}\n  selector:\n    matchLabels:\n      istio: gateway\n", "selects istio=gateway"},
		"in front of the decision":   {"INSERT_AFTER", "INSERT_BEFORE", "is not checked here"},
		"answers unread":             {"key: read_answer", "key: read_answers", "differs from"},
		"all answers skipped":        {"exact: \"202\"", "prefix: \"2\"", "differs from"},
		"other metadata":             {"- envoy.filters.http.ext_authz", "- envoy.filters.http.ext_auth", "differs from"},
		"fails open":                 {"failure_mode_allow: false", "failure_mode_allow: true", "differs from"},
		"headers joined":             {"encode_raw_headers: true", "encode_raw_headers: false", "differs from"},
		"slashes kept":               {"slashes_action: REJECT_REQUEST", "slashes_action: KEEP_UNCHANGED", "differs from"},
		"another log":                {"log_name: mcpermit", "log_name: other", "differs from"},
		"another cluster":            {"outbound|8702||mcpermit-pep.internal", "outbound|8703||mcpermit-pep.internal", "calls cluster outbound|8703"},
		"small buffer":               {"per_connection_buffer_limit_bytes: 2097152", "per_connection_buffer_limit_bytes: 1048577", "finds no room"},
		"retries":                    {"attempts: 0", "attempts: 2", "may be made twice"},
		"another server":             {"host: payments.mcp-servers", "host: crm.mcp-servers", "leads to http://crm.mcp-servers.svc:8080/mcp"},
		"all below":                  {"exact: /mcp/payments/", "prefix: /mcp/payments/", "route payments: is taken for"},
		"elsewhere than the sidecar": {"address: 127.0.0.1", "address: 10.0.0.1", "the service entry leads to 10.0.0.1:8702"},
	})
}
