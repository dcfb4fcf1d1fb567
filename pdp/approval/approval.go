// Package approval keeps the calls that wait for a person's decision, and
// takes the decisions.
//
// An approval is bound to one exact call (invariant I8): subject, grant,
// server, method, name, arguments in meaning, and the tool's definition. The
// policy that asked is on record but not part of it: a newer one asks again for
// what it requires, and the votes that were given count towards that.
//
//	pending ──votes──▶ approved ──use──▶ used
//	   │ ▲                │
//	   │ └─new policy─────┤
//	   ├─refusal─▶ refused│
//	   └─────time─────────┴──▶ expired
//
// At most one approval of a call stands (pending, approved or refused) at a
// time. Every change is one atomic operation of the [Store], so that any number
// of books may share one.
package approval

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"time"
)

// State of an approval. The zero value is none: it lets nothing pass.
type State uint8

// The states of an approval.
const (
	Unspecified State = iota
	Pending           // waits for votes
	Approved          // the identical call may pass once
	Refused
	Used    // a call has passed on it
	Expired // not decided, or not used, in time
)

var stateNames = [...]string{"unspecified", "pending", "approved", "refused", "used", "expired"}

// String returns the name, as stores keep it.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return stateNames[Unspecified]
}

// ParseState is the reverse of String; what it does not know is Unspecified.
func ParseState(name string) State { return State(max(0, slices.Index(stateNames[:], name))) }

// Stands reports whether another approval of the same call is out of the
// question.
func (s State) Stands() bool { return s == Pending || s == Approved || s == Refused }

// Subject is on whose behalf the call was made.
type Subject struct {
	ID     string
	Type   string
	Groups []string
}

// Rule is one rule that asked for the approval.
type Rule struct {
	Path   string
	ID     string
	File   string
	Line   int
	Title  string
	Reason string
}

// Policy names the policy that asked.
type Policy struct {
	Revision string
	Digest   string
}

// Digest is a SHA-256.
type Digest = [sha256.Size]byte

// Approval is the record of one call that waits, or has waited.
type Approval struct {
	ID    string
	State State

	Subject Subject
	// Owner is the person to whom the subject belongs, if somebody said so.
	Owner   string
	GrantID string
	Server  string
	Method  string
	Name    string
	// Class and risk of the tool, as the catalog had them.
	ToolClass string
	ToolRisk  string
	// Arguments are the raw bytes as sent; nil when there were none.
	Arguments       []byte
	ArgumentsDigest Digest
	// Responses are what the call answers to questions of the server, raw JSON;
	// nil when it answers none.
	Responses       []byte
	ResponsesDigest Digest
	// DefinitionDigest is zero when the tool was not listed.
	DefinitionDigest Digest
	// Masked are JSON pointers into the arguments that must not be shown.
	Masked []string

	// The policy that asked last, and what it said.
	Policy       Policy
	Reason       string
	Rules        []Rule
	Requirements []Requirement

	Votes []Vote
	// Valid is how long it is good once it is approved.
	Valid time.Duration

	// The decisions that opened and used it.
	OpenedBy string
	UsedBy   string

	CreatedAt time.Time
	// ExpiresAt is when it stops waiting; once it is approved, when that stops
	// being good; when it is refused, when the call may be asked for again.
	ExpiresAt time.Time
	DecidedAt time.Time // zero: not decided
	UsedAt    time.Time // zero: not used
}

// Binding identifies the exact call that the record is for: two records with
// the same binding are for the same call.
func (a *Approval) Binding() Digest {
	h := sha256.New()
	for _, s := range []string{
		"mcpermit approval 2", a.Subject.ID, a.Subject.Type, a.GrantID,
		a.Server, a.Method, a.Name,
	} {
		writeString(h, s)
	}
	h.Write(a.ArgumentsDigest[:])
	h.Write(a.ResponsesDigest[:])
	h.Write(a.DefinitionDigest[:])
	return Digest(h.Sum(nil))
}

// Bound returns the binding that a record for the call would have. The error
// is about arguments that are not strict JSON.
func (a Approval) Bound() (d Digest, err error) {
	if err = a.digest(); err != nil {
		return d, err
	}
	return a.Binding(), nil
}

// digest works out what the call says.
func (a *Approval) digest() (err error) {
	if a.ArgumentsDigest, err = DigestArguments(a.Arguments); err != nil {
		return err
	}
	a.ResponsesDigest, err = DigestArguments(a.Responses)
	return err
}

// writeString puts the length in front, so that no two lists of strings are
// the same bytes.
func writeString(h hash.Hash, s string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(s)))
	h.Write(length[:])
	h.Write([]byte(s))
}

// At returns the record as it stands at t, whatever the store has written
// down. An approval's time is over at the very instant of ExpiresAt.
func (a *Approval) At(t time.Time) Approval {
	standing := *a
	if a.State.Stands() && !t.Before(a.ExpiresAt) {
		standing.State = Expired
	}
	return standing
}
