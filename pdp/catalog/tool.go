package catalog

import (
	"crypto/sha256"
	"slices"
)

// Classes of effect: what one successful call does when the tool is used as it
// is meant.
const (
	Read        = "read"        // looks up, searches, computes
	Write       = "write"       // creates or changes stored state
	Communicate = "communicate" // delivers content to people
	Admin       = "admin"       // credentials, identity, access, settings of security
	Execute     = "execute"     // runs code, starts, stops or drives something
	Destructive = "destructive" // removes or overwrites; no prior state is kept
	Financial   = "financial"   // moves or commits money or assets
	Unknown     = "unknown"     // undecided
)

// Risks.
const (
	Low      = "low"
	Medium   = "medium"
	High     = "high"
	Critical = "critical"
)

// Whether the definition is the pinned one.
const (
	Match      = "match"
	Drift      = "drift"
	PinUnknown = "unknown" // nothing is pinned, or no definition was seen
)

// Traits beside the class.
const (
	TakesURL        = "takes-url"
	TakesPath       = "takes-path"
	TakesRecipient  = "takes-recipient"
	TakesCredential = "takes-credential"
	FreeFormCode    = "free-form-code"
	TraitDrift      = "drift"
)

var classes = []string{Read, Write, Communicate, Admin, Execute, Destructive, Financial, Unknown}

// Digest is the SHA-256 of a tool's definition, in canonical form.
type Digest = [sha256.Size]byte

// Tool is what a decision is told of a tool. It is shared: its slices must not
// be changed.
type Tool struct {
	Name   string
	Class  string
	Risk   string
	Traits []string // sorted
	Pinned string   // Match, Drift or PinUnknown
	// Digest is zero when no definition was given, or an unreadable one.
	Digest Digest
	// Annotations are the definition's, as raw JSON; nil when it has none.
	Annotations []byte
}

// riskOf follows the class; free code makes running things worse.
func riskOf(class string, traits []string) string {
	switch class {
	case Read:
		return Low
	case Write:
		return Medium
	case Communicate, Admin:
		return High
	case Execute:
		if slices.Contains(traits, FreeFormCode) {
			return Critical
		}
		return High
	case Destructive, Financial:
		return Critical
	}
	return High
}
