package policy

// Effect is the outcome of a decision. The zero value denies.
type Effect uint8

const (
	Deny Effect = iota
	Hide
	Approve
	Allow
)

var effectNames = [...]string{Deny: "deny", Hide: "hide", Approve: "approve", Allow: "allow"}

// String returns the name of the effect as policies write it.
func (e Effect) String() string {
	if int(e) < len(effectNames) {
		return effectNames[e]
	}
	return "deny"
}

// Cause says why a result is what it is; it becomes the API's ReasonCode.
type Cause uint8

const (
	CauseError    Cause = iota // evaluation error, timeout, ill-typed answer
	CauseRule                  // rules fired, or an attachment of the grant is not in force
	CauseNoMatch               // nothing fired: the default of the method, which may be an allow
	CauseOverload              // no evaluation slot in time
	CauseScope                 // the access token lacks a scope that the call needs
)

var causeNames = [...]string{CauseError: "error", CauseRule: "rule", CauseNoMatch: "no_match", CauseOverload: "overload", CauseScope: "scope"}

// String returns a stable lower-case name, for logs and tests.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return "error"
}
