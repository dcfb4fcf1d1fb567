package identity

import "log/slog"

// Code says why evidence was refused.
type Code uint8

// The kinds of refusal.
const (
	Missing     Code = iota // no credential was presented
	Invalid                 // not one of ours, or malformed
	Expired                 // ours, but its grant's time is over
	Revoked                 // ours, but its grant was revoked
	NotYetValid             // ours, but its grant's time has not come
	NotGranted              // proven, but the subject holds no grant, where it needs one
)

// Refusal is the error of [Authenticator.Identify] when the evidence is not
// good. Any other error means that the question could not be answered.
type Refusal struct {
	Code Code
	// Reason is one line for the client. It never contains evidence.
	Reason string
	// GrantID and Subject are set when the token was proven to be ours, as for
	// Expired and Revoked; Subject alone when other evidence has proven it.
	GrantID string
	Subject *Subject
}

func (r *Refusal) Error() string { return r.Reason }

// Evidence is what the PEP saw of the client's identity, unjudged.
type Evidence struct {
	BearerToken      string   // secret
	Peer             string   // host:port
	PeerCertificates [][]byte // DER, leaf first
	// Resource is the URL that an access token must be for; "" on a listener for
	// grant tokens.
	Resource string
}

// String leaves the token out, whatever the verb.
func (e Evidence) String() string {
	token := "none"
	if e.BearerToken != "" {
		token = "present"
	}
	return "evidence{token: " + token + ", peer: " + e.Peer + "}"
}

// GoString leaves the token out.
func (e Evidence) GoString() string { return e.String() }

// LogValue leaves the token out.
func (e Evidence) LogValue() slog.Value { return slog.StringValue(e.String()) }
