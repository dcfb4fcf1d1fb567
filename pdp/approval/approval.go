// Package approval keeps the calls that wait for a person's decision.
//
// An approval is bound to one exact call (invariant I8): subject, grant,
// server, method, name, arguments in meaning, the tool's definition, and the
// policy that asked for it. So far records are only opened and shown; they end
// by expiring.
package approval

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"
)

// DefaultExpiry is how long a record waits when the policy does not say.
const DefaultExpiry = time.Hour

// State of an approval. The zero value is none: it lets nothing pass.
type State uint8

// The states of an approval.
const (
	Unspecified State = iota
	Pending
	Expired
)

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

// Approval is the record of one call that waits.
type Approval struct {
	ID    string
	State State

	Subject Subject
	GrantID string
	Server  string
	Method  string
	Name    string
	// Arguments are the raw bytes as sent; nil when there were none.
	Arguments       []byte
	ArgumentsDigest Digest
	// DefinitionDigest is zero when the tool was not listed.
	DefinitionDigest Digest
	Policy           Policy

	Reason    string
	Rules     []Rule
	Approvers []string // for instance "group:finance"
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Binding identifies the exact call that the record is for: two records with
// the same binding are for the same call.
func (a *Approval) Binding() Digest {
	h := sha256.New()
	for _, s := range []string{
		"mcpermit approval 1", a.Subject.ID, a.Subject.Type, a.GrantID,
		a.Server, a.Method, a.Name, a.Policy.Revision, a.Policy.Digest,
	} {
		writeString(h, s)
	}
	h.Write(a.ArgumentsDigest[:])
	h.Write(a.DefinitionDigest[:])
	return Digest(h.Sum(nil))
}

// writeString puts the length in front, so that no two lists of strings are
// the same bytes.
func writeString(h hash.Hash, s string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(s)))
	h.Write(length[:])
	h.Write([]byte(s))
}

// at returns the record as it stands at t.
func (a *Approval) at(t time.Time) Approval {
	standing := *a
	if a.State == Pending && !t.Before(a.ExpiresAt) {
		standing.State = Expired
	}
	return standing
}
