package credential

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/oauth2"
)

// flowLife is how long somebody may take at the authorization server.
const flowLife = 10 * time.Minute

// Offer is what connecting an account means, for a person to agree to.
type Offer struct {
	AccountRef
	// Issuer is the authorization server, Host where the person is sent.
	Issuer string
	Host   string
	// Resource is what the tokens will be for, Scopes what they may; none: what the
	// authorization server gives by itself.
	Resource string
	Scopes   []string
}

// Terms stands for all of the offer that a person agrees to.
func (o Offer) Terms() string {
	return digestOf(append([]string{o.Server, o.Name, o.Holder, o.Issuer, o.Host, o.Resource}, o.Scopes...)...)
}

// ErrChanged says that an offer is not any more what was agreed to.
var ErrChanged = errors.New("what connecting the account means has changed; look at it again")

// Offer finds the authorization server of the account's server. The error is an
// *UnknownError, or a *FlowError that says what is in the way.
func (b *Broker) Offer(ctx context.Context, a AccountRef) (Offer, error) {
	c, err := b.accountOf(&a)
	if err != nil {
		return Offer{}, err
	}
	f, err := b.discovered(ctx, c)
	if err != nil {
		return Offer{}, told(err)
	}
	return offer(a, f), nil
}

func offer(a AccountRef, f found) Offer {
	return Offer{AccountRef: a, Issuer: f.server.Issuer, Host: host(f.server.AuthorizationEndpoint), Resource: f.resource, Scopes: f.scopes}
}

