package credential

import (
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
)

// Upstream is a server, and the credentials that its calls can carry.
type Upstream struct {
	// URL is where the server is; "" for one that is a command.
	URL string
	// Default names the credential that is used where none is chosen. It may be empty
	// where there is one only.
	Default     string
	Credentials map[string]Brokered
}

// Brokered is one credential: at most one grant type of OAuth, beside what is fixed.
type Brokered struct {
	ClientCredentials *TokenGrant
	TokenExchange     *TokenGrant
	JWTBearer         *JWTBearer
	Account           *Account
}

// TokenGrant is a token endpoint, and as whom it is asked. Formatting it shows no
// secret.
type TokenGrant struct {
	TokenURL     string
	ClientID     string
	ClientSecret string `json:"-"` // secret
	Scopes       []string
	// Resource says what the token is for; "" is the server's URL.
	Resource string
	Audience string
	// InBody sends the client's secret in the form in place of HTTP Basic.
	InBody bool
}

// JWTBearer is a token endpoint that takes assertions (RFC 7523, section 2.1).
type JWTBearer struct {
	TokenURL string
	Issuer   string
	// Audience of the assertion; "" is TokenURL.
	Audience string
	// Key signs; [ParseSigner] reads one.
	Key    crypto.Signer `json:"-"` // secret
	KeyID  string
	Scopes []string
	// Subject is whom the assertion is about; "" is the holder.
	Subject string
}

// Account says how people connect an account. All of it may be empty.
type Account struct {
	// Issuer is the authorization server; "" is what the server's metadata says.
	Issuer string
	// ClientID and ClientSecret are the gateway's, if it is registered.
	ClientID     string
	ClientSecret string `json:"-"` // secret
	Scopes       []string
}

// String leaves the secret out, whatever the verb.
func (g TokenGrant) String() string {
	return "token grant of " + g.ClientID + " at " + host(g.TokenURL)
}

// GoString leaves the secret out.
func (g TokenGrant) GoString() string { return g.String() }

// LogValue leaves the secret out.
func (g TokenGrant) LogValue() slog.Value { return slog.StringValue(g.String()) }

// String leaves the key out, whatever the verb.
func (j JWTBearer) String() string { return "assertions of " + j.Issuer + " at " + host(j.TokenURL) }

// GoString leaves the key out.
func (j JWTBearer) GoString() string { return j.String() }

// LogValue leaves the key out.
func (j JWTBearer) LogValue() slog.Value { return slog.StringValue(j.String()) }

// String leaves the secret out, whatever the verb.
func (a Account) String() string { return "accounts of " + a.Issuer + " by " + a.ClientID }

// GoString leaves the secret out.
func (a Account) GoString() string { return a.String() }

// LogValue leaves the secret out.
func (a Account) LogValue() slog.Value { return slog.StringValue(a.String()) }

// brokered is a credential of the broker, with all that its requests go by.
type brokered struct {
	Brokered
	server, name string
	url          string
	grant        grantType // nil: values alone
	exchange     *exchange // in place of grant
	// named are the origins that the configuration names for it.
	named []string
}

// key is where the tokens of a holder are kept.
func (c *brokered) key(holder string) Key {
	return Key{Kind: KindAccount, Name: c.server + "/" + c.name, Holder: holder}
}

func (b *Broker) newBrokered(server, name string, u Upstream) (*brokered, error) {
	c := &brokered{Brokered: u.Credentials[name], server: server, name: name, url: u.URL}
	kinds := 0
	if g := c.ClientCredentials; g != nil {
		kinds++
		c.named, c.grant = append(c.named, g.TokenURL), &clientCredentials{b, c, *g}
	}
	if g := c.TokenExchange; g != nil {
		kinds++
		c.named, c.exchange = append(c.named, g.TokenURL), newExchange(b, c, *g)
	}
	if g := c.JWTBearer; g != nil {
		kinds++
		if g.Key == nil {
			return nil, errors.New("jwt_bearer needs a key")
		}
		c.named, c.grant = append(c.named, g.TokenURL), &jwtBearer{b, c, *g}
	}
	for _, u := range c.named {
		if origin(u) == "" {
			return nil, fmt.Errorf("token_url: want https://host/path")
		}
	}
	if a := c.Account; a != nil {
		kinds++
		if origin(c.url) == "" || a.Issuer != "" && origin(a.Issuer) == "" {
			return nil, errors.New("account: want a server with a url, and an issuer that is one")
		}
		c.named, c.grant = append(c.named, c.url, a.Issuer), &account{b, c, *a}
	}
	if kinds > 1 {
		return nil, errors.New("give one grant type of OAuth")
	}
	for i, u := range c.named {
		c.named[i] = origin(u)
	}
	return c, nil
}

// origin is scheme://host:port of an absolute http(s) URL, or "".
func origin(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || !slices.Contains([]string{"http", "https"}, u.Scheme) {
		return ""
	}
	return originOf(u)
}

// host is that of a URL, for people.
func host(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Host
}
