// Package catalog holds what is known of each server's tools: the class of
// their effect, risk and traits, the definition last listed and the pinned
// one; and it checks a call's arguments against the tool's schema before policy
// sees them.
//
// What a server says of its own tools is a claim. It is believed only where
// the operator marked the server as trusted; elsewhere it can make things
// stricter and never laxer.
package catalog
