// Package mcp reads and writes the Model Context Protocol on the wire, as a
// policy enforcement point needs it: a strict frame reader, the rules on HTTP
// headers, splicing of listings by byte offset, an event-stream reader, and
// the answers that a gateway makes itself.
//
// The package is pure: it opens no connection, keeps no state and imports no
// net/http server. Every function may be called concurrently.
//
// # What the reader promises
//
// A frame that Read accepts means the same to every JSON reader that an
// upstream may use: what was evaluated is what is executed, although the
// original bytes are forwarded. Everything that two readers could take for
// different messages is refused with a [Fault].
//
// The two protocol eras are told apart by the body alone: a request whose
// params._meta has io.modelcontextprotocol/protocolVersion is modern
// (2026-07-28 and later), every other frame is legacy.
package mcp
