package bootstrap

import (
	"net/http"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mcpermit/mcpermit/pep/mcp"
)

// own is an answer of Envoy's own that clients get as JSON-RPC instead.
type own struct {
	// details are the reasons that Envoy gives, of which an entry is the whole
	// or, where it ends in "*", the beginning.
	details []string
	status  uint32 // 0: Envoy's
	code    int
	rule    string
	reason  string
	again   bool // the client may well repeat it: nothing has reached the server
}

// Rules of answers that no other part of the gateway gives. They go into the
// client's error and never change their meaning.
const (
	ruleHTTP        = "http"            // not HTTP as it is served here
	ruleUpgrade     = "upgrade"         // the connection cannot be upgraded
	ruleBodyLate    = "body-timeout"    // the body did not arrive in time
	ruleNoDecision  = "pdp_unavailable" // nobody was there to decide
	ruleUnread      = "answer-unread"   // nobody was there to read the answer
	ruleUnreachable = "unreachable"     // the server has not got the request
	ruleUpstream    = "upstream"        // the server has not answered it
)

// replies go by the reason that Envoy gives and by nothing else: refusals of the
// enforcement point have the same statuses, and are never rewritten. The first
// that fits is taken.
var replies = []own{
	{
		details: []string{"request_payload_too_large"},
		code:    mcp.CodeInvalidRequest, rule: mcp.RuleTooLarge, reason: "the frame is longer than the limit",
	},
	{
		details: []string{"ext_authz_error", "ext_authz_invalid"}, status: http.StatusServiceUnavailable,
		code: mcp.CodeFailed, rule: ruleNoDecision, reason: "No decision could be had in time; try again.", again: true,
	},
	{
		details: []string{"ext_proc_error*"}, status: http.StatusServiceUnavailable,
		code: mcp.CodeFailed, rule: ruleUnread, reason: "The server's answer could not be read, so it is withheld.",
	},
	{
		details: []string{
			"no_healthy_upstream", "cluster_not_found", "upstream_reset_before_response_started{connection_timeout*",
			"upstream_reset_before_response_started{remote_connection_failure*", "upstream_reset_before_response_started{local_connection_failure*",
			"upstream_reset_before_response_started{overflow*",
		},
		code: mcp.CodeFailed, rule: ruleUnreachable, reason: "The server cannot be reached; try again.", again: true,
	},
	{
		details: []string{"upstream_reset_before_response_started*", "upstream_response_timeout"},
		code:    mcp.CodeFailed, rule: ruleUpstream, reason: "The connection to the server broke before it had answered.",
	},
	{
		details: []string{"request_overall_timeout"},
		code:    mcp.CodeInvalidRequest, rule: ruleBodyLate, reason: "the body did not arrive in time",
	},
	{
		details: []string{"request_header_timeout"},
		code:    mcp.CodeInvalidRequest, rule: ruleHTTP, reason: "the headers did not arrive in time",
	},
	{
		details: []string{"http1.headers_too_large", "http1.too_many_headers"},
		code:    mcp.CodeInvalidRequest, rule: ruleHTTP, reason: "the headers are more than the limit",
	},
	{
		details: []string{"http1.content_length_and_chunked_not_allowed"},
		code:    mcp.CodeInvalidRequest, rule: mcp.RuleFraming, reason: "Transfer-Encoding and Content-Length exclude each other",
	},
	{
		details: []string{"http1.unexpected_underscore"},
		code:    mcp.CodeInvalidRequest, rule: mcp.RuleLookalike, reason: "a header name has a '_', which some servers take for a '-'",
	},
	{
		details: []string{"upgrade_failed"}, status: http.StatusBadRequest,
		code: mcp.CodeInvalidRequest, rule: ruleUpgrade, reason: "the connection cannot be upgraded",
	},
	{
		details: []string{"http1.*", "http2.*", "path_normalization_failed", "missing_host_header", "low_version"},
		code:    mcp.CodeInvalidRequest, rule: ruleHTTP, reason: "the request is not HTTP/1.1 or HTTP/2 as it is served here",
	},
}

// localReplies turns what Envoy answers by itself into JSON-RPC.
func localReplies(p *packer) *hcmv3.LocalReplyConfig {
	config := new(hcmv3.LocalReplyConfig)
	for _, r := range replies {
		added := headers("cache-control", "no-store", "x-content-type-options", "nosniff")
		if r.again {
			added = append(added, headers("retry-after", "1")...)
		}
		mapper := &hcmv3.ResponseMapper{Filter: r.filter(p), HeadersToAdd: added, BodyFormatOverride: r.body()}
		if r.status != 0 {
			mapper.StatusCode = wrapperspb.UInt32(r.status)
		}
		config.Mappers = append(config.Mappers, mapper)
	}
	return config
}

func (r own) filter(p *packer) *accesslogv3.AccessLogFilter {
	var tests []string
	for _, d := range r.details {
		if start, ok := strings.CutSuffix(d, "*"); ok {
			tests = append(tests, "response.code_details.startsWith('"+start+"')")
		} else {
			tests = append(tests, "response.code_details == '"+d+"'")
		}
	}
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name: "envoy.access_loggers.extension_filters.cel",
			ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: p.pack(
				&celv3.ExpressionFilter{Expression: strings.Join(tests, " || ")},
			)},
		},
	}}
}

// body is a format without anything to fill in: what the client sent is not
// repeated to it, and the bytes are those of the gateway's own answers.
func (r own) body() *corev3.SubstitutionFormatString {
	message := mcp.Faulted(&mcp.Fault{ID: []byte("null"), Code: r.code, Rule: r.rule, Reason: r.reason})
	return &corev3.SubstitutionFormatString{
		ContentType: "application/json",
		Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: strings.ReplaceAll(string(message), "%", "%%")},
		}},
	}
}
