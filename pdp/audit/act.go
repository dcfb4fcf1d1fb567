package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

// Act is what a person did, or tried to do, over the console, the command line
// or the API: one entry of the trail.
//
// A caller fills everything but Seq, Type, Prev and Hash, and gives the values
// as they are: [Log.Act] masks and clips its own copy.
type Act struct {
	Seq  uint64 `json:"seq,omitzero"`
	Type string `json:"type,omitzero"`
	// Time is when it was done; Log.Act sets the present time when it is zero.
	Time   time.Time `json:"time"`
	Act    string    `json:"act"`             // "approve", "refuse", …
	Target string    `json:"target,omitzero"` // what it was done to, such as the id of an approval
	Person string    `json:"person,omitzero"`
	Via    string    `json:"via,omitzero"` // "console", "cli" or "api"
	// Result is "taken", or in short why it was not done.
	Result string `json:"result"`
	// Reason is why, in the person's words.
	Reason string `json:"reason,omitzero"`
	Prev   string `json:"prev,omitzero"`
	Hash   string `json:"hash,omitzero"`
}

// resultLate is the result of an act whose record came too late for it.
const resultLate = "not done: the record was not written in time"

// Act writes what a person is about to do, and returns nil when that is as
// durable as the fsync policy asks. Any error means that it must not be done: an
// act without a record is worse than none. As with [Log.Record], an entry whose
// commit was under way when Act gave up may be in the trail all the same; then
// another one follows, which says that it was not done.
func (l *Log) Act(ctx context.Context, a Act) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("audit: act not written: %w", err)
	}
	name := func(s string) string { return clip(maskText(s, identifier), shortText) }
	a.Seq, a.Type, a.Prev, a.Hash = 0, typeAct, "", ""
	if a.Time.IsZero() {
		a.Time = time.Now()
	}
	a.Time = a.Time.UTC()
	a.Act, a.Person, a.Via, a.Result = name(a.Act), name(a.Person), name(a.Via), name(a.Result)
	a.Target = clip(maskText(a.Target, identifier), longText)
	a.Reason = clip(maskText(a.Reason, prose), longText)
	return l.commitment(ctx, &pending{body: a.encode(), act: &a})
}

// undone is the entry that takes an act back.
func (a *Act) undone() []byte {
	late := *a
	late.Time, late.Result = time.Now().UTC(), resultLate
	return late.encode()
}

func (a *Act) encode() []byte {
	b, err := a.JSON()
	if err != nil {
		// Every member is a number, a time, or text that was made valid UTF-8.
		panic("audit: encode an act: " + err.Error())
	}
	return b
}

// JSON returns the act as one line without a line break: of an act that was read
// from the trail, the very bytes of the line.
func (a *Act) JSON() ([]byte, error) { return json.Marshal(a, encoding) }

// ParseAct reads what [Act.JSON] wrote.
func ParseAct(b []byte) (*Act, error) {
	var a Act
	if err := json.Unmarshal(b, &a, encoding); err != nil {
		return nil, fmt.Errorf("audit: read act: %w", err)
	}
	return &a, nil
}

// ActFilter selects acts; empty fields select everything, the others must all be
// equal.
type ActFilter struct {
	Since, Until time.Time // Since ≤ Act.Time < Until
	Person       string
	Target       string
}

// Acts is the filter for acts that a filter for records stands for: its subject
// is the person, its name the target. What acts do not have is an error.
func (f *Filter) Acts() (ActFilter, error) {
	if f.DecisionID != "" || f.Grant != "" || f.Server != "" || f.Method != "" || f.Effect != "" || f.ReasonCode != "" {
		return ActFilter{}, errors.New("acts are selected by period, subject (the person) and name (what it was done to) only")
	}
	return ActFilter{Since: f.Since, Until: f.Until, Person: f.Subject, Target: f.Name}, nil
}

// Match reports whether the filter selects a.
func (f *ActFilter) Match(a *Act) bool {
	period := Filter{Since: f.Since, Until: f.Until}
	return period.covers(a.Time) && wants(f.Person, a.Person) && wants(f.Target, a.Target)
}

// Acts calls fn with the acts that the filter selects, oldest first; with limit
// > 0 with the last so many of them. What is written meanwhile may be left out.
// The first error of fn ends it and is returned. The seals say nothing of acts:
// the trail is read backwards as far as it takes.
func (t *Trail) Acts(ctx context.Context, f ActFilter, limit int, fn func(*Act) error) error {
	segs, err := t.segments(t.bound())
	if err != nil {
		return err
	}
	var found []*Act // newest first
	for _, seg := range slices.Backward(segs) {
		err := t.eachBack(ctx, seg, func(e *entry) error {
			if !e.is(typeAct) {
				return nil
			}
			if a, err := ParseAct(e.line); err == nil && f.Match(a) {
				found = append(found, a)
			}
			if len(found) == limit && limit > 0 {
				return errEnough
			}
			return nil
		})
		if errors.Is(err, errEnough) {
			break
		}
		if err != nil {
			return err
		}
	}
	for _, a := range slices.Backward(found) {
		if err := fn(a); err != nil {
			return err
		}
	}
	return nil
}
