package credential

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Methods of a client's authentication (RFC 7591, section 2).
const (
	authNone = "none"
	authBody = "client_secret_post"
	authBase = "client_secret_basic"
)

// tokenPatience is how long a token endpoint may take.
const tokenPatience = 10 * time.Second

// tokenRequest is one request to a token endpoint.
type tokenRequest struct {
	url                       string
	client, secret, method    string
	grant, resource, audience string
	scopes                    []string
	form                      url.Values // beside the above
}

// digest stands for what the tokens are asked for with, so that those which another
// configuration has asked for are told apart.
func (r tokenRequest) digest() string {
	return digestOf(append([]string{r.url, r.client, r.grant, r.resource, r.audience}, r.scopes...)...)
}

// EndpointError is what an authorization server answers in place of tokens. Code is
// its error code (RFC 6749, section 5.2), or empty; what else it says is not shown,
// since it may repeat what it was sent.
type EndpointError struct {
	Host   string
	Status int
	Code   string
}

func (e *EndpointError) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("the authorization server %s refuses: %s", e.Host, e.Code)
	}
	return fmt.Sprintf("the authorization server %s answers with status %d", e.Host, e.Status)
}

// errorCode is what the registered codes look like. A server that repeats there what
// it was sent is not shown: secrets have digits or capitals in them.
var errorCode = regexp.MustCompile(`^[a-z][a-z_]{0,63}$`)

// refused says whether an error is the authorization server's with one of the codes.
func refused(err error, codes ...string) bool {
	var e *EndpointError
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}

// tokens asks a token endpoint. The library's client for client credentials can be
// told every other grant type, and so does the form, the client's authentication
// and the reading of answers for all of them.
func (b *Broker) tokens(ctx context.Context, c *brokered, r tokenRequest) (tokens, error) {
	if err := b.checkEndpoint(c, "token_endpoint", r.url); err != nil {
		return tokens{}, err
	}
	form := url.Values{"grant_type": {r.grant}}
	for name, values := range r.form {
		form[name] = values
	}
	for name, value := range map[string]string{"resource": r.resource, "audience": r.audience, "scope": strings.Join(r.scopes, " ")} {
		if value != "" {
			form.Set(name, value)
		}
	}
	config := clientcredentials.Config{ClientID: r.client, ClientSecret: r.secret, TokenURL: r.url, EndpointParams: form, AuthStyle: oauth2.AuthStyleInHeader}
	if r.method == authBody || r.secret == "" {
		config.AuthStyle = oauth2.AuthStyleInParams
	}
	ctx, cancel := context.WithTimeout(ctx, tokenPatience)
	defer cancel()
	began := b.now()
	answer, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, still(b.client(c, r.url))))
	if err != nil {
		return tokens{}, b.endpointError(r.url, err)
	}
	if !strings.EqualFold(answer.TokenType, "bearer") {
		return tokens{}, fmt.Errorf("the authorization server %s gives tokens of another type than bearer", host(r.url))
	}
	if !sendable(answer.AccessToken) {
		return tokens{}, fmt.Errorf("the authorization server %s gives a token that no header can carry", host(r.url))
	}
	t := tokens{
		AccessToken: answer.AccessToken, RefreshToken: answer.RefreshToken, TokenType: "Bearer", Scopes: r.scopes,
		ObtainedAt: began.UTC(), Resource: r.resource, TokenURL: r.url, ClientID: r.client, AuthMethod: r.method, Asked: r.digest(),
	}
	if !answer.Expiry.IsZero() {
		t.ExpiresAt = began.Add(max(time.Until(answer.Expiry).Round(time.Second), 0)).UTC()
	}
	if scope, ok := answer.Extra("scope").(string); ok && scope != "" {
		t.Scopes = strings.Fields(scope)
	}
	return t, nil
}

// endpointError keeps of an error what can hold no secret.
func (b *Broker) endpointError(address string, err error) error {
	var answer *oauth2.RetrieveError
	var transport *url.Error
	switch {
	case errors.As(err, &answer):
		e := &EndpointError{Host: host(address), Status: answer.Response.StatusCode}
		if errorCode.MatchString(answer.ErrorCode) {
			e.Code = answer.ErrorCode
		}
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the authorization server %s does not answer in time", host(address))
	case errors.As(err, &transport):
		return fmt.Errorf("the authorization server %s can't be reached: %w", host(address), transport.Err)
	}
	return fmt.Errorf("the answer of the authorization server %s can't be read", host(address))
}

// sendable says whether a header can carry a token (RFC 6750, section 2.1, and
// other visible characters, which some servers use).
func sendable(token string) bool {
	for _, c := range []byte(token) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return token != ""
}

// method is how a client with the secret authenticates, of what a server supports;
// the default where it does not say is Basic (RFC 8414, section 2).
func method(secret string, supported []string) string {
	if secret == "" {
		return authNone
	}
	for _, m := range supported {
		if m == authBase {
			return authBase
		}
	}
	for _, m := range supported {
		if m == authBody {
			return authBody
		}
	}
	return authBase
}

// still is the client without redirects: what is posted stays where it was meant.
func still(c *http.Client) *http.Client {
	s := *c
	s.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &s
}

// maxRedirects is how far metadata may be elsewhere.
const maxRedirects = 3

// bounded is the client with few redirects, and without cookies.
func bounded(c *http.Client) *http.Client {
	s := *c
	s.Jar = nil
	s.Timeout = cmp.Or(s.Timeout, tokenPatience)
	check := s.CheckRedirect
	s.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) > maxRedirects:
			return errors.New("too many redirects")
		case r.URL.Scheme != via[0].URL.Scheme || r.URL.Host != via[0].URL.Host:
			return errors.New("a redirect to another host")
		case check != nil:
			return check(r, via)
		}
		return nil
	}
	return &s
}

// client reaches an address: what the configuration names is trusted to be what it
// is; everything else must be public.
func (b *Broker) client(c *brokered, address string) *http.Client {
	if c.names(address) {
		return b.named
	}
	return b.found
}

// names says whether the configuration names the origin of the address.
func (c *brokered) names(address string) bool {
	o := origin(address)
	for _, named := range c.named {
		if named == o && o != "" {
			return true
		}
	}
	return false
}

// checkEndpoint holds that an address is fit to be sent secrets, or people: https,
// or what the configuration names, and nothing in it that misleads.
func (b *Broker) checkEndpoint(c *brokered, what, address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || origin(address) == "":
		return fmt.Errorf("%s is no https:// URL", what)
	case u.Fragment != "":
		return fmt.Errorf("%s has a fragment", what)
	case u.Scheme != "https" && !b.allowHTTP && !c.names(address):
		return fmt.Errorf("%s %s is not https://", what, u.Host)
	}
	return nil
}

// originOf is scheme://host:port, always with the port.
func originOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}
