package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// OAuth is where clients show access tokens of an authorization server, in place
// of grant tokens. There, and only there, they are told of the issuers: by
// protected resource metadata (RFC 9728), and by the challenges of RFC 6750 that
// lead to it (MCP, authorization). Which tokens are good is the PDP's to say: it is
// told the URL of the server with all that it is asked.
type OAuth struct {
	// URL is the public address under which clients reach it, without /mcp/NAME.
	URL *url.URL
	// Issuers are the authorization servers, at least one.
	Issuers []string
	// Scopes are those that a client should ask for to begin with.
	Scopes []string
	// Apart says that it has a listener of its own, for [Proxy.OAuth]. Otherwise
	// the Proxy serves it as well, below the path of URL.
	Apart bool
}

const (
	metadataPath = wellKnownPrefix + "oauth-protected-resource"
	corsAnybody  = "*"
)

// oauth is an OAuth in use.
type oauth struct {
	OAuth
	origin   string            // of URL
	path     string            // of URL, as it stands in request targets
	metadata map[string][]byte // by request target
}

func newOAuth(o OAuth, servers []Server) (*oauth, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	o.Scopes = slices.DeleteFunc(slices.Clone(o.Scopes), func(s string) bool { return s == "offline_access" })
	out := &oauth{
		OAuth: o, origin: o.URL.Scheme + "://" + o.URL.Host, path: o.URL.EscapedPath(),
		metadata: make(map[string][]byte, 2*len(servers)+1),
	}
	for _, s := range servers {
		at := out.path + mcpPrefix + s.Name
		out.metadata[metadataPath+at] = out.document(s.Name, "")
		out.metadata[metadataPath+at+"/"] = out.document(s.Name, "/")
	}
	if o.Apart && len(servers) == 1 {
		out.metadata[metadataPath] = out.document(servers[0].Name, "")
	}
	return out, nil
}

func (o OAuth) check() error {
	u := o.URL
	switch {
	case u == nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("the address for access tokens is not http(s)://host[:port][/path]")
	case strings.HasSuffix(u.Path, "/"):
		return errors.New("the address for access tokens ends in a slash")
	case !o.Apart && (u.Path == "" || isTaken(u.Path)):
		return errors.New("the address for access tokens needs a path of its own, such as /oauth, beside /mcp and /grants")
	case len(o.Issuers) == 0:
		return errors.New("there is no authorization server whose access tokens are good")
	}
	for _, s := range o.Scopes {
		if !isScope(s) {
			return fmt.Errorf("%q is not a scope", s)
		}
	}
	return nil
}

// isTaken says of a path that something else is served there.
func isTaken(path string) bool {
	first, _, _ := strings.Cut(path[1:], "/")
	return first == "mcp" || first == "grants" || first == ".well-known"
}

// owns says whether a request to this target is served here, and not where grant
// tokens are shown.
func (o *oauth) owns(target string) bool {
	return strings.HasPrefix(target, o.path+"/") || o.metadata[target] != nil
}

// resource is what access tokens for a server have to be for. It is never empty
// where access tokens are shown, and always where grant tokens are.
func (o *oauth) resource(server string) string {
	switch {
	case o == nil:
		return ""
	case server == "":
		return o.origin + o.path
	}
	return o.origin + o.path + mcpPrefix + server
}

// document is the metadata of a server whose URL ends as said: the form that is
// asked for is the form that it names (RFC 9728, section 3.3).
func (o *oauth) document(server, end string) []byte {
	b, err := json.Marshal(struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Scopes   []string `json:"scopes_supported,omitempty"`
		Methods  []string `json:"bearer_methods_supported"`
		Name     string   `json:"resource_name"`
	}{o.resource(server) + end, o.Issuers, o.Scopes, []string{"header"}, server})
	if err != nil {
		panic(err) // it is made of strings
	}
	return b
}

