package credential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Paths of the console that authorization servers know the gateway by.
const (
	CallbackPath       = "/oauth/callback"
	ClientDocumentPath = "/oauth/client.json"
)

// clientName is what people see at the authorization server.
const clientName = "MCPermit"

// registration is the gateway as a client of an authorization server, as it lies in
// the vault. Formatting it shows no secret.
type registration struct {
	ClientID     string    `json:"client_id"` // "" where somebody is about to register
	ClientSecret string    `json:"client_secret,omitzero"`
	Method       string    `json:"method,omitzero"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"`
}

// String shows no secret, whatever the verb.
func (r registration) String() string { return "client " + r.ClientID }

// GoString shows no secret.
func (r registration) GoString() string { return r.String() }

// LogValue shows no secret.
func (r registration) LogValue() slog.Value { return slog.StringValue(r.String()) }

// clientDocument is client metadata: of a document (draft-ietf-oauth-client-id-
// metadata-document) and of a registration (RFC 7591, section 2).
type clientDocument struct {
	ClientID      string   `json:"client_id,omitzero"`
	Name          string   `json:"client_name"`
	URI           string   `json:"client_uri,omitzero"`
	RedirectURIs  []string `json:"redirect_uris"`
	GrantTypes    []string `json:"grant_types"`
	ResponseTypes []string `json:"response_types"`
	AuthMethod    string   `json:"token_endpoint_auth_method"`
}

func (b *Broker) clientDocument(method string) clientDocument {
	return clientDocument{
		Name: clientName, RedirectURIs: []string{b.console + CallbackPath}, GrantTypes: []string{"authorization_code", "refresh_token"},
		ResponseTypes: []string{"code"}, AuthMethod: method,
	}
}

// ClientDocument is what the console serves under [ClientDocumentPath]: the gateway
// as a client of authorization servers that know clients by such documents. There is
// none where the console is not reached by https.
func (b *Broker) ClientDocument() ([]byte, bool) {
	if !strings.HasPrefix(b.console, "https://") {
		return nil, false
	}
	d := b.clientDocument(authNone)
	d.ClientID, d.URI = b.console+ClientDocumentPath, b.console
	text, err := json.Marshal(d)
	return text, err == nil
}

// clientOf is the gateway as the authorization server knows it: as the configuration
// says, by its document, or as it registers itself.
func (b *Broker) clientOf(ctx context.Context, c *brokered, f found) (registration, error) {
	a := c.Account
	switch {
	case a.ClientID != "":
		return registration{ClientID: a.ClientID, ClientSecret: a.ClientSecret, Method: method(a.ClientSecret, f.server.AuthMethods)}, nil
	case f.server.ClientDocuments && strings.HasPrefix(b.console, "https://"):
		return registration{ClientID: b.console + ClientDocumentPath, Method: authNone}, nil
	case f.server.RegistrationEndpoint == "":
		return registration{}, told(fmt.Errorf("the authorization server %s registers nobody by itself; register the redirect URI %s there, and put account.client_id into the configuration",
			host(f.server.Issuer), b.console+CallbackPath))
	}
	return b.registered(ctx, c, f)
}

// registered is the registration of the vault, or a new one, for all of this process
// who ask at the time.
func (b *Broker) registered(ctx context.Context, c *brokered, f found) (registration, error) {
	results := b.flights.DoChan("register\x00"+f.server.Issuer, func() (any, error) {
		if !b.enter() {
			return registration{}, errClosed
		}
		defer b.flying.Done()
		ctx, cancel := context.WithTimeout(context.Background(), renewalTime)
		defer cancel()
		return b.registerOnce(ctx, c, f)
	})
	select {
	case r := <-results:
		return r.Val.(registration), r.Err
	case <-ctx.Done():
		return registration{}, ctx.Err()
	}
}

