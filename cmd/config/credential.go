package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Credential is what calls of a server carry in place of anything of the client's.
// It has values, and at most one kind of OAuth. In values ${secret:NAME} stands for
// a secret of `mcpermit credentials set`: the holder's own, or else the one that all
// share.
type Credential struct {
	// Headers, Query and Env are values: of headers, of the URL's query, and of the
	// environment of a server that is a command.
	Headers map[string]string `yaml:"headers"`
	Query   map[string]string `yaml:"query"`
	Env     map[string]string `yaml:"env"`
	// PerSubject refuses to fall back to a secret that all share.
	PerSubject bool `yaml:"per_subject"`

	// ClientCredentials gets tokens for the gateway itself.
	ClientCredentials *TokenGrant `yaml:"client_credentials"`
	// Account uses the account that each person connects on the console.
	Account *Account `yaml:"account"`
	// TokenExchange trades the subject's own access token for one of the server's
	// (RFC 8693).
	TokenExchange *TokenGrant `yaml:"token_exchange"`
	// JWTBearer signs an assertion in the subject's name (RFC 7523).
	JWTBearer *JWTBearer `yaml:"jwt_bearer"`
}

// TokenGrant is a token endpoint, and as whom it is asked.
type TokenGrant struct {
	TokenURL     string   `yaml:"token_url"`
	ClientID     string   `yaml:"client_id"`
	ClientSecret string   `yaml:"client_secret"`
	Scopes       []string `yaml:"scopes"`
	// Resource and Audience say what the token is to be for. Default of Resource: the
	// server's URL.
	Resource string `yaml:"resource"`
	Audience string `yaml:"audience"`
	// AuthStyle is "header" (the default: HTTP Basic) or "body".
	AuthStyle string `yaml:"auth_style"`
}

// JWTBearer is a token endpoint that takes assertions.
type JWTBearer struct {
	TokenURL string `yaml:"token_url"`
	// Issuer of the assertion, and Audience; default of Audience: TokenURL.
	Issuer   string `yaml:"issuer"`
	Audience string `yaml:"audience"`
	// Key is the PEM file of the private key, KeyID its id at the server.
	Key    string   `yaml:"key"`
	KeyID  string   `yaml:"key_id"`
	Scopes []string `yaml:"scopes"`
	// Subject is whom the assertion is about: "holder" (the default), or a fixed one.
	Subject string `yaml:"subject"`
}

// Account says how people connect an account of the server. Everything may be left
// out: the server says who its authorization server is, and that registers the
// gateway.
type Account struct {
	// Issuer is the authorization server. Default: what the server's protected
	// resource metadata says.
	Issuer string `yaml:"issuer"`
	// ClientID and ClientSecret are the gateway's, if it is registered. Default: the
	// URL of its client metadata document where that is taken, or else a dynamic
	// registration.
	ClientID     string   `yaml:"client_id"`
	ClientSecret string   `yaml:"client_secret"`
	Scopes       []string `yaml:"scopes"`
}

// Vault says how secrets at rest are sealed.
type Vault struct {
	// MasterKey seals the keys that seal the secrets: file:PATH, env:NAME (32 random
	// bytes in base64), or a KMS: awskms://…, gcpkms://…, azurekeyvault://…,
	// hashivault://…. Default: STATE/master.key, which is made when there is none;
	// required where several decision points share a database.
	MasterKey string `yaml:"master_key"`
	// Old are earlier master keys, for as long as something is sealed with them.
	Old []string `yaml:"old"`
}

// UsesVault says whether what servers are sent comes out of the vault.
func (c *Config) UsesVault() bool {
	for _, s := range c.Servers {
		if refersToSecret(s.Headers) {
			return true
		}
		for _, c := range s.Credentials {
			if c.kinds() > 0 || refersToSecret(c.Headers) || refersToSecret(c.Query) || refersToSecret(c.Env) {
				return true
			}
		}
	}
	return false
}

func refersToSecret(values map[string]string) bool {
	for _, v := range values {
		if strings.Contains(v, "${secret:") {
			return true
		}
	}
	return false
}

// DefaultCredential is the one that is used where the policy chooses none; "" where
// the server has none.
func (s Server) DefaultCredential() string {
	if s.Credential == "" && len(s.Credentials) == 1 {
		for name := range s.Credentials {
			return name
		}
	}
	return s.Credential
}

var credentialName = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

func (s Server) checkCredentials() error {
	for _, name := range slices.Sorted(maps.Keys(s.Credentials)) {
		if !credentialName.MatchString(name) {
			return fmt.Errorf("credentials: name %q is not 1 to 63 of a-z, 0-9, - and _", name)
		}
		if err := s.Credentials[name].check(s); err != nil {
			return fmt.Errorf("credentials.%s: %w", name, err)
		}
	}
	_, known := s.Credentials[s.Credential]
	switch {
	case s.Credential != "" && !known:
		return fmt.Errorf("credential: there is no %q among the server's credentials", s.Credential)
	case s.Credential == "" && len(s.Credentials) > 1:
		return errors.New("credential: say which of the server's credentials is used where the policy chooses none")
	}
	return nil
}

// kinds counts the kinds of OAuth.
func (c Credential) kinds() int {
	kinds := 0
	for _, has := range []bool{c.ClientCredentials != nil, c.Account != nil, c.TokenExchange != nil, c.JWTBearer != nil} {
		if has {
			kinds++
		}
	}
	return kinds
}

func (c Credential) check(s Server) error {
	kinds := c.kinds()
	switch {
	case kinds > 1:
		return errors.New("give one of client_credentials, account, token_exchange and jwt_bearer")
	case kinds == 0 && len(c.Headers)+len(c.Query)+len(c.Env) == 0:
		return errors.New("give headers, query, env, or a kind of OAuth")
	case s.URL == "" && (kinds > 0 || len(c.Headers)+len(c.Query) > 0):
		return errors.New("a command takes its secrets from env alone")
	case s.URL != "" && len(c.Env) > 0:
		return errors.New("env: only with command; a url takes headers and query")
	}
	for _, u := range c.TokenURLs() {
		if _, ok := httpURL(u); !ok {
			return errors.New("token_url: want https://host/path")
		}
	}
	return nil
}

// TokenURLs are the token endpoints that the credential names.
func (c Credential) TokenURLs() []string {
	var urls []string
	for _, g := range []*TokenGrant{c.ClientCredentials, c.TokenExchange} {
		if g != nil {
			urls = append(urls, g.TokenURL)
		}
	}
	if c.JWTBearer != nil {
		urls = append(urls, c.JWTBearer.TokenURL)
	}
	return urls
}

var masterKeys = []string{"file:", "env:", "awskms://", "gcpkms://", "azurekeyvault://", "hashivault://"}

// within makes the paths of files relative to the configuration file.
func (v *Vault) within(dir string) {
	resolved := func(key string) string {
		if path, ok := strings.CutPrefix(key, "file:"); ok {
			return "file:" + within(dir, path)
		}
		return key
	}
	v.MasterKey = resolved(v.MasterKey)
	for i := range v.Old {
		v.Old[i] = resolved(v.Old[i])
	}
}

func (v Vault) check() error {
	for _, k := range append([]string{v.MasterKey}, v.Old...) {
		if k != "" && !slices.ContainsFunc(masterKeys, func(scheme string) bool { return strings.HasPrefix(k, scheme) }) {
			return errors.New("vault.master_key: want file:PATH, env:NAME or the URL of a KMS")
		}
	}
	return nil
}
