// Package identity says on whose behalf a frame was sent: it turns verified
// evidence into an [Identity], and administers grants.
//
// Identities come from evidence that was checked here and from nothing else
// (invariant I10): grant tokens, access tokens of authorization servers, and
// client certificates whose chain the PEP has verified. The peer's address is
// carried for the audit record alone.
//
// Tokens are bearer secrets. The store keeps their SHA-256, a token is shown
// once, by [Authenticator.Create], and no error, log line or formatted value
// of this package contains one (I6).
package identity