// registerOnce registers where the vault has nothing. One replica does, as one renews
// tokens; the others wait for what it puts.
func (b *Broker) registerOnce(ctx context.Context, c *brokered, f found) (registration, error) {
	k := b.registrationKey(f.server.Issuer)
	for {
		r, generation, err := b.registration(ctx, k)
		if err != nil {
			return registration{}, err
		}
		if b.goodRegistration(r) {
			return r, nil
		}
		if generation == 0 {
			if err := b.keepRegistration(ctx, k, registration{}, 1); err != nil && !errors.Is(err, ErrConflict) {
				return registration{}, err
			}
			generation = 1
		}
		leased, err := b.vault.Lease(ctx, k, generation, leaseTime)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return registration{}, fmt.Errorf("reserve the registration at %s: %w", host(k.Name), err)
		}
		if leased {
			r, err := b.register(ctx, c, f)
			if err != nil {
				return registration{}, told(err)
			}
			if err := b.keepRegistration(ctx, k, r, generation+1); !errors.Is(err, ErrConflict) {
				return r, err
			}
		} else if err := pause(ctx, pollTime); err != nil {
			return registration{}, fmt.Errorf("another decision point is registering at %s, and has not done so in time", host(k.Name))
		}
	}
}

// registrationKey is where a registration is kept. It is good for one address of the
// console, which replicas may each have of their own.
func (b *Broker) registrationKey(issuer string) Key {
	return Key{Kind: KindRegistration, Name: issuer, Holder: b.console}
}

// goodRegistration says whether the authorization server still goes by it.
func (b *Broker) goodRegistration(r registration) bool {
	return r.ClientID != "" && (r.ExpiresAt.IsZero() || b.now().Add(time.Minute).Before(r.ExpiresAt))
}

// registration reads the vault; generation 0: there is none.
func (b *Broker) registration(ctx context.Context, k Key) (registration, int64, error) {
	e, err := b.vault.Get(ctx, k)
	if errors.Is(err, ErrNotFound) {
		return registration{}, 0, nil
	}
	if err != nil {
		return registration{}, 0, fmt.Errorf("read the registration at %s: %w", host(k.Name), err)
	}
	var r registration
	if json.Unmarshal(e.Value, &r) != nil {
		return registration{}, 0, fmt.Errorf("what the vault keeps for %s is no registration", host(k.Name))
	}
	return r, e.Generation, nil
}

func (b *Broker) keepRegistration(ctx context.Context, k Key, r registration, generation int64) error {
	value, err := json.Marshal(r)
	if err == nil {
		err = b.vault.Put(ctx, Entry{Key: k, Generation: generation, Value: value, ExpiresAt: r.ExpiresAt})
	}
	if err != nil {
		return fmt.Errorf("keep the registration at %s: %w", host(k.Name), err)
	}
	return nil
}

// register registers the gateway (RFC 7591, section 3).
func (b *Broker) register(ctx context.Context, c *brokered, f found) (registration, error) {
	want := authBase
	for _, m := range []string{authNone, authBody, authBase} { // the last that is supported
		if slices.Contains(f.server.AuthMethods, m) {
			want = m
		}
	}
	body, err := json.Marshal(b.clientDocument(want))
	if err != nil {
		return registration{}, err
	}
	address := f.server.RegistrationEndpoint
	ctx, cancel := context.WithTimeout(ctx, tokenPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return registration{}, fmt.Errorf("register at %s: the address can't be read", host(address))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	res, err := still(b.client(c, address)).Do(req)
	if err != nil {
		return registration{}, unreached(address, err)
	}
	defer res.Body.Close()
	var answer struct {
		ClientID  string `json:"client_id"`
		Secret    string `json:"client_secret"`
		ExpiresAt int64  `json:"client_secret_expires_at"`
		Method    string `json:"token_endpoint_auth_method"`
		Error     string `json:"error"`
	}
	if err := readDocument(address, res.Body, &answer); err != nil && res.StatusCode < 300 {
		return registration{}, err
	}
	if res.StatusCode != http.StatusCreated && res.StatusCode != http.StatusOK || answer.ClientID == "" {
		e := &EndpointError{Host: host(address), Status: res.StatusCode}
		if errorCode.MatchString(answer.Error) {
			e.Code = answer.Error
		}
		return registration{}, e
	}
	r := registration{ClientID: answer.ClientID, ClientSecret: answer.Secret, Method: answer.Method}
	if r.Method == "" {
		r.Method = want
	}
	if answer.ExpiresAt > 0 {
		r.ExpiresAt = time.Unix(answer.ExpiresAt, 0).UTC()
	}
	b.log.InfoContext(ctx, "registered at an authorization server", "issuer", f.server.Issuer, "client", r.ClientID)
	return r, nil
}
