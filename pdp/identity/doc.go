// Package identity says on whose behalf a frame was sent: it turns verified
// evidence into an [Identity], a [Subject] with or without a [Grant], and
// administers grants.
//
// Identities come from evidence that was checked here and from nothing else
// (invariant I10): the token of a grant, or what a [Prover] has proven, for which
// the subject may hold a grant that has no token.
//
// Grants only narrow. One that was made from another is good as long as all above
// it are, and covers what all of them cover; what is counted below counts above.
//
// Tokens are bearer secrets. The store keeps their SHA-256, a token is shown
// once, by [Authenticator.Create], and no error, log line or formatted value
// of this package contains one (I6).
package identity
