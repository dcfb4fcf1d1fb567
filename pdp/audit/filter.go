package audit

import (
	"bytes"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Filter selects records; empty fields select everything, the others must all
// be equal.
type Filter struct {
	Since, Until time.Time // Since ≤ Record.Time < Until
	DecisionID   string
	Subject      string // subject id
	Grant        string // grant id
	Server       string
	Method       string
	Name         string
	Effect       string // "allow", "deny", "hide" or "approve"
	ReasonCode   string // "policy", "no_match", …
}

// Match reports whether the filter selects r.
func (f *Filter) Match(r *Record) bool {
	subject := ""
	if r.Subject != nil {
		subject = r.Subject.ID
	}
	return f.covers(r.Time) &&
		wants(f.DecisionID, r.DecisionID) && wants(f.Subject, subject) && wants(f.Grant, r.Grant) &&
		wants(f.Server, r.Server) && wants(f.Method, r.Frame.Method) && wants(f.Name, r.Frame.Name) &&
		wants(f.Effect, r.Effect) && wants(f.ReasonCode, r.ReasonCode)
}

func wants(want, have string) bool { return want == "" || want == have }

func (f *Filter) covers(t time.Time) bool {
	return !t.Before(f.Since) && (f.Until.IsZero() || t.Before(f.Until))
}

// overlaps reports whether the filter can select anything within s.
func (f *Filter) overlaps(s span) bool {
	return s.records > 0 && !s.to.Before(f.Since) && (f.Until.IsZero() || s.from.Before(f.Until))
}

// sieve tells lines that the filter cannot select without decoding them.
type sieve struct {
	filter  Filter
	needles [][]byte // each is in every line that the filter selects
}

func newSieve(f Filter) *sieve {
	s := &sieve{filter: f}
	for _, m := range []struct{ name, value string }{
		{"decision_id", f.DecisionID},
		{"id", f.Subject},
		{"grant", f.Grant},
		{"server", f.Server},
		{"method", f.Method},
		{"name", f.Name},
		{"effect", f.Effect},
		{"reason_code", f.ReasonCode},
	} {
		if m.value == "" {
			continue
		}
		// Written the same way as in a record: by jsontext, in the same order.
		needle := append([]byte{'"'}, m.name+`":`...)
		if needle, err := jsontext.AppendQuote(needle, m.value); err == nil {
			s.needles = append(s.needles, needle)
		}
	}
	return s
}

// pick decodes the entry if the filter selects it. Otherwise, and when it cannot
// be decoded, it returns nil.
func (s *sieve) pick(e *entry) *Record {
	for _, needle := range s.needles {
		if !bytes.Contains(e.line, needle) {
			return nil
		}
	}
	if !s.filter.Since.IsZero() || !s.filter.Until.IsZero() {
		if at, err := e.at(); err == nil && !s.filter.covers(at) {
			return nil
		}
	}
	r, err := ParseRecord(e.line)
	if err != nil || !s.filter.Match(r) {
		return nil
	}
	return r
}
