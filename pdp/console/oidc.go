package console

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/mcpermit/mcpermit/pdp/signin"
)

// OIDC is an OpenID Connect provider whose people may sign in.
type OIDC struct {
	// Issuer is the provider's URL; empty: there is none.
	Issuer       string
	ClientID     string
	ClientSecret string
	Scopes       []string // beside openid; default profile and email
	SubjectClaim string   // becomes the person's id; default "sub"
	GroupsClaim  string   // default "groups"
	// Roles are the groups whose members have a role; the highest counts.
	Roles map[signin.Role][]string
}

const (
	// oidcLife is how long somebody may take at the provider.
	oidcLife = 10 * time.Minute
	// oidcPatience is how long the provider may take.
	oidcPatience = 10 * time.Second
	callbackPath = "/sign-in/oidc/callback"
	maxPersonID  = 256
)

// provider is the OIDC provider, asked for its addresses when they are needed
// first: the decision point starts without it.
type provider struct {
	options  OIDC
	redirect string

	mu    sync.Mutex
	known *oidc.Provider
}

func newProvider(o OIDC, console string) *provider {
	if len(o.Scopes) == 0 {
		o.Scopes = []string{"profile", "email"}
	}
	if o.SubjectClaim == "" {
		o.SubjectClaim = "sub"
	}
	if o.GroupsClaim == "" {
		o.GroupsClaim = "groups"
	}
	return &provider{options: o, redirect: console + callbackPath}
}

func (p *provider) configured() bool { return p.options.Issuer != "" }

// oidcClient is for requests to the provider.
var oidcClient = &http.Client{Timeout: oidcPatience}

func (p *provider) discovered() (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		// Not a request's context: the provider keeps it for fetching keys.
		known, err := oidc.NewProvider(oidc.ClientContext(context.Background(), oidcClient), p.options.Issuer)
		if err != nil {
			return nil, nil, err
		}
		p.known = known
	}
	return p.known, &oauth2.Config{
		ClientID: p.options.ClientID, ClientSecret: p.options.ClientSecret, Endpoint: p.known.Endpoint(), RedirectURL: p.redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, p.options.Scopes...),
	}, nil
}

var errProvider = &problem{http.StatusBadGateway, "Your organisation's sign-in can't be reached. The log of the decision point says why."}

// toProvider sends the visitor to the provider. What comes back has to fit what
// the cookie keeps: state, nonce and the verifier of PKCE.
func (c *Console) toProvider(v *visit) error {
	if !c.provider.configured() {
		return errNoPage
	}
	if !c.attempts.allow(v.r) {
		return errTooOften
	}
	_, config, err := c.provider.discovered()
	if err != nil {
		c.log.ErrorContext(v.r.Context(), "the OIDC provider can't be asked for its addresses", "issuer", c.provider.options.Issuer, "error", err)
		return errProvider
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	v.setCookie(c.cookies.oidc, strings.Join([]string{state, nonce, verifier}, "."), oidcLife)
	return v.redirect(config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)))
}

// fromProvider signs in whom the provider has sent back.
func (c *Console) fromProvider(v *visit) error {
	if !c.provider.configured() {
		return errNoPage
	}
	if !c.attempts.allow(v.r) {
		return errTooOften
	}
	kept := strings.Split(v.cookie(c.cookies.oidc), ".")
	v.setCookie(c.cookies.oidc, "", 0)
	q := v.r.URL.Query()
	if len(kept) != 3 || kept[0] == "" || subtle.ConstantTimeCompare([]byte(kept[0]), []byte(q.Get("state"))) != 1 {
		return &problem{http.StatusForbidden, "This answer does not belong to a sign-in that you have begun here. Begin again."}
	}
	if iss := q.Get("iss"); iss != "" && iss != c.provider.options.Issuer {
		return &problem{http.StatusForbidden, "This answer is another provider's."}
	}
	if q.Get("error") != "" {
		return &problem{http.StatusForbidden, "Your organisation's sign-in says: " + q.Get("error") + " " + q.Get("error_description")}
	}
	claims, err := c.provider.exchange(v.r.Context(), q.Get("code"), kept[1], kept[2])
	if err != nil {
		c.log.WarnContext(v.r.Context(), "an OIDC sign-in failed", "issuer", c.provider.options.Issuer, "error", err)
		return &problem{http.StatusForbidden, "Your organisation's sign-in could not be verified. The log of the decision point says why."}
	}
	p, err := c.personOf(claims)
	if err != nil {
		c.log.WarnContext(v.r.Context(), "an OIDC sign-in was refused", "issuer", c.provider.options.Issuer, "error", err)
		return &problem{http.StatusForbidden, sentence(err.Error())}
	}
	return v.begin(p)
}

// exchange redeems the code for an ID token and returns its claims.
func (p *provider) exchange(ctx context.Context, code, nonce, verifier string) (map[string]any, error) {
	known, config, err := p.discovered()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, oidcClient), oidcPatience)
	defer cancel()
	tokens, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return nil, fmt.Errorf("redeem the code: %w", unspoken(err))
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return nil, errors.New("the provider sent no ID token")
	}
	id, err := known.VerifierContext(ctx, &oidc.Config{ClientID: p.options.ClientID}).Verify(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("verify the ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 {
		return nil, errors.New("the ID token was made for another sign-in")
	}
	var claims map[string]any
	return claims, id.Claims(&claims)
}

// unspoken is an error of a token endpoint without what that says: it may repeat the
// client's secret, and the code.
func unspoken(err error) error {
	if refusal := (*oauth2.RetrieveError)(nil); errors.As(err, &refusal) {
		return fmt.Errorf("the provider's token endpoint answers with status %d", refusal.Response.StatusCode)
	}
	return err
}

// personOf is who the claims say. Somebody whom the configuration names has the
// role of the configuration; the others have that of their groups.
func (c *Console) personOf(claims map[string]any) (signin.Person, error) {
	o := c.provider.options
	id, _ := claims[o.SubjectClaim].(string)
	switch {
	case id == "" || len(id) > maxPersonID || strings.TrimSpace(id) != id || strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }):
		return signin.Person{}, fmt.Errorf("your organisation's sign-in does not say who you are: the claim %s is no id", o.SubjectClaim)
	case o.SubjectClaim == "email" && claims["email_verified"] != true:
		return signin.Person{}, errors.New("your organisation has not verified your e-mail address")
	case c.people.implied && strings.EqualFold(id, Operator):
		return signin.Person{}, errors.New("your id is the operator's, who signs in by link only")
	}
	p := signin.Person{ID: id, Groups: groupsOf(claims[o.GroupsClaim])}
	p.Name, _ = claims["name"].(string)
	if configured, ok := c.people.byID[id]; ok {
		return configured, nil
	}
	for role, groups := range o.Roles {
		if role > p.Role && slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(p.Groups, g) }) {
			p.Role = role
		}
	}
	if p.Role == signin.Nobody {
		return signin.Person{}, fmt.Errorf("you are signed in as %s, but none of your groups may use this console", id)
	}
	return p, nil
}

// groupsOf reads a list, or the one group that some providers send bare.
func groupsOf(claim any) []string {
	switch claim := claim.(type) {
	case string:
		return []string{claim}
	case []any:
		var groups []string
		for _, g := range claim {
			if g, ok := g.(string); ok && g != "" {
				groups = append(groups, g)
			}
		}
		return groups
	}
	return nil
}
