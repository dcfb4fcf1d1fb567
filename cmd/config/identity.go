package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// OAuth is where clients connect with access tokens of an authorization server, in
// place of grant tokens. Protected resource metadata (RFC 9728) tells them of the
// issuers. A listener takes one kind of token and not the other.
type OAuth struct {
	// URL is the public address under which clients reach the listener, without
	// /mcp/NAME: the access tokens for a server have to be for URL/mcp/NAME.
	// Empty: there is none.
	URL string `yaml:"url"`
	// Listen is host:port. Default: the main listener, which then serves clients
	// under the path of URL; it must have one, such as /oauth.
	Listen string `yaml:"listen"`
	// Issuers are the authorization servers whose tokens are good.
	Issuers []Issuer `yaml:"issuers"`
	// Scopes are advertised to clients to begin with. Default none.
	Scopes []string `yaml:"scopes"`
}

// Issuer is an authorization server, and what its tokens say.
type Issuer struct {
	// URL is the issuer, exactly as in its tokens.
	URL string `yaml:"url"`
	// JWKS is the URL, or the file, of its keys. Default: what its discovery document
	// says. A Kubernetes cluster's is https://kubernetes.default.svc/openid/v1/jwks.
	JWKS string `yaml:"jwks"`
	// CA signed the issuer's certificate. Default: the system's.
	CA string `yaml:"ca"`
	// Token is sent as the bearer token to the issuer; a cluster's API server wants
	// one for its keys. file:PATH is read each time: a pod's own,
	// /var/run/secrets/kubernetes.io/serviceaccount/token, is renewed by the hour.
	Token string `yaml:"token"`
	// Audiences are good beside the URL of the server that is called. Default none.
	Audiences []string `yaml:"audiences"`
	// Algorithms of signatures that are good. Default RS256, PS256, ES256 and EdDSA.
	Algorithms []string `yaml:"algorithms"`
	// Leeway is how far the clocks may be apart. Default 30s.
	Leeway Duration `yaml:"leeway"`

	// Type of its subjects: "person" (the default), "agent" or "workload".
	Type string `yaml:"type"`
	// Subject is the claim that becomes the subject's id. Default sub.
	Subject string `yaml:"subject"`
	// Prefix stands before the id, so that ids of two issuers are not taken for one
	// another's.
	Prefix string `yaml:"prefix"`
	// Groups is the claim that holds the groups; a dot goes into objects
	// ("realm_access.roles"). Default groups.
	Groups string `yaml:"groups"`
	// Actor is the claim that names who acts on behalf of the subject. Default
	// act.sub (RFC 8693); where it is absent, the subject acts itself.
	Actor string `yaml:"actor"`
	// Claims are shown to policy as input.subject.claims, and are on record. Default
	// none.
	Claims []string `yaml:"claims"`
	// Grants is "none" (the default: policy alone decides what its subjects may) or
	// "required": they may do nothing but under a grant that they hold, which can be
	// revoked.
	Grants string `yaml:"grants"`
}

// Certificates says which client certificates are identities by themselves.
type Certificates struct {
	// TrustDomains are the SPIFFE trust domains whose X.509-SVIDs are good; the SPIFFE
	// id becomes the subject, a workload.
	TrustDomains []string `yaml:"trust_domains"`
	// Grants is as that of an issuer.
	Grants string `yaml:"grants"`
}

// ListenTLS are the PEM files of the main listener, and of oauth.listen. They are
// read again when they have changed.
type ListenTLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA signed the certificates that clients may show. Default: none are asked
	// for.
	ClientCA string `yaml:"client_ca"`
	// Require refuses clients without a certificate. Default: they may come without.
	Require bool `yaml:"require"`
}

// Egress says where the decision point may go by itself: to issuers, authorization
// servers and token endpoints. Hosts that the configuration names are trusted to be
// what they are; what others name must be public. Nobody, not even an upstream that
// the configuration names, may be link-local or a cloud's metadata service.
type Egress struct {
	// Allow are networks, such as 10.0.0.0/8, that are allowed though they are
	// private, or link-local.
	Allow []string `yaml:"allow"`
	// HTTP allows http:// beside https:// for what others name. For tests.
	HTTP bool `yaml:"http"`
}

var grantsModes = []string{"none", "required"}

func (o OAuth) check() error {
	if o.URL == "" {
		if len(o.Issuers) > 0 || o.Listen != "" {
			return errors.New("oauth.url: say under which address clients reach the listener")
		}
		return nil
	}
	u, ok := httpURL(o.URL)
	switch {
	case !ok || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.HasSuffix(u.Path, "/"):
		return errors.New("oauth.url: want http(s)://host[:port][/path] without a slash at its end")
	case o.Listen == "" && u.Path == "":
		return errors.New("oauth.url: without oauth.listen it needs a path of its own, such as /oauth, apart from the clients with grant tokens")
	case len(o.Issuers) == 0:
		return errors.New("oauth.issuers: name at least one authorization server")
	}
	seen := map[string]bool{}
	for i, issuer := range o.Issuers {
		if err := issuer.check(); err != nil {
			return fmt.Errorf("oauth.issuers[%d].%w", i, err)
		}
		switch {
		case seen[issuer.URL]:
			return fmt.Errorf("oauth.issuers[%d].url: %s is there twice", i, issuer.URL)
		case seen["prefix "+issuer.Prefix]:
			return fmt.Errorf("oauth.issuers[%d].prefix: give it one of its own, or the ids of two issuers could be taken for one another's", i)
		}
		seen[issuer.URL], seen["prefix "+issuer.Prefix] = true, true
	}
	return nil
}

func (i Issuer) check() error {
	if _, ok := httpURL(i.URL); !ok {
		return errors.New("url: want the issuer's https:// URL, exactly as in its tokens")
	}
	if err := oneOf("type", i.Type, "person", "agent", "workload"); err != nil {
		return err
	}
	return oneOf("grants", i.Grants, grantsModes...)
}

func (c Certificates) check() error {
	return oneOf("certificates.grants", c.Grants, grantsModes...)
}

func (t ListenTLS) check() error {
	switch {
	case (t.Cert == "") != (t.Key == ""):
		return errors.New("tls: cert and key go together")
	case t.Cert == "" && (t.ClientCA != "" || t.Require):
		return errors.New("tls: a client_ca needs cert and key")
	case t.Require && t.ClientCA == "":
		return errors.New("tls.client_ca: say who signs the certificates that are required")
	}
	return nil
}

// Networks are those of Allow.
func (e Egress) Networks() ([]netip.Prefix, error) {
	networks := make([]netip.Prefix, len(e.Allow))
	for i, text := range e.Allow {
		var err error
		if networks[i], err = netip.ParsePrefix(text); err != nil {
			return nil, fmt.Errorf("egress.allow[%d]: %q is not a network such as 10.0.0.0/8", i, text)
		}
	}
	return networks, nil
}

func (e Egress) check() error {
	_, err := e.Networks()
	return err
}
