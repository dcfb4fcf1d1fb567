package credential

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// found is what is known of how accounts of a server are connected.
type found struct {
	server   serverMetadata
	resource string
	scopes   []string
}

// discoveryTime bounds the discovery of one server.
const discoveryTime = 20 * time.Second

// discover finds a server's authorization server, and what to ask it for.
func (b *Broker) discover(ctx context.Context, c *brokered) (found, error) {
	ctx, cancel := context.WithTimeout(ctx, discoveryTime)
	defer cancel()
	asked, err := b.probe(ctx, c)
	if err != nil {
		return found{}, err
	}
	of, err := b.protectedResource(ctx, c, asked)
	if err != nil && (c.Account.Issuer == "" || !errors.Is(err, errNoDocument)) {
		return found{}, noServer(c.server, err)
	}
	issuer := c.Account.Issuer
	if issuer == "" {
		if len(of.AuthorizationServers) == 0 {
			return found{}, noServer(c.server, errNoDocument)
		}
		issuer = of.AuthorizationServers[0]
	}
	f := found{resource: of.Resource, scopes: c.Account.Scopes}
	if f.resource == "" {
		f.resource = resource(c.url)
	}
	if f.server, err = b.authorizationServer(ctx, c, issuer); err != nil {
		return found{}, err
	}
	f.scopes = scopes(c.Account.Scopes, strings.Fields(asked.params["scope"]), of.ScopesSupported)
	if len(c.Account.Scopes) == 0 && slices.Contains(f.server.ScopesSupported, scopeOffline) && !slices.Contains(f.scopes, scopeOffline) {
		f.scopes = append(slices.Clip(f.scopes), scopeOffline) // or there is no refresh token
	}
	return f, nil
}

// scopeOffline asks for a refresh token (OpenID Connect Core, section 11).
const scopeOffline = "offline_access"

// scopes are the first that somebody has named, without what no scope can be.
func scopes(lists ...[]string) []string {
	for _, list := range lists {
		list = slices.DeleteFunc(slices.Clone(list), func(s string) bool {
			return s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
		})
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

func noServer(server string, err error) error {
	if errors.Is(err, errNoDocument) {
		return fmt.Errorf("server %s does not say who its authorization server is; name it as account.issuer in the configuration", server)
	}
	return err
}

// ping is a request without effect, and without a session, that a server which
// protects itself answers with a challenge.
const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`

// probe asks the server for its challenge; it may have none.
func (b *Broker) probe(ctx context.Context, c *brokered) (challenge, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(ping))
	if err != nil {
		return challenge{}, fmt.Errorf("ask server %s: its URL can't be read", c.server)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	res, err := still(b.client(c, c.url)).Do(req)
	if err != nil {
		return challenge{}, unreached(c.url, err)
	}
	_ = res.Body.Close()
	asked, _ := bearerChallenge(res.Header.Values("WWW-Authenticate"))
	if res.StatusCode != http.StatusUnauthorized {
		asked = challenge{}
	}
	return asked, nil
}

// protectedResource fetches the server's metadata: from where its challenge says, or
// else below its path, or at the root.
func (b *Broker) protectedResource(ctx context.Context, c *brokered, asked challenge) (resourceMetadata, error) {
	u, err := url.Parse(c.url)
	if err != nil {
		return resourceMetadata{}, errNoDocument
	}
	const name = "oauth-protected-resource"
	root := &url.URL{Scheme: u.Scheme, Host: u.Host}
	places := slices.Compact([]string{wellKnown(u, name), wellKnown(root, name)})
	if said := asked.params["resource_metadata"]; said != "" {
		places = []string{said}
	}
	for _, place := range places {
		var m resourceMetadata
		err := b.document(ctx, c, place, &m)
		if errors.Is(err, errNoDocument) {
			continue
		}
		if err != nil {
			return resourceMetadata{}, err
		}
		if !covers(m.Resource, c.url) {
			return resourceMetadata{}, fmt.Errorf("the metadata at %s is of another resource than server %s", host(place), c.server)
		}
		return m, nil
	}
	return resourceMetadata{}, errNoDocument
}

// covers says whether a resource is the server, or what it is below of: of the same
// origin, and with a path that the server's begins with.
func covers(resource, server string) bool {
	r, err := url.Parse(resource)
	s, err2 := url.Parse(server)
	if err != nil || err2 != nil || origin(resource) == "" || originOf(r) != originOf(s) || r.RawQuery != "" || r.Fragment != "" {
		return false
	}
	above, path := strings.TrimSuffix(r.EscapedPath(), "/"), strings.TrimSuffix(s.EscapedPath(), "/")
	return path == above || strings.HasPrefix(path, above+"/")
}

// offers are what was discovered lately, so that what a person is shown is what they
// then agree to, and looking at the page is cheap.
type offers struct {
	mu   sync.Mutex
	list map[*brokered]offered
}

type offered struct {
	found
	at time.Time
}

// offerTime is how long a discovery is good.
const offerTime = 5 * time.Minute

func newOffers() offers { return offers{list: map[*brokered]offered{}} }

// discovered is discover, remembered.
func (b *Broker) discovered(ctx context.Context, c *brokered) (found, error) {
	now := b.now()
	b.offers.mu.Lock()
	o, ok := b.offers.list[c]
	b.offers.mu.Unlock()
	if age := now.Sub(o.at); ok && age >= 0 && age < offerTime {
		return o.found, nil
	}
	f, err := b.discover(ctx, c)
	if err != nil {
		return found{}, err
	}
	b.offers.mu.Lock()
	defer b.offers.mu.Unlock()
	b.offers.list[c] = offered{f, now}
	return f, nil
}
