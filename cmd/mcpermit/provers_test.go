package main

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pdp/identity"
)

func loadConfig(t *testing.T, dir, yaml string) (*config.Config, error) {
	t.Helper()
	file := filepath.Join(dir, "mcpermit.yaml")
	write(t, file, yaml)
	return config.Load(file)
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// An issuer on this machine with a certificate of its own CA, which wants a token
// for its keys, as a cluster's API server does.
func TestProversOfAConfiguration(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	var podToken atomic.Value
	podToken.Store("first")
	issuer := httptest.NewUnstartedServer(nil)
	issuer.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer "+podToken.Load().(string):
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer.URL, issuer.URL+"/keys")
		default:
			b, err := jose.JSONWebKey{Key: key.Public(), KeyID: "1"}.MarshalJSON()
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, `{"keys":[%s]}`, b)
		}
	})
	issuer.StartTLS()
	defer issuer.Close()

	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate().Raw})))
	write(t, filepath.Join(dir, "token"), "stale\n")
	cfg, err := loadConfig(t, dir, `
policy: ./policy
oauth:
  url: https://mcp.example/oauth
  issuers:
  - {url: "`+issuer.URL+`", ca: ca.pem, token: "file:token", prefix: "k8s:", type: workload, grants: required, audiences: [mcpermit]}
certificates: {trust_domains: [example.org], grants: required}
`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newProvers(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(map[string]any{"iss": issuer.URL, "sub": "ada", "aud": "mcpermit", "exp": time.Now().Add(time.Minute).Unix()}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "token"), "first\n") // renewed while the program runs
	proof, err := p.Prove(t.Context(), identity.Evidence{BearerToken: token, Resource: "https://mcp.example/oauth/mcp/stripe"})
	if err != nil || proof.Subject.ID != "k8s:ada" || proof.Subject.Type != identity.Workload || !proof.NeedsGrant {
		t.Errorf("%+v, %v", proof, err)
	}
}

// An issuer that is away when the program starts is a warning.
func TestProversStartWithoutTheirIssuers(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	cfg, err := loadConfig(t, t.TempDir(), `{policy: ./policy, oauth: {url: "https://mcp.example/oauth", issuers: [{url: "`+away.URL+`"}]}}`)
	if err != nil {
		t.Fatal(err)
	}
	warned := make(warnings, 1)
	p, err := newProvers(cfg, slog.New(slog.NewTextHandler(warned, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	if line := <-warned; !strings.Contains(line, away.URL) || !strings.Contains(line, "connection refused") {
		t.Errorf("log: %s", line)
	}
	cancel()
	<-done
}

// warnings are lines of a log.
type warnings chan string

func (w warnings) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

func TestProversMisuse(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "empty"), "")
	for issuer, want := range map[string]string{
		`{url: "https://a.example", ca: none.pem}`:                                          "oauth.issuers[0].ca: open ",
		`{url: "https://a.example", ca: empty}`:                                             "holds no PEM certificate",
		`{url: "https://a.example", jwks: keys.json}`:                                       "oauth.issuers[0].jwks: stat ",
		`{url: "https://a.example", token: "file:none"}`:                                    "oauth.issuers[0].token: open ",
		`{url: "https://a.example", token: "file:empty"}`:                                   "is empty",
		`{url: "https://a.example", algorithms: [HS256]}`:                                   `oauth.issuers[0].algorithms: "HS256"`,
		`{url: "https://a.example", leeway: 1h}`:                                            "oauth.issuers[0].leeway",
		`{url: "https://a.example", audiences: [""]}`:                                       "oauth.issuers[0].audiences",
		`{url: "https://a.example"}, {url: "https://b.example", prefix: "b:", leeway: 24h}`: "oauth.issuers[1].leeway",
	} {
		cfg, err := loadConfig(t, dir, `{policy: ./policy, oauth: {url: "https://mcp.example/oauth", issuers: [`+issuer+`]}}`)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newProvers(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want %s", issuer, err, want)
		}
	}
	cfg, err := loadConfig(t, dir, `{policy: ./policy, certificates: {trust_domains: ["example.org/agent"]}}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newProvers(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "certificates.trust_domains[0]") {
		t.Errorf("%v", err)
	}
}
