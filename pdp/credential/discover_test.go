package credential

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// offer is what broker 0 finds.
func (r *replicas) offer() (Offer, error) { return r.brokers[0].Offer(r.Context(), adas) }

// Where a server's authorization server is found, and what it is asked for.
func TestDiscovery(t *testing.T) {
	for name, c := range map[string]struct {
		account Account
		setup   func(*authServer)
		scopes  []string
		issuer  string
	}{
		"from the challenge":              {scopes: []string{"tools:call"}},
		"with the configuration's scopes": {account: Account{Scopes: []string{"mine"}}, scopes: []string{"mine"}},
		"without a challenge": {
			setup:  func(s *authServer) { s.challenge = nil },
			scopes: []string{"tools:read", "tools:write"},
		},
		"at the root": {setup: func(s *authServer) {
			s.challenge = []string{"Bearer"}
			s.resource["resource"] = "https://mcp.example:443/"
			s.moves("mcp.example/.well-known/oauth-protected-resource/v1/mcp", "mcp.example/.well-known/oauth-protected-resource")
		}, scopes: []string{"tools:read", "tools:write"}},
		"OpenID Connect": {setup: func(s *authServer) {
			s.moves("auth.example/.well-known/oauth-authorization-server", "auth.example/.well-known/openid-configuration")
		}, scopes: []string{"tools:call"}},
		"an issuer with a path": {setup: func(s *authServer) {
			s.tenant()
			s.moves("auth.example/.well-known/oauth-authorization-server", "auth.example/.well-known/oauth-authorization-server/tenant")
		}, scopes: []string{"tools:call"}, issuer: theIssuer + "/tenant"},
		"OpenID Connect with a path before": {setup: func(s *authServer) {
			s.tenant()
			s.moves("auth.example/.well-known/oauth-authorization-server", "auth.example/.well-known/openid-configuration/tenant")
		}, scopes: []string{"tools:call"}, issuer: theIssuer + "/tenant"},
		"OpenID Connect with a path behind": {setup: func(s *authServer) {
			s.tenant()
			s.moves("auth.example/.well-known/oauth-authorization-server", "auth.example/tenant/.well-known/openid-configuration")
		}, scopes: []string{"tools:call"}, issuer: theIssuer + "/tenant"},
		"a configured issuer, of a server that says nothing": {
			account: Account{Issuer: theIssuer},
			setup: func(s *authServer) {
				s.challenge = nil
				s.moves("mcp.example/.well-known/oauth-protected-resource/v1/mcp", "")
			},
		},
		"refresh tokens by scope": {setup: func(s *authServer) {
			s.metadata["scopes_supported"] = []string{"openid", "offline_access"}
		}, scopes: []string{"tools:call", "offline_access"}},
	} {
		t.Run(name, func(t *testing.T) {
			auth := newAuthServer(t)
			if c.setup != nil {
				c.setup(auth)
			}
			r := newReplicas(t, 1, auth, accounts(c.account))
			o, err := r.offer()
			if err != nil {
				t.Fatal(err)
			}
			if c.issuer == "" {
				c.issuer = theIssuer
			}
			if diff := cmp.Diff(c.scopes, o.Scopes); diff != "" || o.Issuer != c.issuer {
				t.Errorf("issuer %s, scopes (-want +got):\n%s", o.Issuer, diff)
			}
		})
	}
}

// tenant gives the issuer a path.
func (s *authServer) tenant() {
	s.metadata["issuer"] = theIssuer + "/tenant"
	s.resource["authorization_servers"] = []string{theIssuer + "/tenant"}
}

// moves serves a document elsewhere, or nowhere.
func (s *authServer) moves(from, to string) {
	h, _ := s.mux.Handler(&http.Request{Method: http.MethodGet, Host: from[:strings.Index(from, "/")], URL: mustParse("https://" + from)})
	old := s.mux
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host+r.URL.Path == from {
			http.NotFound(w, r)
			return
		}
		old.ServeHTTP(w, r)
	})
	if to != "" {
		s.mux.Handle(to, h)
	}
}

