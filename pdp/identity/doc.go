// Package identity says on whose behalf a frame was sent: it turns verified
// evidence into an [Identity], a [Subject] with or without a [Grant], and
// administers grants.
//
// Identities come from evidence that was checked here and from nothing else
// (invariant I10): grant tokens, access tokens of authorization servers, and
// client certificates whose chain the PEP has verified. A subject that was proven
// otherwise than by a grant's token may hold a grant that has none. The peer's
// address is carried for the audit record alone.
//
// Grants only narrow. One that was made from another is good as long as all above
// it are, and covers what all of them cover; what is counted below counts above.
//
// Tokens are bearer secrets. The store keeps their SHA-256, a token is shown
// once, by [Authenticator.Create], and no error, log line or formatted value
// of this package contains one (I6).
package identity
