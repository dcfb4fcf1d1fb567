package accounts

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/mcpermit/mcpermit/pdp/credential"
)

const theScope = "tools:call"

// protected is an MCP server of the Go SDK that takes access tokens of a provider.
type protected struct {
	*httptest.Server
	url string

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	issuer   string
	refused  map[string]bool // tokens that are taken no more
}

// startProtected starts one; by sets whose tokens it takes.
func startProtected(t *testing.T) *protected {
	t.Helper()
	p := &protected{refused: map[string]bool{}}
	server := mcp.NewServer(&mcp.Implementation{Name: "protected", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "whoami", Description: "Says whose account it is."}, func(_ context.Context, r *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: r.Extra.TokenInfo.UserID}}}, nil, nil
	})
	mux := http.NewServeMux()
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	p.url = p.URL + "/mcp"
	const metadata = "/.well-known/oauth-protected-resource/mcp"
	mux.HandleFunc(metadata, func(w http.ResponseWriter, r *http.Request) {
		auth.ProtectedResourceMetadataHandler(&oauthex.ProtectedResourceMetadata{
			Resource: p.url, AuthorizationServers: []string{p.by()}, ScopesSupported: []string{theScope}, BearerMethodsSupported: []string{"header"},
		}).ServeHTTP(w, r)
	})
	guard := auth.RequireBearerToken(p.verify, &auth.RequireBearerTokenOptions{ResourceMetadataURL: p.URL + metadata, Scopes: []string{theScope}})
	mux.Handle("/mcp", guard(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)))
	return p
}

// by is whose tokens it takes.
func (p *protected) by() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.issuer
}

// takes sets it.
func (p *protected) takes(t *testing.T, issuer string) {
	t.Helper()
	known, err := oidc.NewProvider(context.Background(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.issuer, p.verifier = issuer, known.Verifier(&oidc.Config{ClientID: p.url})
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
