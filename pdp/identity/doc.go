// Package identity says on whose behalf a frame was sent: it turns verified
// evidence into a [Grant] and its [Subject], and administers grants.
//
// Identities come from evidence that was checked here and from nothing else
// (invariant I10). The only evidence that is judged so far is a grant token;
// the peer's address and certificates are carried for the audit record.
//
// Tokens are bearer secrets. The store keeps their SHA-256, a token is shown
// once, by [Authenticator.Create], and no error, log line or formatted value
// of this package contains one (I6).
package identity
