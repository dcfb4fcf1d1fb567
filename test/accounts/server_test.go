package accounts

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/test/provider"
)

const theScope = "tools:call"

// protected is an MCP server of the Go SDK that takes access tokens of an issuer. It
// speaks both eras of the protocol.
type protected struct {
	*httptest.Server
	url     string
	charged atomic.Int64 // how often the tool that does something has done it

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	issuer   string
	refused  map[string]bool // tokens that are taken no more
	late     map[string]bool // tokens that are refused only when the work is done
	recorder
}

// startProtected starts one; takes sets whose tokens are good.
func startProtected(t *testing.T) *protected {
	t.Helper()
	p := &protected{refused: map[string]bool{}, late: map[string]bool{}}
	mux := http.NewServeMux()
	p.Server = httptest.NewServer(mux)
	p.url = p.URL + "/mcp"
	const metadata = "/.well-known/oauth-protected-resource/mcp"
	mux.HandleFunc(metadata, func(w http.ResponseWriter, r *http.Request) {
		auth.ProtectedResourceMetadataHandler(&oauthex.ProtectedResourceMetadata{
			Resource: p.url, AuthorizationServers: []string{p.by()}, ScopesSupported: []string{theScope}, BearerMethodsSupported: []string{"header"},
		}).ServeHTTP(w, r)
	})
	guard := auth.RequireBearerToken(p.verify, &auth.RequireBearerTokenOptions{ResourceMetadataURL: p.URL + metadata, Scopes: []string{theScope}})
	server := p.tools()
	mux.Handle("/mcp", p.recorded(p.belated(guard(ofBothEras(server)))))
	t.Cleanup(func() {
		for s := range server.Sessions() {
			_ = s.Close() // the client's end may have come first
		}
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

// tools are what it can do: two that look, and one that does something.
func (p *protected) tools() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "protected", Version: "1"}, nil)
	tool(server, "whoami", func(r *mcp.CallToolRequest) string { return r.Extra.TokenInfo.UserID })
	tool(server, "balance", func(*mcp.CallToolRequest) string { return "42" })
	tool(server, "charge", func(*mcp.CallToolRequest) string {
		p.charged.Add(1)
		return "charged"
	})
	return server
}

// belated refuses some of what it has done.
func (p *protected) belated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		late := p.late[bearerOf(r.Header)]
		p.mu.Unlock()
		if !late {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(httptest.NewRecorder(), r)
		w.WriteHeader(http.StatusUnauthorized)
	})
}

// refuseLast has it take the token no more that came last: at once, or when the work
// is done.
func (p *protected) refuseLast(whenDone bool) {
	all := p.arrivals("")
	p.mu.Lock()
	defer p.mu.Unlock()
	token := all[len(all)-1].secret()
	p.refused[token], p.late[token] = !whenDone, whenDone
}

// by is whose tokens it takes.
func (p *protected) by() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.issuer
}

// takes sets it; keys nil are those that the issuer publishes.
func (p *protected) takes(t *testing.T, issuer string, keys oidc.KeySet) {
	t.Helper()
	c := &oidc.Config{ClientID: p.url}
	verifier := oidc.NewVerifier(issuer, keys, c)
	if keys == nil {
		known, err := oidc.NewProvider(context.Background(), issuer)
		if err != nil {
			t.Fatal(err)
		}
		verifier = known.Verifier(c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.issuer, p.verifier = issuer, verifier
}

// startProvider starts the authorization server of it.
func startProvider(t *testing.T, p *protected, change ...func(*provider.Options)) *provider.Provider {
	t.Helper()
	o := provider.Options{Scopes: []string{theScope}, Resources: []string{p.url}}
	for _, c := range change {
		c(&o)
	}
	started := provider.Start(t, o)
	p.takes(t, started.Issuer, nil)
	return started
}

func (p *protected) verify(ctx context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
	p.mu.Lock()
	verifier, refused := p.verifier, p.refused[token]
	p.mu.Unlock()
	if refused {
		return nil, fmt.Errorf("%w: revoked", auth.ErrInvalidToken)
	}
	verified, err := verifier.Verify(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrInvalidToken, err)
	}
	var claims struct {
		Scope string `json:"scope"`
	}
	if err := verified.Claims(&claims); err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrInvalidToken, err)
	}
	return &auth.TokenInfo{UserID: verified.Subject, Scopes: strings.Fields(claims.Scope), Expiration: verified.Expiry}, nil
}

// refuse has it take the token of a material no more.
func (p *protected) refuse(m credential.Material) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range m.Headers {
		p.refused[strings.TrimPrefix(h.Value, "Bearer ")] = true
	}
}

// carrying sends what a material has.
type carrying struct{ m credential.Material }

func (c carrying) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for _, h := range c.m.Headers {
		r.Header.Set(h.Name, h.Value)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// whoami calls the server with a material, as a client of the Go SDK.
func (p *protected) whoami(t *testing.T, m credential.Material) (string, error) {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: p.url, HTTPClient: &http.Client{Transport: carrying{m}}, DisableStandaloneSSE: true}, nil)
	if err != nil {
		return "", err
	}
	defer session.Close()
	res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami"})
	if err != nil {
		return "", err
	}
	return res.Content[0].(*mcp.TextContent).Text, nil
}