// flow is an authorization that a person has begun, as it lies in the vault.
type flow struct {
	Person      string `json:"person"`
	Server      string `json:"server"`
	Name        string `json:"name"`
	Holder      string `json:"holder"`
	Verifier    string `json:"verifier"` // secret
	Issuer      string `json:"issuer"`
	SendsIssuer bool   `json:"sends_issuer,omitzero"`
	TokenURL    string `json:"token_url"`
	ClientID    string `json:"client_id"`
	AuthMethod  string `json:"auth_method"`
	// ClientSecret is that of a registration, and not the configuration's. Secret.
	ClientSecret string    `json:"client_secret,omitzero"`
	RedirectURI  string    `json:"redirect_uri"`
	Resource     string    `json:"resource"`
	Scopes       []string  `json:"scopes,omitzero"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// String shows no verifier, whatever the verb.
func (f flow) String() string { return "flow of " + f.Person + " for " + f.Server + "/" + f.Name }

// GoString shows no verifier.
func (f flow) GoString() string { return f.String() }

// LogValue shows no verifier.
func (f flow) LogValue() slog.Value { return slog.StringValue(f.String()) }

// flowKey keeps the state itself out of the vault's keys, which are not sealed.
func flowKey(state string) Key { return Key{Kind: KindFlow, Name: digestOf(state)} }

// Begin keeps a flow for the person, who may be another than the holder, and returns
// the address of the authorization server to send them to. terms are those of the
// [Offer] that the person has agreed to; ErrChanged says that it has changed. Other
// errors are as those of Offer, or the vault's.
func (b *Broker) Begin(ctx context.Context, a AccountRef, person, terms string) (string, error) {
	c, err := b.accountOf(&a)
	if err != nil {
		return "", err
	}
	if b.console == "" || person == "" || a.Holder == "" {
		return "", errors.New("accounts are connected on the console, by and for somebody")
	}
	f, err := b.discovered(ctx, c)
	if err != nil {
		return "", told(err)
	}
	if subtle.ConstantTimeCompare([]byte(offer(a, f).Terms()), []byte(terms)) != 1 {
		return "", ErrChanged
	}
	client, err := b.clientOf(ctx, c, f)
	if err != nil {
		return "", err
	}
	kept := flow{
		Person: person, Server: a.Server, Name: a.Name, Holder: a.Holder, Verifier: oauth2.GenerateVerifier(),
		Issuer: f.server.Issuer, SendsIssuer: f.server.SendsIssuer, TokenURL: f.server.TokenEndpoint,
		ClientID: client.ClientID, AuthMethod: client.Method, RedirectURI: b.console + CallbackPath,
		Resource: f.resource, Scopes: f.scopes, ExpiresAt: b.now().Add(flowLife).UTC(),
	}
	if client.ClientID != c.Account.ClientID {
		kept.ClientSecret = client.ClientSecret
	}
	value, err := json.Marshal(kept)
	if err != nil {
		return "", err
	}
	state := newState()
	if err := b.vault.Put(ctx, Entry{Key: flowKey(state), Generation: 1, Value: value, ExpiresAt: kept.ExpiresAt}); err != nil {
		return "", fmt.Errorf("keep what was begun: %w", err)
	}
	return kept.address(f.server.AuthorizationEndpoint, state), nil
}

// address is the authorization request (RFC 6749, section 4.1.1, with PKCE).
func (f flow) address(endpoint, state string) string {
	config := oauth2.Config{ClientID: f.ClientID, Endpoint: oauth2.Endpoint{AuthURL: endpoint}, RedirectURL: f.RedirectURI, Scopes: f.Scopes}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(f.Verifier), oauth2.SetAuthURLParam("resource", f.Resource)}
	if slices.Contains(f.Scopes, scopeOffline) {
		options = append(options, oauth2.SetAuthURLParam("prompt", "consent")) // which it takes
	}
	return config.AuthCodeURL(state, options...)
}

// newState is 256 random bits.
func newState() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// FlowError is why an account cannot be connected. Reason is one line for the person;
// what the authorization server says in it is its own words.
type FlowError struct {
	Reason string
	err    error
}

func (e *FlowError) Error() string { return e.Reason }

// Unwrap returns the cause, if there is one.
func (e *FlowError) Unwrap() error { return e.err }

// told is an error whose text is for the person.
func told(err error) error {
	if err == nil {
		return nil
	}
	return &FlowError{err.Error(), err}
}

// Authorized is an authorization that has come back. [Authorized.Connect] redeems it.
type Authorized struct {
	AccountRef
	flow flow
	code string // secret
	b    *Broker
	c    *brokered
}

// String shows no code, whatever the verb.
func (a *Authorized) String() string { return "authorization for " + a.AccountRef.String() }

// GoString shows no code.
func (a *Authorized) GoString() string { return a.String() }

// LogValue shows no code.
func (a *Authorized) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Finish takes the flow that an authorization server's answer, the callback's query,
// belongs to; it can be taken once. person is who has brought the answer, and must be
// who began the flow. A *FlowError says why nothing comes of it. Nothing is connected
// yet, so that it can be put on record first.
func (b *Broker) Finish(ctx context.Context, person string, query url.Values) (*Authorized, error) {
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(query[name]) > 1 {
			return nil, &FlowError{Reason: "The authorization server's answer can be read in two ways."}
		}
	}
	f, err := b.take(ctx, query.Get("state"))
	if err != nil {
		return nil, err
	}
	if f.Person != person {
		return nil, &FlowError{Reason: "This answer belongs to somebody else, who has begun to connect an account. Nothing was connected."}
	}
	// Before anything else of it is believed (RFC 9207, section 2.4).
	if iss := query.Get("iss"); iss != f.Issuer && (iss != "" || query.Has("iss") || f.SendsIssuer) {
		return nil, &FlowError{Reason: "This answer is not of the authorization server that you were sent to. Nothing was connected."}
	}
	if code := query.Get("error"); code != "" {
		return nil, &FlowError{Reason: strings.TrimSpace("The authorization server "+host(f.Issuer)+" says: "+clip(code, 64)+" "+clip(query.Get("error_description"), 200)) + "."}
	}
	a := &Authorized{AccountRef: AccountRef{f.Server, f.Name, f.Holder}, flow: f, code: query.Get("code"), b: b}
	if a.c, err = b.accountOf(&a.AccountRef); err != nil {
		return nil, err
	}
	if a.code == "" {
		return nil, &FlowError{Reason: "The authorization server's answer has no code. Nothing was connected."}
	}
	return a, nil
}

// take takes a flow out of the vault.
func (b *Broker) take(ctx context.Context, state string) (flow, error) {
	gone := &FlowError{Reason: "This answer belongs to nothing that was begun here in the last ten minutes. Connect the account again."}
	if state == "" {
		return flow{}, gone
	}
	e, err := b.vault.Take(ctx, flowKey(state))
	if errors.Is(err, ErrNotFound) {
		return flow{}, gone
	}
	if err != nil {
		return flow{}, fmt.Errorf("look up what was begun: %w", err)
	}
	var f flow
	if json.Unmarshal(e.Value, &f) != nil || !b.now().Before(f.ExpiresAt) {
		return flow{}, gone
	}
	return f, nil
}

// clip is the first characters of what others say.
func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}

// Connect redeems the code, once, and keeps the tokens in place of those before. The
// error is a *FlowError, or the vault's.
func (a *Authorized) Connect(ctx context.Context) error {
	code := a.code
	if a.code = ""; code == "" {
		return errors.New("this authorization was redeemed before")
	}
	if !a.b.enter() {
		return errClosed
	}
	defer a.b.flying.Done()
	// Not the person's request: a code is used up by the first attempt.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTime)
	defer cancel()
	f := a.flow
	t, err := a.b.tokens(ctx, a.c, tokenRequest{
		url: f.TokenURL, client: f.ClientID, secret: a.c.Account.secretOf(f.ClientID, f.ClientSecret), method: f.AuthMethod, grant: "authorization_code", resource: f.Resource,
		form: url.Values{"code": {code}, "redirect_uri": {f.RedirectURI}, "code_verifier": {f.Verifier}},
	})
	if refused(err, "invalid_client") && f.ClientID != a.c.Account.ClientID {
		a.b.unregister(ctx, f)
	}
	if err != nil {
		return told(err)
	}
	t.Issuer, t.ClientSecret = f.Issuer, f.ClientSecret
	if len(t.Scopes) == 0 {
		t.Scopes = f.Scopes
	}
	return a.keep(ctx, t)
}

// unregister deletes a registration that the authorization server does not know any
// more, so that the next attempt registers anew.
func (b *Broker) unregister(ctx context.Context, f flow) {
	k := b.registrationKey(f.Issuer)
	if r, _, err := b.registration(ctx, k); err != nil || r.ClientID != f.ClientID {
		return
	}
	if err := b.vault.Delete(ctx, k); err != nil && !errors.Is(err, ErrNotFound) {
		b.log.WarnContext(ctx, "a registration that is gone could not be deleted", "issuer", f.Issuer, "error", err)
	}
}

// keep puts the tokens, whatever a renewal of those before does meanwhile.
func (a *Authorized) keep(ctx context.Context, t tokens) error {
	k := a.c.key(a.Holder)
	for range 10 {
		before, err := a.b.vault.Get(ctx, k)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("keep an account: %w", err)
		}
		e, err := t.entry(k, before.Generation+1)
		if err != nil {
			return err
		}
		err = a.b.put(ctx, e)
		if err == nil {
			a.b.memory.forget(k)
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return fmt.Errorf("keep an account: %w", err)
		}
	}
	return errors.New("keep an account: somebody else changes it all the time; try again")
}
