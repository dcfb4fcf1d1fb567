package pep

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Headers are the headers that the allowed frame has to carry to the upstream,
// name and value. The values are secret.
func Headers(r *v1.DecideResponse) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, o := range r.GetObligations() {
			if h := o.GetSetHeader(); h != nil && !yield(h.GetName(), h.GetValue()) {
				return
			}
		}
	}
}

// MaxTTL is how long a client may cache the listing that was allowed, or
// otherwise where the decision does not say.
func MaxTTL(r *v1.DecideResponse, otherwise time.Duration) time.Duration {
	for _, o := range r.GetObligations() {
		if f := o.GetFilterListing(); f.GetMaxTtl() != nil {
			otherwise = min(otherwise, max(0, f.GetMaxTtl().AsDuration()))
		}
	}
	return otherwise
}

// dischargeable says why an obligation cannot be carried out on the frame of
// r, or nil.
func dischargeable(r *v1.DecideRequest, o *v1.Obligation) error {
	toClient := r.GetContext().GetDirection() == v1.Direction_DIRECTION_TO_CLIENT
	switch act := o.GetAct().(type) {
	case *v1.Obligation_SetHeader:
		if toClient {
			return fmt.Errorf("set_header on a frame to the client")
		}
		return settable(act.SetHeader)
	case *v1.Obligation_FilterListing:
		if toClient || !mcp.IsListing(r.GetMethod()) {
			return fmt.Errorf("filter_listing on %s", r.GetMethod())
		}
		return nil
	default:
		return fmt.Errorf("of a kind that this version does not know")
	}
}

// settable refuses headers that frame the message, name its hop, or say what
// the frame is: those are the PEP's own. The value never enters the error.
func settable(h *v1.SetHeader) error {
	name := strings.ToLower(h.GetName())
	switch {
	case !httpguts.ValidHeaderFieldName(name), strings.Contains(name, "_"):
		return fmt.Errorf("set_header with an impossible name")
	case !httpguts.ValidHeaderFieldValue(h.GetValue()):
		return fmt.Errorf("set_header %s with an impossible value", name)
	case ownHeaders[name], strings.HasPrefix(name, "mcp-"):
		return fmt.Errorf("set_header %s, which is the enforcement point's own", name)
	}
	return nil
}

var ownHeaders = map[string]bool{
	"host": true, "content-length": true, "transfer-encoding": true, "content-type": true, "content-encoding": true,
	"connection": true, "keep-alive": true, "proxy-connection": true, "te": true, "trailer": true, "upgrade": true,
	"expect": true, "accept": true, "accept-encoding": true, "last-event-id": true,
}
