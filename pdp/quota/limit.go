package quota

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

var (
	// ErrExceeded says that a quota has no room for the call. Nothing was
	// reserved; the uses returned beside it say which quota it was.
	ErrExceeded = errors.New("quota exceeded")
	// ErrUnavailable says that the store did not answer, or not in time. What it
	// had stored by then counts as used; the call has to be denied.
	ErrUnavailable = errors.New("the quota store did not answer")
)

// ConflictError says that a policy sets one counter two different limits in one
// call, so that it is not known which holds. The call has to be denied.
type ConflictError struct {
	Quota string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the policy sets quota %q twice for this call, with different terms", e.Quota)
}

// Part is one of the values that a quota is counted per.
type Part struct {
	Name  string // "subject", "key", …; no name twice
	Value string
}

// Limit is one quota as it holds for one call.
type Limit struct {
	// Name and Per make up the counter: limit and window do not, so that what
	// is used stays so when the policy changes them.
	Name string
	Per  []Part
	// Limit is what may be used within Window at most.
	Limit  Amount
	Window Window
	// Cost is what the call uses. A cost of 0 always has room.
	Cost Amount
	// ByCount says that calls are counted, 1 each, and no amounts. A quota by
	// count and one by amount have nothing to do with each other, even if they
	// have the same name.
	ByCount bool
}

// Use is one quota as it stands after a reservation, or, when that failed, as
// it stood before.
type Use struct {
	Name string
	// Limit is the most that can be used: of a rate, its burst.
	Limit     Amount
	Used      Amount
	Remaining Amount // Limit less Used, and 0 where more is used than the limit
	Cost      Amount
	// Reset is when there is room for Cost again or, if there is or was, when
	// the first of what is used is free again; of a rate, when all of it is. It
	// is zero when there never will be room and when nothing is used.
	Reset    time.Time
	Window   string // "24h sliding", "day in Europe/Berlin", "100 in 1m, burst 10"
	Exceeded bool   // there is no room for Cost
}

// counterID names the counter of a limit in the stores, given its sorted parts.
// No two combinations of name and values have the same one.
func (l *Limit) counterID(per []Part) string {
	h := sha256.New()
	kind := "amount"
	if l.ByCount {
		kind = "count"
	}
	for _, s := range []string{"mcpermit quota 1", kind, l.Name} {
		hashString(h, s)
	}
	for _, p := range per {
		hashString(h, p.Name)
		hashString(h, p.Value)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)[:20]))
}

// hashString puts the length in front, so that no two lists are the same bytes.
func hashString(h hash.Hash, s string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(s)))
	h.Write(length[:])
	h.Write([]byte(s))
}

func (l *Limit) sortedPer() []Part {
	return slices.SortedFunc(slices.Values(l.Per), func(a, b Part) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
	})
}

// maxShown is how much of a name or a value a store keeps, in bytes. An agent
// can make a key as long as an argument; what tells counters apart is the id.
const maxShown = 256

// shown is a name or a value as stores keep it, for people: valid text without
// NUL, which not every database takes, and not too long.
func shown(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= maxShown {
		return s
	}
	cut := maxShown
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

func shownParts(parts []Part) []Part {
	out := make([]Part, len(parts))
	for i, p := range parts {
		out[i] = Part{shown(p.Name), shown(p.Value)}
	}
	return out
}
