// Package stdio connects MCP over standard streams to the proxy, which speaks
// streamable HTTP only: a [Child] is an upstream, a [Bridge] a client.
//
// # Child
//
// A Child is an http.RoundTripper in front of server processes. It starts a
// process when the first frame for it comes, and again, after a growing delay,
// when one is needed after a breakdown.
//
// There is one process for each protocol version that legacy clients ask for,
// and one for the modern era, since a process is initialized once; with
// [PerSubject] isolation, as many for each subject; and as many for each
// environment that decisions want a frame to run in. A legacy session stays with
// its process: a frame that has to run in another environment ends it, so a
// credential must not differ from tool to tool there. All clients of a process
// are multiplexed: ids and progress tokens are replaced by ones that the
// process sees once only, and put back, byte for byte, in what it answers. The
// first client's initialize, with its capabilities, is the process's; later
// ones are answered with the same result.
//
// What the server says on its own goes
//   - to the request that it names: by id, progress token or subscription;
//   - to every session: list_changed notifications;
//   - to the sessions that subscribed: resource updates;
//   - else to the only session that has calls in flight, or to the only one.
//     What may be meant for either of two clients is given to neither: a
//     notification is dropped, a request answered with an error.
//
// Pings of the server are answered in place. Event streams are not resumable:
// what could not be delivered is lost. Legacy sessions end with their process;
// their next frame gets a 404, upon which clients initialize again.
//
// A line on stdout that is not JSON, or too long, ends the process: what
// follows could be anything. Nothing is forwarded that the strict reader of
// package mcp has not read. (SECURITY T23)
//
// # Bridge
//
// A Bridge reads frames from a client line by line and is a streamable HTTP
// client for it, of the era that each frame belongs to. Everything that
// arrives goes to the gateway's handler, lines that are no frames too, so that
// there is one record of each.
package stdio
