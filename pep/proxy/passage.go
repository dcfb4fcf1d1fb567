package proxy

import (
	"context"
	"net/http"

	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// An enforcement point that does not forward by itself, such as an Envoy's,
// serves its requests with a Proxy all the same: its ResponseWriter takes the
// gateway's answers, and its RoundTripper lets a request go on elsewhere.

// Observer is a ResponseWriter that wants to know what was decided.
type Observer interface {
	// Decided is called with the decision on the request itself, once and before
	// anything is written or forwarded.
	Decided(*v1.DecideRequest, *v1.DecideResponse)
}

// Passage is what a RoundTripper may know of a client's request that it is given.
type Passage struct {
	// ReadAnswer says that the answer must be read, whatever it is: the decision
	// or the protocol leave open what of it may pass. The answer to any other
	// request has to be read only where it is an event stream.
	ReadAnswer bool
}

// Reported is the error of a RoundTripper whose request went on elsewhere, and
// whose answer has been given without being read here.
type Reported struct{ Outcome *v1.Outcome }

func (*Reported) Error() string { return "the request was answered elsewhere" }

type passageKey struct{}

// PassageFrom returns the passage of a client's request; false for a request
// that the gateway makes by itself.
func PassageFrom(ctx context.Context) (Passage, bool) {
	a, ok := ctx.Value(passageKey{}).(*act)
	if !ok {
		return Passage{}, false
	}
	return a.passage(), true
}

// passage judges the act, which has been allowed.
func (a *act) passage() Passage {
	if a.kind == v1.FrameKind_FRAME_KIND_NOTIFICATION || a.kind == v1.FrameKind_FRAME_KIND_RESPONSE {
		return Passage{}
	}
	switch a.method {
	case "tools/call", "prompts/get", "completion/complete", "ping", "logging/setLevel":
		// A result of 2026-07-28 can ask the client for more. Before that a server
		// did so by a message of its own, which clients take from a JSON answer as
		// well as from an event stream.
		if a.frame.Meta.Modern {
			return Passage{ReadAnswer: askable(a.frame.Meta)}
		}
		client := a.dialog.introduced()
		return Passage{ReadAnswer: client.askable || client.protocol == ""}
	}
	// Listings, whatever opens, closes or streams, what could be hidden by the
	// server itself, and what is not known.
	return Passage{ReadAnswer: true}
}

// askable says whether the client takes requests of the server.
func askable(m mcp.Meta) (is bool) {
	members(m.Capabilities, func(name string, _ []byte) bool {
		is = is || name == "sampling" || name == "elicitation" || name == "roots"
		return !is
	})
	return is
}

// observe tells a ResponseWriter that wants to know.
func observe(w http.ResponseWriter, q *v1.DecideRequest, d *v1.DecideResponse) {
	if o, ok := w.(Observer); ok {
		o.Decided(q, d)
	}
}
