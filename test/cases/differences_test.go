package cases

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/mcpermit/mcpermit/pdp/audit"
)

// Everything in which the four ways may differ is in this file. What is not
// here is compared: statuses, bodies and, of the records, all the rest.

// responseHeadersByNature are not compared, for the reason given.
var responseHeadersByNature = map[string]string{
	"Date":                          "the time",
	"Server":                        "Envoy says its name",
	"Content-Length":                "framing of HTTP/1.1: Envoy sends an answer that was read in chunks",
	"Transfer-Encoding":             "the same",
	"Connection":                    "belongs to one connection",
	"X-Envoy-Upstream-Service-Time": "Envoy's own",
}

// requestHeadersByNature are what the server may see differently.
var requestHeadersByNature = map[string]string{
	"Content-Length":    "framing of HTTP/1.1",
	"Transfer-Encoding": "the same",
	"Traceparent":       "names the span",
	"X-Request-Id":      "Envoy's own, made by it",
	"X-Envoy-Internal":  "Envoy's own word about the client's address",
}

// recordByNature takes out of a record what no two runs have in common.
func recordByNature(r *audit.Record) {
	r.Seq, r.Prev, r.Hash = 0, "", "" // place in the trail: the ways share none
	r.Time = r.Time.Truncate(0)       // rendered as TIME
	r.Context.Transport = ""          // "envoy" where it is Envoy: the transport is the way itself
	r.Context.Peer = ""               // the client's port
	r.Context.PEP = ""                // the name of the enforcement point
	r.TraceID = ""                    // of the run
}

// outcomeByNature does the same for an outcome.
func outcomeByNature(o *audit.Outcome) {
	o.DurationUS = 0 // time
}

// differences are those on which a case may say, for Envoy, that its answers
// go their own way. The golden file then has both, and a case whose ways do not
// differ any more is an error.
var differences = map[string]string{
	"unread": "Envoy passes an ordinary answer by the enforcement point: HTTP 200 with one JSON document, or 202, to a method " +
		"by which servers answer with nothing else, where the client has introduced itself as one that takes no requests. " +
		"It reaches the client as the server wrote it, and the outcome tells what Envoy knows: status and length.",
	"smuggled": "An ordinary answer is not read, also where it is none: a request of the server's passes in its place, to a client that has said " +
		"that it takes none.",
	"unasked": "Envoy itself answers what it has no route for, what is no HTTP to it, and what is much too long. Nobody is asked, so nothing is on record.",
	"path":    "Envoy cleans the path (dots, double slashes) before it chooses the route. The route names the server, so that both mean the same one.",
	"joined":  "Envoy joins headers that are sent more than once, before anybody is asked.",
	"grpc":    "Envoy writes refusals to what looks like a gRPC request in the form of gRPC. Nothing else of the refusal changes.",
	"length":  "Envoy shows a frame whole, with its length. So one that is too long is not looked at, and the record does not have the digest of its beginning.",
	"reset":   "Envoy has begun to pass an answer on when the server breaks it off, and can only break off, too.",
	"words": "What an approval adds to a frame has to be taken out again before the server sees it, and the body of a request that Envoy has " +
		"checked cannot be changed. Clients behind an Envoy are told in words, and make the same call again.",
	"end": "Envoy takes no end of a stream before the server's: where the gateway ends it first, all of it arrives, and the connection breaks off.",
}

// visible are the headers of an answer that are compared.
func visible(h http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if responseHeadersByNature[name] == "" {
			b.WriteString("  " + name + ": " + strings.Join(h[name], " | ") + "\n")
		}
	}
	return b.String()
}
