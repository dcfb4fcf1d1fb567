package proxy

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/propagation"
)

const (
	headerSession   = "Mcp-Session-Id"
	headerVersion   = "Mcp-Protocol-Version"
	headerLastEvent = "Last-Event-Id"
	headerChallenge = "Www-Authenticate"

	typeJSON   = "application/json"
	typeEvents = "text/event-stream"
)

// Values of headers that never change. Nobody may write to a header's value,
// only put another in its place.
var (
	userAgent    = []string{"mcpermit"}
	identityOnly = []string{"identity"}
	jsonOnly     = []string{typeJSON}
	noStore      = []string{"no-store"}
	noSniff      = []string{"nosniff"}
)

// carried are the headers of a client's request that go on to the upstream, as
// they were validated; beside them only Mcp-Method, Mcp-Name and Mcp-Param-*
// do. Everything else ends here: credentials, cookies, hop-by-hop headers,
// what claims to come from a proxy before us. So nothing that Connection names
// can take anything away either.
var carried = []string{"Accept", headerVersion, headerLastEvent}

// upstreamHeader is the header of a request to the upstream on behalf of the
// client's.
func upstreamHeader(ctx context.Context, from http.Header, session string) http.Header {
	h := make(http.Header, 8)
	for _, name := range carried {
		switch values := from[name]; len(values) {
		case 0:
		case 1:
			h[name] = values[:1:1]
		default:
			h[name] = []string{strings.Join(values, ", ")}
		}
	}
	for name, values := range from {
		if len(values) == 1 && (name == "Mcp-Method" || name == "Mcp-Name" || strings.HasPrefix(name, "Mcp-Param-")) {
			h[name] = values[:1:1]
		}
	}
	if session != "" {
		h.Set(headerSession, session)
	}
	ownHeader(ctx, h)
	return h
}

// ownHeader adds what every request of the gateway has.
func ownHeader(ctx context.Context, h http.Header) {
	h["User-Agent"], h["Accept-Encoding"] = userAgent, identityOnly
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
}

// acceptsOnlyEvents reports whether the client takes an event stream and no
// plain JSON.
func acceptsOnlyEvents(h http.Header) bool {
	events := false
	for _, value := range h["Accept"] {
		for kind := range strings.SplitSeq(value, ",") {
			kind, _, _ = strings.Cut(kind, ";")
			switch strings.ToLower(strings.TrimSpace(kind)) {
			case typeJSON, "application/*", "*/*":
				return false
			case typeEvents, "text/*":
				events = true
			}
		}
	}
	return events
}

// mediaType is the type of a Content-Type in lower case, without parameters.
func mediaType(h http.Header) string {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

// isSeconds reports whether s is a number of seconds, as Retry-After has it (RFC
// 9110, section 10.2.3). Nothing else of a server's headers goes on: it may repeat
// there what it was sent.
func isSeconds(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || '9' < c {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 9
}

// isVisible reports whether s is made of 1 to limit visible ASCII characters.
func isVisible(s string, limit int) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || 0x7f <= c {
			return false
		}
	}
	return 0 < len(s) && len(s) <= limit
}
