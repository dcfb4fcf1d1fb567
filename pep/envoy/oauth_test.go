package envoy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"

	"github.com/mcpermit/mcpermit/pep/proxy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func withOAuth(o *proxy.Options) {
	o.OAuth = &proxy.OAuth{
		URL:     &url.URL{Scheme: "https", Host: "gate.example", Path: "/oauth"},
		Issuers: []string{"https://issuer.example"},
	}
}

// at is the question about the same request at another path.
func at(r *authv3.CheckRequest, path string) *authv3.CheckRequest {
	r.GetAttributes().GetRequest().GetHttp().Path = path
	return r
}

func TestThePathSaysWhichTokensAreShown(t *testing.T) {
	s := newSeam(t, withOAuth)
	for _, c := range []struct{ path, resource, challenge string }{
		{"/mcp/up/", "", "Bearer"},
		{"/mcp/up", "", "Bearer"},
		{"/oauthx/mcp/up", "", "Bearer"}, // some route's own spelling
		{"/oauth/mcp/up/", "https://gate.example/oauth/mcp/up", `Bearer resource_metadata="https://gate.example/.well-known/oauth-protected-resource/oauth/mcp/up/"`},
		{"/oauth/mcp/up", "https://gate.example/oauth/mcp/up", `Bearer resource_metadata="https://gate.example/.well-known/oauth-protected-resource/oauth/mcp/up"`},
		{"/oauth/mcp/other", "https://gate.example/oauth/mcp/up", `Bearer resource_metadata="https://gate.example/.well-known/oauth-protected-resource/oauth/mcp/up"`}, // the route's word
	} {
		res := s.check(t, at(ask(frame("echo")), c.path))
		var challenge string
		for _, h := range res.GetDeniedResponse().GetHeaders() {
			if h.GetHeader().GetKey() == "www-authenticate" {
				challenge = h.GetHeader().GetValue()
			}
		}
		if code := res.GetDeniedResponse().GetStatus().GetCode(); code != http.StatusUnauthorized || challenge != c.challenge {
			t.Errorf("%s: %d %s", c.path, code, challenge)
		}
		if got := s.decider.asked[len(s.decider.asked)-1].GetEvidence().GetResource(); got != c.resource {
			t.Errorf("%s: resource %q, want %q", c.path, got, c.resource)
		}
	}
}

func TestMetadataIsAnsweredFromHere(t *testing.T) {
	s := newSeam(t, withOAuth)
	question := func(path string) *authv3.CheckRequest {
		return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: http.MethodGet, Path: path, Host: "localhost", Protocol: "HTTP/2"},
		}}}
	}
	for path, status := range map[string]int{
		"/.well-known/oauth-protected-resource/oauth/mcp/up":    200,
		"/.well-known/oauth-protected-resource/oauth/mcp/up/":   200,
		"/.well-known/oauth-protected-resource/mcp/up":          404,
		"/.well-known/oauth-protected-resource/oauth/mcp/other": 404,
	} {
		res := s.check(t, question(path))
		denied := res.GetDeniedResponse()
		if int(denied.GetStatus().GetCode()) != status || (status == 200) != strings.Contains(denied.GetBody(), `"authorization_servers":["https://issuer.example"]`) {
			t.Errorf("%s: %v", path, res)
		}
		if codes.Code(res.GetStatus().GetCode()) == codes.OK {
			t.Errorf("%s: it was let through", path)
		}
		if !isRefusal(res.GetDynamicMetadata()) {
			t.Errorf("%s: on its way back it would be taken for a server's", path)
		}
	}
	if len(s.decider.asked) != 0 {
		t.Error("it was decided on")
	}
}

func TestAQueryIsEnvoysToAdd(t *testing.T) {
	s := newSeam(t)
	s.decider.add = []*v1.Obligation{{Act: &v1.Obligation_SetQuery{SetQuery: &v1.SetQuery{Name: "api_key", Value: "s3cret-1._"}}}}
	res := s.check(t, ask(frame("echo"), authorized...))
	set := res.GetOkResponse().GetQueryParametersToSet()
	if len(set) != 1 || set[0].GetKey() != "api_key" || set[0].GetValue() != "s3cret-1._" {
		t.Errorf("query: %v", set)
	}
	if left := fmt.Sprint(res.GetDynamicMetadata()); strings.Contains(left, "s3cret") {
		t.Errorf("in the metadata: %s", left)
	}
	s.ended(over(decisionOf(res)))
}

func TestI1_AnEnvironmentIsRefused(t *testing.T) {
	s := newSeam(t)
	s.decider.add = []*v1.Obligation{{Act: &v1.Obligation_SetEnvironment{SetEnvironment: &v1.SetEnvironment{Name: "KEY", Value: "k"}}}}
	res := s.check(t, ask(frame("echo"), authorized...))
	if body := res.GetDeniedResponse().GetBody(); !strings.Contains(body, "An obligation of the decision could not be carried out.") {
		t.Errorf("%v", res)
	}
}
