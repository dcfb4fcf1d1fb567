package pep

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// Means are the ways in which something can be added to a frame on its way to
// its server. Zero is none: an obligation to add anything is then a refusal.
type Means uint8

// The means that there are. What an HTTP server is sent has headers and a query,
// and a process has an environment.
const (
	SetHeaders Means = 1 << iota
	SetQuery
	SetEnvironment
	// SetPlainQuery is SetQuery for what nobody escapes: letters, digits and "-._".
	SetPlainQuery
)

// Headers are the headers that an allowed frame has to carry to the upstream,
// name and value. The values are secret.
func Headers(of []*v1.Obligation) iter.Seq2[string, string] {
	return each(of, (*v1.Obligation).GetSetHeader)
}

// Query is what an allowed frame has to have in the query of the upstream's URL,
// name and value, neither of them escaped. The values are secret.
func Query(of []*v1.Obligation) iter.Seq2[string, string] {
	return each(of, (*v1.Obligation).GetSetQuery)
}

// Environment is what the process has to have in its environment that an allowed
// frame runs in, name and value. The values are secret.
func Environment(of []*v1.Obligation) iter.Seq2[string, string] {
	return each(of, (*v1.Obligation).GetSetEnvironment)
}

// setting is an act that gives something a value.
type setting interface {
	comparable
	GetName() string
	GetValue() string
}

// each goes through the obligations of one kind.
func each[S setting](of []*v1.Obligation, get func(*v1.Obligation) S) iter.Seq2[string, string] {
	var none S
	return func(yield func(string, string) bool) {
		for _, o := range of {
			if s := get(o); s != none && !yield(s.GetName(), s.GetValue()) {
				return
			}
		}
	}
}

// MaxTTL is how long a client may cache the listing that was allowed, or
// otherwise where the decision does not say.
func MaxTTL(r *v1.DecideResponse, otherwise time.Duration) time.Duration {
	for _, o := range r.GetObligations() {
		if f := o.GetFilterListing(); f.GetMaxTtl() != nil {
			otherwise = min(otherwise, max(0, f.GetMaxTtl().AsDuration()))
		}
	}
	return otherwise
}

// dischargeable says why an obligation cannot be carried out on the frame of
// r, which goes on by these means, or nil.
func dischargeable(r *v1.DecideRequest, by Means, o *v1.Obligation) error {
	toClient := r.GetContext().GetDirection() == v1.Direction_DIRECTION_TO_CLIENT
	if toClient {
		by = 0
	}
	switch o.GetAct().(type) {
	case *v1.Obligation_SetHeader, *v1.Obligation_SetQuery, *v1.Obligation_SetEnvironment:
		return addable(by, o)
	case *v1.Obligation_FilterListing:
		if toClient || !mcp.IsListing(r.GetMethod()) {
			return fmt.Errorf("filter_listing on %s", r.GetMethod())
		}
		return nil
	default:
		return errors.New("of a kind that this version does not know")
	}
}

// addable says why something cannot be added to a frame by these means, or nil.
// The value never enters the error.
func addable(by Means, o *v1.Obligation) error {
	switch act := o.GetAct().(type) {
	case *v1.Obligation_SetHeader:
		if by&SetHeaders == 0 {
			return errors.New("set_header where there is no header to set")
		}
		return settable(act.SetHeader)
	case *v1.Obligation_SetQuery:
		switch q := act.SetQuery; {
		case by&(SetQuery|SetPlainQuery) == 0:
			return errors.New("set_query where there is no query that it could be added to")
		case by&SetQuery == 0 && !isPlain(q.GetName()+q.GetValue()):
			return errors.New("set_query with characters that Envoy does not add to a query")
		}
		return askable(act.SetQuery)
	case *v1.Obligation_SetEnvironment:
		if by&SetEnvironment == 0 {
			return errors.New("set_environment on a server that is no command of this enforcement point")
		}
		return exportable(act.SetEnvironment)
	}
	return errors.New("of a kind that adds nothing to a frame")
}

// settable refuses headers that frame the message, name its hop, or say what
// the frame is: those are the PEP's own.
func settable(h *v1.SetHeader) error {
	name := strings.ToLower(h.GetName())
	switch {
	case !httpguts.ValidHeaderFieldName(name), strings.Contains(name, "_"):
		return errors.New("set_header with an impossible name")
	case !httpguts.ValidHeaderFieldValue(h.GetValue()):
		return fmt.Errorf("set_header %s with an impossible value", name)
	case ownHeaders[name], strings.HasPrefix(name, "mcp-"):
		return fmt.Errorf("set_header %s, which is the enforcement point's own", name)
	}
	return nil
}

var ownHeaders = map[string]bool{
	"host": true, "content-length": true, "transfer-encoding": true, "content-type": true, "content-encoding": true,
	"connection": true, "keep-alive": true, "proxy-connection": true, "te": true, "trailer": true, "upgrade": true,
	"expect": true, "accept": true, "accept-encoding": true, "last-event-id": true,
}

// askable refuses what servers could read differently, however it is escaped.
func askable(q *v1.SetQuery) error {
	switch {
	case q.GetName() == "" || !isText(q.GetName()):
		return errors.New("set_query with an impossible name")
	case !isText(q.GetValue()):
		return fmt.Errorf("set_query %s with an impossible value", q.GetName())
	}
	return nil
}

// isText reports whether s is UTF-8 without control characters.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// isPlain says of text that it is the same escaped, whoever escapes it.
func isPlain(s string) bool {
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._") == ""
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// exportable refuses what no process could have in its environment.
func exportable(e *v1.SetEnvironment) error {
	switch {
	case !variable.MatchString(e.GetName()):
		return errors.New("set_environment with an impossible name")
	case strings.ContainsRune(e.GetValue(), 0):
		return fmt.Errorf("set_environment %s with an impossible value", e.GetName())
	}
	return nil
}
