package cases

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mcpermit/mcpermit/pdp/audit"
)

// String is the whole answer, as it is compared.
func (r reply) String() string {
	text := fmt.Sprintf("< %d\n%s%s", r.status, visible(r.header), rendered(r.body))
	if r.bodyErr != nil {
		broken := "cut short"
		if !errors.Is(r.bodyErr, io.ErrUnexpectedEOF) {
			broken = r.bodyErr.Error()
		}
		text += "  " + broken + "\n"
	}
	for name := range r.trailer {
		text += "  trailer " + name + "\n"
	}
	return text
}

// rendered writes a body so that no two bodies look the same.
func rendered(body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %d bytes\n", len(body))
	for line := range bytes.Lines(body) {
		text := string(bytes.TrimSuffix(line, []byte("\n")))
		switch {
		case len(text) > 2000:
			text = strconv.Quote(text[:100]) + " and so on"
		case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }):
			text = strconv.Quote(text)
		}
		b.WriteString("  | " + text + "\n")
	}
	return b.String()
}

var (
	uuids   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[A-Z2-7]{26}\b`) // of decisions, of approvals
	states  = regexp.MustCompile(`mcpermit-approval\.[0-9]+\.[A-Za-z0-9_-]+`)                                     // sealed
	moments = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
)

// text is the result as it is compared and as the golden file has it.
func (res *result) text(t *testing.T, w *way, c *testCase) string {
	t.Helper()
	var b strings.Builder
	for _, r := range res.steps {
		b.WriteString(r.request + "\n")
		for _, got := range r.got {
			b.WriteString("server got " + got)
		}
		b.WriteString(r.answer.String())
		if r.answer.sameCuts > 0 {
			fmt.Fprintf(&b, "  the same, cut at each of %d other places\n", r.answer.sameCuts)
		}
		last, times := "", 0
		for _, rec := range r.records {
			w.inForce(t, rec)
			text := render(t, rec, w.trail.outcomes[rec.DecisionID])
			if r.sealed {
				text = strings.ReplaceAll(text, rec.Frame.Digest, "FRAME")
			}
			if !strings.Contains(string(r.answer.body), rec.DecisionID) {
				text = strings.ReplaceAll(text, rec.DecisionID, "DECISION")
			}
			if text = moments.ReplaceAllString(text, "TIME"); text == last {
				times++
				continue
			}
			b.WriteString(again(times) + text)
			last, times = text, 0
		}
		b.WriteString(again(times))
		if r.decided != "" {
			b.WriteString("grace: " + r.decided + "\n")
		}
	}
	return w.anonymous(b.String(), c)
}

func again(times int) string {
	if times == 0 {
		return ""
	}
	return fmt.Sprintf("and %d times the same\n", times)
}

// anonymous puts placeholders where two runs cannot have the same.
func (w *way) anonymous(text string, c *testCase) string {
	for id, name := range w.grants {
		text = strings.ReplaceAll(text, id, name)
	}
	text = moments.ReplaceAllString(text, "TIME")
	text = states.ReplaceAllString(text, "mcpermit-approval.1.SEALED")
	ids := map[string]string{}
	text = uuids.ReplaceAllStringFunc(text, func(id string) string {
		if ids[id] == "" {
			ids[id] = "ID-" + strconv.Itoa(len(ids)+1)
		}
		return ids[id]
	})
	if w.policy != "" {
		text = strings.ReplaceAll(text, w.policy, "POLICY")
	}
	return strings.ReplaceAll(text, c.server, "SERVER")
}

// inForce notes the policy that decided: one and the same, throughout.
func (w *way) inForce(t *testing.T, r *audit.Record) {
	t.Helper()
	if r.Policy == nil {
		return
	}
	if w.policy == "" {
		w.policy = r.Policy.Digest
	}
	if r.Policy.Digest != w.policy {
		t.Errorf("%s: policy %s was in force, and then %s", w.name, w.policy, r.Policy.Digest)
	}
}
