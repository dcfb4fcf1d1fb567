package console

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/rogpeppe/go-internal/diff"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/audit"
)

// arguments are those of a call, for reading.
type arguments struct {
	// Text is indented, with escapes resolved: what the server will understand.
	Text string
	// Raw is what was sent, byte for byte but for what is masked.
	Raw    string
	Lines  int
	Bytes  int
	Masked bool
	None   bool
}

// readable makes JSON easy to read without changing what it means: order,
// numbers and repeated names stay. What the policy masks, and what looks like a
// secret, is in neither form.
func readable(raw []byte, masked []string) arguments {
	if len(raw) == 0 {
		return arguments{None: true}
	}
	shown := audit.Mask(raw, masked)
	a := arguments{Raw: string(shown), Bytes: len(raw), Masked: !bytes.Equal(shown, raw)}
	a.Text = indented(shown)
	a.Lines = strings.Count(a.Text, "\n") + 1
	return a
}

func indented(raw []byte) string {
	value := jsontext.Value(raw).Clone()
	err := value.Format(jsontext.AllowDuplicateNames(true), jsontext.PreserveRawStrings(false), jsontext.CanonicalizeRawInts(false),
		jsontext.CanonicalizeRawFloats(false), jsontext.Multiline(true), jsontext.WithIndent("  "))
	if err != nil {
		return string(raw)
	}
	return string(value)
}

// comparison is how a call differs from the one before it.
type comparison struct {
	At     time.Time
	Effect string // of the call before, or the state of its approval
	Link   string // to the call before, if it has a page
	Same   bool
	TooBig bool
	Lines  []diffLine
}

// diffLine is one line: "" for what is in both, "cut" or "add".
type diffLine struct{ Kind, Text string }

// maxCompared bounds what is compared, in bytes of both.
const maxCompared = 256 << 10

// compare finds the last call of the same tool by the same subject, among the
// approvals and in the audit trail, and says what is different now. There may be
// none; a trail that is long to search is given up on.
func (c *Console) compare(ctx context.Context, a *approval.Approval, now arguments) *comparison {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, text := c.approvalBefore(ctx, a)
	if r := c.recordBefore(ctx, a); r != nil && (before == nil || r.Time.After(before.At)) {
		before, text = &comparison{At: r.Time, Effect: r.Effect}, indented(r.Arguments)
	}
	switch {
	case before == nil:
		return nil
	case text == now.Text:
		before.Same = true
	case len(text)+len(now.Text) > maxCompared:
		before.TooBig = true
	default:
		before.Lines = compared(text, now.Text)
	}
	return before
}

func (c *Console) approvalBefore(ctx context.Context, a *approval.Approval) (*comparison, string) {
	list, err := c.approvals.List(ctx, inboxLength, true)
	if err != nil {
		c.log.WarnContext(ctx, "no approvals to compare with", "error", err)
		return nil, ""
	}
	for i := range list { // the newest first
		b := &list[i]
		if b.ID != a.ID && b.Subject.ID == a.Subject.ID && b.Server == a.Server && b.Method == a.Method && b.Name == a.Name && b.CreatedAt.Before(a.CreatedAt) {
			// What either call's policy masks is masked in both.
			return &comparison{At: b.CreatedAt, Effect: b.State.String(), Link: "/approvals/" + b.ID},
				readable(b.Arguments, slices.Concat(a.Masked, b.Masked)).Text
		}
	}
	return nil, ""
}

// recordBefore is the last recorded call before a that has arguments.
func (c *Console) recordBefore(ctx context.Context, a *approval.Approval) *audit.Record {
	var found *audit.Record
	err := c.trail.Query(ctx, audit.Filter{
		Until: a.CreatedAt, Since: a.CreatedAt.Add(-comparedBack), Subject: a.Subject.ID, Server: a.Server, Method: a.Method, Name: a.Name,
	}, 2, func(r *audit.Record) error { // the decision that asked may be one of them
		if r.DecisionID != a.OpenedBy && len(r.Arguments) > 0 {
			found = r
			found.Arguments = audit.Mask(r.Arguments, a.Masked)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		c.log.WarnContext(ctx, "the audit trail can't be searched for the call before", "error", err)
	}
	return found
}

// comparedBack is how far back a call before is looked for.
const comparedBack = 30 * 24 * time.Hour

// compared returns the lines of a unified difference without its heads.
func compared(before, now string) []diffLine {
	var lines []diffLine
	text := string(diff.Diff("before", []byte(before+"\n"), "now", []byte(now+"\n")))
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case i < 3 || line == "": // what is compared with what
		case strings.HasPrefix(line, "@@"):
			lines = append(lines, diffLine{"gap", "⋯"})
		case line[0] == '-':
			lines = append(lines, diffLine{"cut", line[1:]})
		case line[0] == '+':
			lines = append(lines, diffLine{"add", line[1:]})
		default:
			lines = append(lines, diffLine{"", line[1:]})
		}
	}
	if len(lines) > 0 && lines[0].Kind == "gap" {
		lines = lines[1:]
	}
	return lines
}
