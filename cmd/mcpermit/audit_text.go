package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/inert"
)

// auditPrinter returns what shows a record: as its own JSON, or as a line of text.
func (g *Globals) auditPrinter() func([]byte) error {
	if g.Output == "json" {
		return func(b []byte) error {
			_, err := fmt.Fprintf(g.Stdout, "%s\n", b)
			return err
		}
	}
	colour, begun := colourful(g.Stdout), false
	return func(b []byte) error {
		r, err := audit.ParseRecord(b)
		if err != nil {
			return err
		}
		if !begun {
			begun = true
			fmt.Fprintln(g.Stdout, auditHead())
		}
		_, err = fmt.Fprintln(g.Stdout, auditLine(r, colour))
		return err
	}
}

// colourful reports whether w is a terminal whose user has not asked for no colours.
func colourful(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(f.Fd()))
}

// The columns of a line: wide enough for most, never cutting.
const auditLayout = "%-23s  %s  %-12s  %-32s  %-16s  %-10s  %s"

func auditHead() string {
	return fmt.Sprintf(auditLayout, "TIME", "EFFECT ", "SERVER", "CALL", "SUBJECT", "OUTCOME", "WHY")
}

var effectColours = map[string]string{"allow": "32", "deny": "31", "hide": "35", "approve": "33"}

func auditLine(r *audit.Record, colour bool) string {
	effect := fmt.Sprintf("%-7s", inert.Line(r.Effect))
	if c := effectColours[r.Effect]; colour && c != "" {
		effect = "\x1b[" + c + "m" + effect + "\x1b[0m"
	}
	subject := "-"
	if r.Subject != nil {
		if subject = r.Subject.ID; r.Subject.Actor != "" {
			subject = r.Subject.Actor + " for " + subject
		}
	}
	return fmt.Sprintf(auditLayout,
		r.Time.Local().Format("2006-01-02 15:04:05.000"), effect, inert.Line(dash(r.Server)), inert.Line(auditCall(r)),
		inert.Line(subject), auditOutcome(r.Outcome), inert.Line(auditWhy(r)))
}

func auditCall(r *audit.Record) string {
	switch {
	case r.Frame.Name != "":
		return r.Frame.Method + " " + r.Frame.Name
	case r.Frame.Method != "":
		return r.Frame.Method
	}
	return dash(r.Frame.Kind)
}

func auditOutcome(o *audit.Outcome) string {
	switch {
	case o == nil:
		return "-"
	case !o.Forwarded:
		return "not sent"
	case o.Error != "":
		return "broken"
	case o.IsError:
		return "error"
	}
	return "ok " + (time.Duration(o.DurationUS) * time.Microsecond).Round(time.Millisecond).String()
}

func auditWhy(r *audit.Record) string {
	var parts []string
	for _, rule := range r.Rules {
		parts = append(parts, ruleText(rule))
	}
	if len(parts) == 0 {
		parts = append(parts, r.ReasonCode)
	}
	if r.Fault != nil {
		parts = append(parts, r.Fault.Rule)
	}
	if r.Reason != "" {
		parts = append(parts, r.Reason)
	}
	return strings.Join(parts, "  ")
}

func ruleText(r audit.Rule) string {
	s := r.Path
	if r.ID != "" {
		s += "#" + r.ID
	}
	if r.File != "" {
		s += fmt.Sprintf(" (%s:%d)", r.File, r.Line)
	}
	return s
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// auditSheet writes records as CSV.
type auditSheet struct {
	w     *csv.Writer
	begun bool
}

func newAuditSheet(w io.Writer) *auditSheet { return &auditSheet{w: csv.NewWriter(w)} }

var auditColumns = []string{
	"seq", "time", "decision_id", "effect", "reason_code", "reason", "subject", "subject_type", "issuer", "actor", "grant", "chain",
	"client", "client_version", "server", "method", "name", "kind", "direction", "tool_class", "tool_digest",
	"rules", "policy_revision", "policy_digest", "approval", "arguments", "masked", "fault", "transport", "peer", "pep",
	"forwarded", "status", "is_error", "bytes", "duration_us", "error", "trace_id", "hash",
}

func (s *auditSheet) add(b []byte) error {
	r, err := audit.ParseRecord(b)
	if err != nil {
		return err
	}
	if !s.begun {
		s.begun = true
		if err := s.w.Write(auditColumns); err != nil {
			return err
		}
	}
	row := auditRow(r)
	for i, cell := range row {
		row[i] = inertCell(cell)
	}
	return s.w.Write(row)
}

func (s *auditSheet) flush() error {
	if !s.begun {
		s.begun = true
		_ = s.w.Write(auditColumns) // Error says it too
	}
	s.w.Flush()
	return s.w.Error()
}

func auditRow(r *audit.Record) []string {
	var (
		subject audit.Subject
		client  audit.Client
		tool    audit.Tool
		policy  audit.Policy
		appr    audit.Approval
		fault   audit.Fault
		rules   []string
	)
	fill(&subject, r.Subject)
	fill(&client, r.Client)
	fill(&tool, r.Tool)
	fill(&policy, r.Policy)
	fill(&appr, r.Approval)
	fill(&fault, r.Fault)
	for _, rule := range r.Rules {
		rules = append(rules, ruleText(rule))
	}
	arguments := string(r.Arguments)
	if t := r.Truncated; t != nil {
		arguments = fmt.Sprintf("truncated: %d bytes, %s", t.Bytes, t.Digest)
	}
	row := []string{
		strconv.FormatUint(r.Seq, 10), r.Time.Format(time.RFC3339Nano), r.DecisionID, r.Effect, r.ReasonCode, r.Reason, subject.ID, subject.Type, subject.Issuer, subject.Actor, r.Grant, strings.Join(r.Chain, " "),
		client.Name, client.Version, r.Server, r.Frame.Method, r.Frame.Name, r.Frame.Kind, r.Frame.Direction, tool.Class, tool.Digest,
		strings.Join(rules, "; "), policy.Revision, policy.Digest, appr.ID, arguments, strings.Join(r.Masked, " "), fault.Rule, r.Context.Transport, r.Context.Peer, r.Context.PEP,
	}
	if o := r.Outcome; o != nil {
		row = append(row, strconv.FormatBool(o.Forwarded), strconv.Itoa(o.Status), strconv.FormatBool(o.IsError),
			strconv.FormatInt(o.Bytes, 10), strconv.FormatInt(o.DurationUS, 10), o.Error)
	} else {
		row = append(row, "", "", "", "", "", "")
	}
	return append(row, r.TraceID, r.Hash)
}

// fill copies *from, if there is one.
func fill[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// inertCell keeps a spreadsheet from taking a cell for a formula: a cell that
// begins with what begins one (also in full width) gets an apostrophe before it.
func inertCell(s string) string {
	s = inert.Line(s)
	if strings.ContainsAny(firstRune(s), "=+-@|%＝＋－＠") {
		return "'" + s
	}
	return s
}

func firstRune(s string) string {
	for i := range s {
		if i > 0 {
			return s[:i]
		}
	}
	return s
}
