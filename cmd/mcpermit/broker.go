package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pdp/credential"
)

// newBroker returns the broker of the configured credentials; nil without a vault,
// which no credential needs then.
func newBroker(cfg *config.Config, p *decisionPoint, log *slog.Logger) (*credential.Broker, error) {
	if p.vault == nil {
		return nil, nil
	}
	o := credential.BrokerOptions{
		Servers: map[string]credential.Upstream{}, Values: p.values, ConsoleURL: cfg.ConsoleURL(),
		Vault: p.vault, List: p.store.SealedValues, AllowHTTP: cfg.Egress.HTTP, Log: log,
	}
	var named []string
	for _, name := range cfg.ServerNames() {
		s := cfg.Servers[name]
		u := credential.Upstream{URL: s.URL, Default: s.DefaultCredential(), Credentials: map[string]credential.Brokered{}}
		for key, c := range s.Credentials {
			brokered, err := newBrokered(c)
			if err != nil {
				return nil, fmt.Errorf("servers.%s.credentials.%s.%w", name, key, err)
			}
			u.Credentials[key] = brokered
			named = append(named, c.TokenURLs()...)
			if c.Account != nil {
				named = append(named, s.URL, c.Account.Issuer)
			}
		}
		o.Servers[name] = u
	}
	var err error
	if o.HTTP, err = newEgress(cfg, "", named...); err != nil {
		return nil, err
	}
	if o.Discovered, err = newEgress(cfg, ""); err != nil {
		return nil, err
	}
	return credential.NewBroker(o)
}

func newBrokered(c config.Credential) (credential.Brokered, error) {
	b := credential.Brokered{ClientCredentials: tokenGrant(c.ClientCredentials), TokenExchange: tokenGrant(c.TokenExchange)}
	if a := c.Account; a != nil {
		b.Account = &credential.Account{Issuer: a.Issuer, ClientID: a.ClientID, ClientSecret: a.ClientSecret, Scopes: a.Scopes}
	}
	if j := c.JWTBearer; j != nil {
		pem, err := os.ReadFile(j.Key)
		if err != nil {
			return b, fmt.Errorf("jwt_bearer.key: %w", err)
		}
		key, err := credential.ParseSigner(pem)
		if err != nil {
			return b, fmt.Errorf("jwt_bearer.key: %s: %w", j.Key, err)
		}
		b.JWTBearer = &credential.JWTBearer{
			TokenURL: j.TokenURL, Issuer: j.Issuer, Audience: j.Audience, Key: key, KeyID: j.KeyID, Scopes: j.Scopes, Subject: fixedSubject(j.Subject),
		}
	}
	return b, nil
}

// fixedSubject is whom assertions are about, "" for the holder.
func fixedSubject(configured string) string {
	if configured == "holder" {
		return ""
	}
	return configured
}

func tokenGrant(g *config.TokenGrant) *credential.TokenGrant {
	if g == nil {
		return nil
	}
	return &credential.TokenGrant{
		TokenURL: g.TokenURL, ClientID: g.ClientID, ClientSecret: g.ClientSecret, Scopes: g.Scopes,
		Resource: g.Resource, Audience: g.Audience, InBody: g.AuthStyle == "body",
	}
}
