package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pdp/egress"
	"github.com/mcpermit/mcpermit/pdp/identity"
)

// newProvers returns what proves subjects by access tokens and by client
// certificates, as configured. Its Run keeps the issuers' keys; an issuer that is
// away meanwhile is logged, and keeps nothing from starting.
func newProvers(cfg *config.Config, log *slog.Logger) (*identity.Provers, error) {
	var tokens *identity.AccessTokens
	if len(cfg.OAuth.Issuers) > 0 {
		issuers, err := issuers(cfg)
		if err != nil {
			return nil, err
		}
		if tokens, err = identity.NewAccessTokens(issuers, time.Now, log); err != nil {
			return nil, fmt.Errorf("oauth.%w", err)
		}
	}
	var certificates *identity.Certificates
	if c := cfg.Certificates; len(c.TrustDomains) > 0 {
		var err error
		if certificates, err = identity.NewCertificates(c.TrustDomains, c.Grants == "required", time.Now); err != nil {
			return nil, fmt.Errorf("certificates.%w", err)
		}
	}
	return identity.NewProvers(tokens, certificates), nil
}

func issuers(cfg *config.Config) ([]identity.Issuer, error) {
	out := make([]identity.Issuer, len(cfg.OAuth.Issuers))
	for n, c := range cfg.OAuth.Issuers {
		client, err := newEgress(cfg, c.CA, c.URL, c.JWKS)
		if err != nil {
			return nil, fmt.Errorf("oauth.issuers[%d].ca: %w", n, err)
		}
		if isFile := c.JWKS != "" && !strings.Contains(c.JWKS, "://"); isFile {
			if _, err := os.Stat(c.JWKS); err != nil {
				return nil, fmt.Errorf("oauth.issuers[%d].jwks: %w; want the URL of the keys, or a file that has them", n, err)
			}
		}
		token, err := issuerToken(c.Token)
		if err != nil {
			return nil, fmt.Errorf("oauth.issuers[%d].token: %w", n, err)
		}
		out[n] = identity.Issuer{
			URL: c.URL, JWKS: c.JWKS, Client: client, Token: token,
			Audiences: c.Audiences, Algorithms: c.Algorithms, Leeway: c.Leeway.Or(0),
			Type: c.Type, Subject: c.Subject, Prefix: c.Prefix, Groups: c.Groups, Actor: c.Actor, Claims: c.Claims,
			NeedsGrant: c.Grants == "required",
		}
	}
	return out, nil
}

// newEgress returns a client for what the decision point asks by itself. The hosts
// of the trusted URLs may be private; ca is a PEM file, or "" for the system's.
func newEgress(cfg *config.Config, ca string, trusted ...string) (*http.Client, error) {
	allow, err := cfg.Egress.Networks()
	if err != nil {
		return nil, err
	}
	o := egress.Options{HTTP: cfg.Egress.HTTP, Trusted: trusted, Allow: allow}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		o.RootCAs = x509.NewCertPool()
		if !o.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", ca)
		}
	}
	return egress.New(o), nil
}

// issuerToken returns what gives the token for an issuer, nil for none. A file is
// read each time, since who keeps it there renews it.
func issuerToken(configured string) (func() (string, error), error) {
	path, isFile := strings.CutPrefix(configured, "file:")
	if !isFile {
		if configured == "" {
			return nil, nil
		}
		return func() (string, error) { return configured, nil }, nil
	}
	read := func() (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if token := strings.TrimSpace(string(b)); token != "" {
			return token, nil
		}
		return "", errors.New(path + " is empty")
	}
	_, err := read()
	return read, err
}