// OAuth is the handler for a listener of its own, where clients show access tokens
// and nothing else is served; see [OAuth]. Serve it as the Proxy itself. It answers
// 404 to all where there is no such listener.
func (p *Proxy) OAuth() http.Handler {
	if p.oauth == nil {
		return http.NotFoundHandler()
	}
	return http.HandlerFunc(p.serveOAuth)
}

func (p *Proxy) serveOAuth(w http.ResponseWriter, r *http.Request) {
	switch document := p.oauth.metadata[r.RequestURI]; {
	case document != nil:
		p.showMetadata(w, r, document)
	case isWellKnown(r.RequestURI):
		http.NotFound(w, r)
	default:
		p.serve(w, r, p.oauth)
	}
}

// showMetadata shows anybody what is no secret. It is no frame, and is not
// decided on.
func (p *Proxy) showMetadata(w http.ResponseWriter, r *http.Request, document []byte) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", corsAnybody)
	h["X-Content-Type-Options"] = noSniff
	switch err := p.hosts.check(r.Host, nil); {
	case err != nil:
		http.Error(w, err.Error(), http.StatusForbidden)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "use GET", http.StatusMethodNotAllowed)
	default:
		h["Content-Type"] = jsonOnly
		h.Set("Cache-Control", "public, max-age=60")
		h.Set("Content-Length", strconv.Itoa(len(document)))
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			_, _ = w.Write(document) // fails when nobody reads it
		}
	}
}

// challenge is what a client is told that has shown no credential, or none that
// is good (RFC 6750, section 3; RFC 9728, section 5.1).
func (a *act) challenge() string {
	if a.oauth == nil {
		// Without resource_metadata: where grant tokens are shown, clients must not
		// be made to look for an authorization server.
		return "Bearer"
	}
	said := []parameter{{"resource_metadata", a.metadataURL()}, {"scope", strings.Join(a.oauth.Scopes, " ")}}
	if a.evidence.GetBearerToken() != "" {
		said = append(said, parameter{"error", "invalid_token"}, parameter{"error_description", a.decision.GetReason()})
	}
	return bearerChallenge(said)
}

// metadataURL is where the metadata of the act's server is, for the URL in the
// form in which the client has it.
func (a *act) metadataURL() string { return a.oauth.origin + metadataPath + a.r.RequestURI }

// stepUp answers a frame for which the client needs a token with more scopes: where
// there are access tokens, by the challenge that has it ask for one with all of them
// at once (RFC 6750, section 3.1; MCP, authorization, step-up); elsewhere, and where
// the name is to be hidden, like any other refusal.
func (a *act) stepUp(d *v1.DecideResponse) {
	scopes := slices.DeleteFunc(slices.Clone(d.GetScopes()), func(s string) bool { return !isScope(s) || s == "offline_access" })
	if a.oauth == nil || len(scopes) == 0 || d.GetEffect() != v1.Effect_EFFECT_DENY {
		a.denyFrame(d)
		return
	}
	a.w.Header().Set(headerChallenge, bearerChallenge([]parameter{
		{"error", "insufficient_scope"},
		{"scope", strings.Join(scopes, " ")},
		{"resource_metadata", a.metadataURL()},
		{"error_description", d.GetReason()},
	}))
	a.write(http.StatusForbidden, a.failure(d.GetReason()))
}

// parameter of a challenge; an empty one is left out.
type parameter struct{ name, value string }

func bearerChallenge(said []parameter) string {
	var all []string
	for _, p := range said {
		if p.value != "" {
			all = append(all, p.name+`="`+quotable(p.value)+`"`)
		}
	}
	return "Bearer " + strings.Join(all, ", ")
}

// quotable is text as it may stand in a quoted string of a challenge (RFC 6750,
// section 3): printable ASCII without quotes and backslashes.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < ' ':
			return ' '
		case r > '~':
			return '?'
		}
		return r
	}, s)
}

// isScope says whether s is one scope (RFC 6749, section 3.3).
func isScope(s string) bool {
	return isVisible(s, 256) && !strings.ContainsAny(s, `"\`)
}