// What must not be gone by.
func TestDiscoveryRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		account Account
		setup   func(*authServer)
		want    string
	}{
		"another resource": {setup: func(s *authServer) { s.resource["resource"] = "https://other.example/v1/mcp" }, want: "another resource"},
		"another path":     {setup: func(s *authServer) { s.resource["resource"] = "https://mcp.example/v1/mc" }, want: "another resource"},
		"a path below":     {setup: func(s *authServer) { s.resource["resource"] = theServer + "/deeper" }, want: "another resource"},
		"another port":     {setup: func(s *authServer) { s.resource["resource"] = "https://mcp.example:8443/v1/mcp" }, want: "another resource"},
		"another scheme":   {setup: func(s *authServer) { s.resource["resource"] = "http://mcp.example/v1/mcp" }, want: "another resource"},
		"no resource":      {setup: func(s *authServer) { delete(s.resource, "resource") }, want: "another resource"},
		"another resource though the issuer is configured": {account: Account{Issuer: theIssuer}, setup: func(s *authServer) { s.resource["resource"] = "https://other.example" }, want: "another resource"},
		"no authorization server":                          {setup: func(s *authServer) { delete(s.resource, "authorization_servers") }, want: "account.issuer"},
		"no metadata of the server": {setup: func(s *authServer) {
			s.challenge = nil
			s.moves("mcp.example/.well-known/oauth-protected-resource/v1/mcp", "")
		}, want: "account.issuer"},
		"no metadata of the issuer":  {setup: func(s *authServer) { s.moves("auth.example/.well-known/oauth-authorization-server", "") }, want: "auth.example has no metadata"},
		"another issuer":             {setup: func(s *authServer) { s.metadata["issuer"] = "https://evil.example" }, want: "another issuer"},
		"almost the issuer":          {setup: func(s *authServer) { s.metadata["issuer"] = theIssuer + "/" }, want: "another issuer"},
		"no PKCE":                    {setup: func(s *authServer) { delete(s.metadata, "code_challenge_methods_supported") }, want: "PKCE"},
		"plain PKCE":                 {setup: func(s *authServer) { s.metadata["code_challenge_methods_supported"] = []string{"plain"} }, want: "PKCE"},
		"no codes":                   {setup: func(s *authServer) { s.metadata["response_types_supported"] = []string{"token"} }, want: "authorization codes"},
		"a token endpoint over http": {setup: func(s *authServer) { s.metadata["token_endpoint"] = "http://auth.example/token" }, want: "token_endpoint auth.example is not https"},
		"an authorization endpoint that is a script": {setup: func(s *authServer) { s.metadata["authorization_endpoint"] = "javascript:alert(1)" }, want: "authorization_endpoint is no https"},
		"a user in an endpoint":                      {setup: func(s *authServer) { s.metadata["authorization_endpoint"] = "https://auth.example@evil.example/" }, want: "authorization_endpoint is no https"},
		"no token endpoint":                          {setup: func(s *authServer) { delete(s.metadata, "token_endpoint") }, want: "token_endpoint"},
		"an issuer over http":                        {setup: func(s *authServer) { s.resource["authorization_servers"] = []string{"http://auth.example"} }, want: "not https"},
		"an issuer with a query":                     {setup: func(s *authServer) { s.resource["authorization_servers"] = []string{theIssuer + "?a=b"} }, want: "without a query"},
		"metadata elsewhere over http":               {setup: func(s *authServer) { s.challenge = []string{`Bearer resource_metadata="http://mcp.example/x"`} }, want: "not https"},
		"metadata in a file":                         {setup: func(s *authServer) { s.challenge = []string{`Bearer resource_metadata="file:///etc/passwd"`} }, want: "no https"},
		"metadata of a megabyte":                     {setup: func(s *authServer) { s.metadata["padding"] = strings.Repeat("x", 1<<20) }, want: "more than 256 KiB"},
		"metadata that is no JSON": {setup: func(s *authServer) {
			s.moves("auth.example/.well-known/oauth-authorization-server", "")
			s.mux.HandleFunc("auth.example/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) })
		}, want: "not valid JSON"},
		"a member that is there twice": {setup: func(s *authServer) {
			s.moves("auth.example/.well-known/oauth-authorization-server", "")
			s.mux.HandleFunc("auth.example/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"issuer":%q,"issuer":"https://evil.example"}`, theIssuer)
			})
		}, want: "not valid JSON"},
		"redirects without an end": {setup: func(s *authServer) {
			s.moves("auth.example/.well-known/oauth-authorization-server", "")
			s.mux.HandleFunc("auth.example/.well-known/oauth-authorization-server", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", r.URL.String())
				w.WriteHeader(http.StatusFound)
			})
		}, want: "too many redirects"},
		"a redirect to another host": {setup: func(s *authServer) {
			s.moves("auth.example/.well-known/oauth-authorization-server", "")
			s.mux.HandleFunc("auth.example/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "https://evil.example/")
				w.WriteHeader(http.StatusFound)
			})
		}, want: "another host"},
		"a failure": {setup: func(s *authServer) {
			s.moves("auth.example/.well-known/oauth-authorization-server", "auth.example/.well-known/openid-configuration")
			s.mux.HandleFunc("auth.example/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		}, want: "status 502"},
	} {
		t.Run(name, func(t *testing.T) {
			auth := newAuthServer(t)
			c.setup(auth)
			r := newReplicas(t, 1, auth, accounts(c.account))
			if _, err := r.offer(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want that it says %q", err, c.want)
			}
			if auth.hits["evil.example/"] > 0 {
				t.Error("another host was asked")
			}
		})
	}
}

// What the configuration names is reached by one client, everything else by the
// other, which refuses what is not public.
func TestDiscoveredAddressesAreGuarded(t *testing.T) {
	guard := func(o *BrokerOptions) { o.Discovered = &http.Client{Transport: refusing{}} }
	r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}), guard)
	if _, err := r.offer(); err == nil || !strings.Contains(err.Error(), "auth.example is not public") {
		t.Errorf("an issuer that was discovered: %v", err)
	}
	r = newReplicas(t, 1, newAuthServer(t), accounts(Account{Issuer: theIssuer}), guard)
	r.connect()
	for _, endpoint := range []string{"token_endpoint", "registration_endpoint"} {
		r = newReplicas(t, 1, newAuthServer(t), accounts(Account{Issuer: theIssuer}), guard)
		r.auth.metadata[endpoint] = "https://internal.example/x"
		if err := r.brokers[0].connectFor(t.Context(), r.auth, adas, "ada"); err == nil || !strings.Contains(err.Error(), "internal.example is not public") && !strings.Contains(err.Error(), "internal.example can't be reached") {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	g := gateway()
	r = newReplicas(t, 1, newAuthServer(t), of(Brokered{ClientCredentials: &g}), guard)
	m, err := r.get(0)
	carries(t, m, err)
	r = newReplicas(t, 1, newAuthServer(t), accounts(Account{}), guard)
	r.auth.challenge = []string{`Bearer resource_metadata="https://169.254.169.254/latest"`}
	if _, err := r.offer(); err == nil || !strings.Contains(err.Error(), "169.254.169.254 is not public") {
		t.Errorf("metadata at an address that the server names: %v", err)
	}
}

// Plain http is for what the configuration names, and for tests.
func TestHTTPOfTheConfiguration(t *testing.T) {
	auth := newAuthServer(t)
	auth.resource["resource"] = "http://mcp.example/v1/mcp"
	auth.challenge = []string{"Bearer"}
	u := accounts(Account{})
	u.URL = "http://mcp.example/v1/mcp"
	r := newReplicas(t, 1, auth, u)
	if _, err := r.offer(); err != nil {
		t.Error(err)
	}
	auth.resource["authorization_servers"] = []string{"http://auth.example"}
	auth.metadata["issuer"] = "http://auth.example"
	r = newReplicas(t, 1, auth, u)
	if _, err := r.offer(); err == nil {
		t.Error("an issuer over http, named by the server")
	}
	r = newReplicas(t, 1, auth, u, func(o *BrokerOptions) { o.AllowHTTP = true })
	if _, err := r.offer(); err != nil {
		t.Error(err)
	}
}
