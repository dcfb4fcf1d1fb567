// Package credential holds what upstream servers are to be sent in place of
// anything the client sent: a client's own token is never passed on.
//
// # How the broker works
//
// A [Broker] knows the credentials of each server and gives a frame what it has to
// carry. What is fixed comes from values; tokens come from an authorization server,
// by one of four grant types: client credentials for the gateway itself (RFC 6749,
// section 4.4), the exchange of the subject's own token (RFC 8693), an assertion in
// the subject's name (RFC 7523), or the account that the holder has connected on the
// console (an authorization code with PKCE, as MCP's authorization says). Every
// request names the resource that the token is for (RFC 8707).
//
// Tokens lie in the [Vault], as one value for each credential and holder, and for
// less than a second in memory, so that what is disconnected is gone everywhere at
// once. Exchanged tokens are as good as the subject's own for as long as they live,
// so they lie in memory only, under the digest of what they were exchanged for.
//
// Tokens are renewed before they run out, behind the calls that use them, and by the
// calls only where they have run out or where the server refuses them. A renewal
// belongs to nobody: whoever asks shares it, and it goes on when they have gone.
// Over all replicas it is done once for a generation: who has the lease of the vault
// asks the authorization server and puts the next generation; the others wait for
// that. Refresh tokens that rotate cannot be used twice, so an answer that is lost
// between the authorization server and the vault loses the account: the next attempt
// is refused, the entry is deleted, and the holder is asked to connect again.
//
// To connect, [Broker.Offer] finds the authorization server and says what is asked
// for, so that a person can agree to that; [Broker.Begin] keeps a flow under the
// digest of its state and says where to go; [Broker.Finish] takes the flow, once,
// for the person who began it. What the configuration names is reached by one HTTP
// client, what was discovered by another, which must not go to private addresses.
package credential
