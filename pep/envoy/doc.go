// Package envoy is the policy enforcement point behind an Envoy: an
// envoy.service.auth.v3 server, an envoy.service.ext_proc.v3 server and an
// envoy.service.accesslog.v3 server over the standalone proxy.
//
// A request that Envoy asks about is served by [proxy.Proxy] as if it had come
// to the proxy itself, up to the point where the proxy would send it to the
// upstream. There Envoy does. So the rules on frames and headers, the decision
// and every answer of the gateway's own are the proxy's, byte for byte.
//
// One request is one [exchange]:
//
//	Envoy                         this package                 proxy
//	Check (headers, body)   ──▶   http.Request            ──▶  ServeHTTP
//	  denied, with a body   ◀──   what was written        ◀──  ResponseWriter
//	  ok, with headers      ◀──   the request that goes on ◀── RoundTrip
//	Process (answer)        ──▶   http.Response           ──▶  RoundTrip returns
//	  the answer to pass on ◀──   what is written         ◀──  ResponseWriter
//	access log entry        ──▶   what became of it       ──▶  Complete
//
// One answer of the proxy's is never given: the question to a client whose call a
// person has to approve. Its client would come back with the same call and what
// the gateway wants to have back, and Envoy cannot take that out of the body on
// its way. Such a call is answered in words, as it is to clients that cannot be
// asked.
//
// Nor is anything sent twice: where a server refuses a credential, the client is
// told, as by the proxy, but the call is not made again, since the request has gone:
// what is renewed is for the next. What a decision adds to a call are headers, and a query where
// the server's URL has none and nothing in it needs escaping; a call that had to run in an environment is refused.
//
// Below the path of the address for access tokens, clients show those. Their
// metadata is answered from here: Envoy has to ask about it, as `mcpermit-pep envoy
// config` has it do.
//
// Envoy's ext_proc filter is entered only for answers that have to be read:
// listings, streams, and what can hide or ask (see [proxy.Passage]). What
// became of all others is learnt from the access log, which Envoy writes for
// every request, however it ends: response headers or trailers never come for
// one that breaks off, and waiting for them would put every call through
// ext_proc.
package envoy
