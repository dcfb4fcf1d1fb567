package mcp

import "errors"

// The functions below are the seams that pep, pep/proxy and cmd build on.
// This file goes away as each moves to the file that is named after what it does.

var errUnwritten = errors.New("not written yet")

// Read reads one frame that was sent in the given direction. b is kept, not
// copied. The error is always a *Fault.
func Read(b []byte, dir Direction, lim Limits) (*Frame, error) {
	return nil, &Fault{Code: -32600, Status: 400, Rule: "unwritten", Reason: errUnwritten.Error(), Offset: -1}
}

// Header is what the header rules look at; net/http.Header is one.
type Header = map[string][]string

// CheckTransport applies the rules on a POST's headers that do not depend on
// the body: exactly one Content-Type application/json (charset utf-8 or none),
// no Content-Encoding, no repeated Mcp-*, version or Authorization header, no
// header name with an underscore that folds to one of these. (DESIGN 6)
func CheckTransport(h Header) *Fault { return nil }

// CheckHeaders compares the headers that a 2026-07-28 client must send with
// the frame (MCP 2026-07-28, transports, header validation; fault -32020), and
// refuses era confusion for the others. definition is the listed tool that
// the frame calls, or nil: with it, the Mcp-Param-* headers that its schema
// declares are compared with the arguments.
func CheckHeaders(h Header, f *Frame, definition []byte) *Fault { return nil }

// Item is one entry of a listing.
type Item struct {
	Name string // tool or prompt name, resource uri, uriTemplate
	Raw  []byte // the entry's bytes
}

// Listing is the result of tools/list, resources/list, resources/templates/list
// or prompts/list, inside its whole response frame.
type Listing struct {
	Items      []Item
	NextCursor []byte // raw token, nil on the last page
	// …offsets for splicing…
}

// ReadListing reads a response frame that answers the given list method. A
// frame that is a JSON-RPC error gives (nil, nil). What cannot be read is a
// Fault: it must not reach the client.
func ReadListing(method string, b []byte, lim Limits) (*Listing, error) {
	return nil, errUnwritten
}

// Keep returns the frame with only those items whose flag is set: order and
// bytes of what stays are unchanged; cacheScope becomes "private" and ttlMs
// at most maxTTL milliseconds where they are present (they are not added).
func (l *Listing) Keep(keep []bool, maxTTLms int64) []byte { return nil }

// The answers that the gateway makes itself. Each is one JSON-RPC message
// without a line break; U+2028 and U+2029 are escaped. era is the era of the
// client: 2026-07-28 results carry resultType.

// Decision identifies a decision in an answer's _meta.
type Decision struct {
	ID         string
	ReasonCode string // "policy", "no_match", …: the ReasonCode in lower case
	ApprovalID string // with effect approve
	URL        string
	ExpiresAt  string // RFC 3339
}

// Denied answers a refused request: a result with isError and the text
// "[POLICY DENIED] "+reason for tools/call, and a JSON-RPC error with code
// CodeDenied for every other method.
func Denied(f *Frame, reason string, d Decision) []byte { return nil }

// ApprovalNeeded answers a call that waits for a person.
func ApprovalNeeded(f *Frame, reason string, d Decision) []byte { return nil }

// Unknown answers a request whose target does not exist or is hidden: the two
// are the same bytes. tools/call and prompts/get: -32602 "Unknown tool: NAME";
// resources: the not-found answer of the client's era.
func Unknown(f *Frame) []byte { return nil }

// Failed answers a request that could not be served (PDP or upstream away).
func Failed(id []byte, reason string) []byte { return nil }

// Faulted answers a frame that was refused by the reader.
func Faulted(f *Fault) []byte { return nil }

// Event is one server-sent event.
type Event struct {
	Raw  []byte // the whole block as it arrived, its blank line included
	Data []byte // the data lines joined by LF; nil when there is none
	ID   string
	Type string // "message" when the block names none
}
