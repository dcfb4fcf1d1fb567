package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxKeyFile bounds a key set that is a file, in bytes.
const maxKeyFile = 1 << 20

// keyFetcher gets an issuer's keys from where they are.
type keyFetcher struct {
	issuer string
	jwks   string // URL or file; "" for what discovery says
	client *http.Client
	token  func() (string, error) // nil: none is sent
}

func (f *keyFetcher) fetch(ctx context.Context) (*keySet, error) {
	b, err := f.document(ctx)
	if err != nil {
		return nil, err
	}
	return readKeySet(b)
}

// document returns the key set as it is.
func (f *keyFetcher) document(ctx context.Context) ([]byte, error) {
	switch {
	case f.jwks == "":
		address, err := f.discover(ctx)
		if err != nil {
			return nil, err
		}
		return f.get(ctx, address, sameOrigin(address, f.issuer))
	case isURL(f.jwks):
		return f.get(ctx, f.jwks, true)
	}
	return readFile(f.jwks)
}

// discover returns the jwks_uri of the issuer's metadata: that of OpenID Connect
// Discovery 1.0, section 4, or where there is none that of RFC 8414, section 3.
func (f *keyFetcher) discover(ctx context.Context) (string, error) {
	u, err := url.Parse(f.issuer)
	if err != nil {
		return "", errors.New("the issuer is no URL")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	var status *statusError
	b, err := f.get(ctx, origin+path+"/.well-known/openid-configuration", true)
	if errors.As(err, &status) {
		b, err = f.get(ctx, origin+"/.well-known/oauth-authorization-server"+path, true)
	}
	if err != nil {
		return "", err
	}
	return f.readMetadata(b)
}

// readMetadata believes a document of the very issuer only (RFC 8414, section 3.3).
func (f *keyFetcher) readMetadata(b []byte) (string, error) {
	var metadata map[string]jsontext.Value
	if json.Unmarshal(b, &metadata) != nil {
		return "", errors.New("what was answered is no discovery document")
	}
	issuer, _ := text(metadata["issuer"])
	jwks, _ := text(metadata["jwks_uri"])
	switch {
	case issuer != f.issuer:
		return "", errors.New("the discovery document is of another issuer; the configured URL must be exactly the issuer that it names")
	case !isURL(jwks):
		return "", errors.New("the discovery document names no jwks_uri")
	}
	return jwks, nil
}

// statusError is an answer other than 200.
type statusError struct{ code int }

func (e *statusError) Error() string { return fmt.Sprintf("it was answered %d", e.code) }

func (f *keyFetcher) get(ctx context.Context, address string, withToken bool) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, errors.New("the address of the keys is no URL")
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	if f.token != nil && withToken {
		token, err := f.token()
		if err != nil {
			return nil, fmt.Errorf("the token for the issuer: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %w", address, &statusError{res.StatusCode})
	}
	b, err := io.ReadAll(res.Body) // bounded by the client
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return b, nil
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err == nil && len(b) > maxKeyFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxKeyFile)
	}
	return b, err
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// sameOrigin keeps the token for the issuer with the issuer.
func sameOrigin(a, b string) bool {
	u, errA := url.Parse(a)
	v, errB := url.Parse(b)
	return errA == nil && errB == nil && u.Scheme == v.Scheme && strings.EqualFold(u.Host, v.Host)
}
