package credential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// maxMetadata bounds a document that an authorization server or a resource serves.
const maxMetadata = 256 << 10

// resourceMetadata is of a protected resource (RFC 9728, section 2).
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	ScopesSupported      []string `json:"scopes_supported"`
}

// serverMetadata is of an authorization server (RFC 8414, section 2).
type serverMetadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	RegistrationEndpoint  string   `json:"registration_endpoint"`
	ScopesSupported       []string `json:"scopes_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	ClientDocuments       bool     `json:"client_id_metadata_document_supported"`
	SendsIssuer           bool     `json:"authorization_response_iss_parameter_supported"`
}

// errNoDocument says that there is no document, and that another may be elsewhere.
var errNoDocument = errors.New("there is no such document")

// document fetches JSON into v.
func (b *Broker) document(ctx context.Context, c *brokered, address string, v any) error {
	if err := b.checkEndpoint(c, "the metadata's address", address); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("ask %s for metadata: the address can't be read", host(address))
	}
	req.Header.Set("Accept", "application/json")
	res, err := b.client(c, address).Do(req)
	if err != nil {
		return unreached(address, err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode >= 400 && res.StatusCode < 500:
		return errNoDocument
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers with status %d where its metadata should be", host(address), res.StatusCode)
	}
	return readDocument(address, res.Body, v)
}

// readDocument reads bounded JSON. The error shows nothing of it.
func readDocument(address string, body io.Reader, v any) error {
	text, err := io.ReadAll(io.LimitReader(body, maxMetadata+1))
	switch {
	case err != nil:
		return fmt.Errorf("what %s sends can't be read to its end", host(address))
	case len(text) > maxMetadata:
		return fmt.Errorf("%s sends more than %d KiB where its metadata should be", host(address), maxMetadata>>10)
	case json.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), v) != nil:
		return fmt.Errorf("what %s sends as metadata is not valid JSON of that kind", host(address))
	}
	return nil
}

// unreached is an error of a client, without the address's path and query.
func unreached(address string, err error) error {
	if transport := (*url.Error)(nil); errors.As(err, &transport) {
		err = transport.Err
	}
	return fmt.Errorf("%s can't be reached: %w", host(address), err)
}

// wellKnown puts a well-known path before the path of a URL (RFC 8414, section 3.1,
// and RFC 9728, section 3.1).
func wellKnown(u *url.URL, name string) string {
	return u.Scheme + "://" + u.Host + "/.well-known/" + name + strings.TrimSuffix(u.EscapedPath(), "/")
}

// authorizationServer fetches the metadata of an issuer: of OAuth, or of OpenID
// Connect in either form, as MCP's authorization orders them.
func (b *Broker) authorizationServer(ctx context.Context, c *brokered, issuer string) (serverMetadata, error) {
	if err := b.checkEndpoint(c, "the issuer", issuer); err != nil {
		return serverMetadata{}, err
	}
	u, err := url.Parse(issuer)
	if err != nil || u.RawQuery != "" {
		return serverMetadata{}, fmt.Errorf("the issuer %s is not a URL without a query", host(issuer))
	}
	places := []string{wellKnown(u, "oauth-authorization-server"), wellKnown(u, "openid-configuration")}
	if path := strings.TrimSuffix(u.EscapedPath(), "/"); path != "" {
		places = append(places, u.Scheme+"://"+u.Host+path+"/.well-known/openid-configuration")
	}
	for _, place := range places {
		var m serverMetadata
		err := b.document(ctx, c, place, &m)
		if errors.Is(err, errNoDocument) {
			continue
		}
		if err != nil {
			return serverMetadata{}, err
		}
		return m, b.checkServer(c, issuer, m)
	}
	return serverMetadata{}, fmt.Errorf("the authorization server %s has no metadata", u.Host)
}

// checkServer holds what an authorization with it goes by.
func (b *Broker) checkServer(c *brokered, issuer string, m serverMetadata) error {
	if m.Issuer != issuer {
		return fmt.Errorf("the metadata of the authorization server %s is of another issuer", host(issuer))
	}
	endpoints := [][2]string{{"authorization_endpoint", m.AuthorizationEndpoint}, {"token_endpoint", m.TokenEndpoint}}
	if m.RegistrationEndpoint != "" {
		endpoints = append(endpoints, [2]string{"registration_endpoint", m.RegistrationEndpoint})
	}
	for _, e := range endpoints {
		if err := b.checkEndpoint(c, e[0], e[1]); err != nil {
			return fmt.Errorf("the metadata of the authorization server %s: %w", host(issuer), err)
		}
	}
	switch {
	case len(m.ResponseTypes) > 0 && !slices.Contains(m.ResponseTypes, "code"):
		return fmt.Errorf("the authorization server %s gives no authorization codes", host(issuer))
	case !slices.Contains(m.ChallengeMethods, "S256"):
		return fmt.Errorf("the authorization server %s does not say that it supports PKCE with S256, without which a stolen code could be used", host(issuer))
	}
	return nil
}
