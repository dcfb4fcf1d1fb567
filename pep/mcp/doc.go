// Package mcp reads and writes the Model Context Protocol on the wire, as a
// policy enforcement point needs it: a strict frame reader, the rules on HTTP
// headers, splicing of listings by byte offset, an event-stream reader, and
// the answers that a gateway makes itself.
//
// The package is pure: it opens no connection, keeps no state and imports no
// net/http. Every function may be called concurrently; an [EventReader]
// belongs to one goroutine.
//
// # What the reader promises
//
// A frame that [Read] accepts means the same to every JSON reader that an
// upstream may use: what was evaluated is what is executed, although the
// original bytes are forwarded. Everything that two readers could take for
// different messages is refused with a [Fault]. Each rule closes a difference
// between real servers or libraries:
//
//   - one JSON value in valid UTF-8, no byte order mark, no lone surrogates,
//     nothing behind it, no batch;
//   - no name twice in one object, whatever its escapes, and no two names that
//     are equal under Unicode simple folding and canonical equivalence when
//     '_' and '-' are left out; no control characters in names;
//   - numbers that float64 keeps: at most 40 characters, integers up to
//     2^53-1, decimals that are the shortest form of their float64;
//   - bounded length, depth and number of values;
//   - a closed message, an id where one belongs and nowhere else, methods only
//     from the side that sends them, closed parameters of every method that
//     names a tool, prompt or resource.
//
// Towards the client, content is passed on and only what the gateway reads is
// held to the rules on names and numbers; see Read.
//
// The two protocol eras are told apart by the body alone: a request whose
// params._meta has io.modelcontextprotocol/protocolVersion is modern
// (2026-07-28 and later), every other frame is legacy. Headers decide nothing;
// [CheckHeaders] refuses those that say anything else than the body.
//
// # What the gateway asks itself
//
// A call that a person has to approve is answered with a question to its client,
// where the client can be asked ([AskApproval]), and the call that comes back is
// taken apart ([ReadApprovalRetry]): nothing is written anew, so that the server
// gets the bytes that it would have got without the question. An approval lets
// one frame pass (I8). When a server itself asks for more in the middle of an
// approved call, the client's answer to it is another frame, and is approved,
// or not, like one.
//
// # From the wire and to it
//
// A frame comes as an HTTP body, as a line of stdio ([CheckLine] before Read)
// or as the data of an event ([EventReader]). The same bytes go out as a body,
// as a line ([Line]) or as an event ([AppendEvent]).
package mcp
