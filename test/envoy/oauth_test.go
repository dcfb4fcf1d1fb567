package envoy

import (
	"net/http"
	"net/http/httptest"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
	"github.com/mcpermit/mcpermit/test/gateway"
)

// TestAccessTokensHaveTheirOwnPath: the enforcement point is asked about it with
// the name of the server, and about the metadata, which it answers itself. What it
// adds to the query arrives as it is, where it has nothing that needs escaping.
func TestAccessTokensHaveTheirOwnPath(t *testing.T) {
	const metadata = "/.well-known/oauth-protected-resource/oauth/mcp/pay"
	p := &point{check: func(r *authv3.CheckRequest) *authv3.CheckResponse {
		if r.GetAttributes().GetRequest().GetHttp().GetPath() == metadata {
			return deny(http.StatusOK, `{"resource":"r"}`)
		}
		res := allow()
		res.GetOkResponse().QueryParametersToSet = []*corev3.QueryParameter{{Key: "api_key.v1", Value: "AZaz09-._"}}
		return res
	}}
	got := make(chan string, 16)
	upstream := httptest.NewServer(ordinary(func(w http.ResponseWriter, r *http.Request) {
		got <- r.RequestURI
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(upstream.Close)
	address, pep := gateway.FreeAddress(t), gateway.FreeAddress(t)
	p.serve(t, "tcp", pep)
	startEnvoy(t, bootstrap.Options{
		Listen: address, PEP: pep, MaxBytes: limit, OAuthPath: "/oauth",
		Servers: []bootstrap.Server{{Name: "pay", URL: upstream.URL + "/v1/mcp"}},
	})
	within(t, "the enforcement point is asked", func() bool {
		r, err := http.NewRequest(http.MethodGet, "http://"+address+metadata, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer := do(t, r)
		return answer.status == http.StatusOK && answer.body == `{"resource":"r"}`
	})
	for _, path := range []string{"/mcp/pay/", "/oauth/mcp/pay", "/oauth/mcp/pay/"} {
		if answer := post(t, "http://"+address+path, "{}"); answer.status != http.StatusOK {
			t.Fatalf("%s: %v", path, answer)
		}
		asked := p.last()
		if at, name := asked.GetAttributes().GetRequest().GetHttp().GetPath(), asked.GetAttributes().GetContextExtensions()[bootstrap.ServerKey]; at != path || name != "pay" {
			t.Errorf("%s: asked about %s of %q", path, at, name)
		}
		if seen, want := <-got, "/v1/mcp?api_key.v1=AZaz09-._"; seen != want {
			t.Errorf("%s: the server got %s, want %s", path, seen, want)
		}
	}
	for _, path := range []string{"/oauth/mcp/other", "/oauth", "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp/pay", "/oauth/mcp/pay/x"} {
		if answer := post(t, "http://"+address+path, "{}"); answer.status != http.StatusNotFound {
			t.Errorf("%s: %v", path, answer)
		}
	}
}
