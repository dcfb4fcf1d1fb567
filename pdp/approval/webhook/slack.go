package webhook

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/inert"
)

// Bounds of what Slack takes, in bytes after escaping: a message with a longer
// text is refused as a whole, so that a call could keep itself from being told.
const (
	maxPhrase = 300
	maxCode   = 1500
)

// slackMessage is the body of an incoming webhook. Text is for notifications, and
// for those who read no blocks.
type slackMessage struct {
	Text   string       `json:"text"`
	Blocks []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type string    `json:"type"` // "section"
	Text slackText `json:"text"`
}

type slackText struct {
	Type     string `json:"type"` // "mrkdwn"
	Text     string `json:"text"`
	Verbatim bool   `json:"verbatim"` // make no links and mentions of plain words
}

// slackBody writes everything that is not ours as code, in which neither Slack
// nor Mattermost reads mentions, links or markup.
func (s *Sender) slackBody(e *approval.Event) ([]byte, error) {
	a := s.quoting(&e.Approval)
	head := headline(a)
	lines := []string{head}
	if a.Reason != "" {
		lines = append(lines, "Why it asks: "+code(a.Reason))
	}
	if a.State == approval.Pending {
		lines = append(lines, needed(a))
	}
	if link := s.link(a.ID); link != "" {
		lines = append(lines, fmt.Sprintf("<%s|Open the approval>", escape(link, maxPhrase, " ")))
	}
	m := slackMessage{Text: strings.Join(lines, "\n"), Blocks: []slackBlock{section(strings.Join(lines, "\n"))}}
	if a.State == approval.Pending {
		if shown := s.arguments(a); len(shown) > 0 {
			m.Blocks = append(m.Blocks, section(codeBlock(shown)))
		}
	}
	return json.Marshal(m)
}

func section(text string) slackBlock {
	return slackBlock{Type: "section", Text: slackText{Type: "mrkdwn", Text: text, Verbatim: true}}
}

// headline says what has happened.
func headline(a *approval.Approval) string {
	call := fmt.Sprintf("%s of %s, asked for by %s %s", code(a.Name), code(a.Server), a.Subject.Type, code(a.Subject.ID))
	if a.Name == "" {
		call = fmt.Sprintf("%s on %s, asked for by %s %s", code(a.Method), code(a.Server), a.Subject.Type, code(a.Subject.ID))
	}
	switch a.State {
	case approval.Pending:
		return "A call waits for a person: " + call + "."
	case approval.Approved:
		return "Approved" + by(a, true) + ": " + call + ". It may pass once until " + moment(a.ExpiresAt) + "."
	case approval.Refused:
		return "Refused" + by(a, false) + ": " + call + "."
	case approval.Used:
		return "The approved call has been let pass: " + call + "."
	}
	return "The approval has expired: " + call + "."
}

// by names who voted so.
func by(a *approval.Approval, approved bool) string {
	var persons []string
	why := ""
	for _, v := range a.Votes {
		if v.Approved != approved || len(persons) >= 5 {
			continue
		}
		persons = append(persons, code(v.Person))
		if v.Reason != "" && !approved {
			why = ", who says " + code(v.Reason)
		}
	}
	if len(persons) == 0 {
		return ""
	}
	return " by " + strings.Join(persons, " and ") + why
}

func needed(a *approval.Approval) string {
	var parts []string
	for i, r := range a.Requirements {
		if i >= 5 {
			parts = append(parts, "more")
			break
		}
		who := "any approver"
		if len(r.Approvers) > 0 {
			who = code(strings.Join(r.Approvers, " or "))
		}
		parts = append(parts, fmt.Sprintf("%d of %s (%d so far)", max(1, r.Required), who, r.Given(a.Votes)))
	}
	return "It needs " + strings.Join(parts, ", and ") + " until " + moment(a.ExpiresAt) + "."
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// code shows a text of others on one line.
func code(s string) string {
	if strings.TrimSpace(s) == "" {
		return "(nothing)"
	}
	return "`" + escape(s, maxPhrase, " ") + "`"
}

// codeBlock shows arguments over several lines.
func codeBlock(arguments jsontext.Value) string {
	shown := arguments.Clone()
	if shown.Indent(jsontext.WithIndent("  "), jsontext.AllowDuplicateNames(true)) != nil {
		shown = arguments
	}
	return "```\n" + escape(string(shown), maxCode, "\n") + "\n```"
}

// escape makes a text inert within code: what begins markup becomes an entity,
// a backtick, which would end the code, an apostrophe; line breaks become lineBreak,
// and what does not show itself its code point. What is too long is cut.
func escape(s string, most int, lineBreak string) string {
	var b strings.Builder
	for _, r := range s {
		piece := string(r)
		switch r {
		case '&':
			piece = "&amp;"
		case '<':
			piece = "&lt;"
		case '>':
			piece = "&gt;"
		case '`':
			piece = "'"
		case '\n':
			piece = lineBreak
		default:
			piece = inert.Line(piece)
		}
		if b.Len()+len(piece) > most {
			b.WriteString("…")
			break
		}
		b.WriteString(piece)
	}
	return b.String()
}
