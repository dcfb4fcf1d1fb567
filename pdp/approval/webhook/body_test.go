package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

func TestJSONBody(t *testing.T) {
	s := sender(t, &bytes.Buffer{})
	a := waiting()
	b, err := s.body(JSON, &approval.Event{Kind: approval.EventOpened, Approval: a, At: when})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type": "approval.opened", "timestamp": "2026-11-25T12:00:00Z",
		"data": map[string]any{
			"id": "APPROVAL1", "state": "pending", "link": "https://console.example/approvals/APPROVAL1",
			"subject": map[string]any{"id": "agent:1", "type": "agent", "groups": []any{"ops"}}, "owner": "olga", "grant": "g1",
			"server": "stripe", "method": "tools/call", "name": "create_refund", "tool": map[string]any{"class": "destructive", "risk": "high"},
			"arguments": map[string]any{"amount": 20000.0, "card": "[masked]"}, "arguments_digest": strings.Repeat("00", 32),
			"reason":       "Refunds above 100.00 need a person",
			"rules":        []any{map[string]any{"path": "policy.servers.stripe.approve", "id": "big-refund", "title": "Big refunds"}},
			"requirements": []any{map[string]any{"approvers": []any{"group:finance", "carl"}, "required": 2.0, "given": 1.0}},
			"votes":        []any{map[string]any{"person": "carl", "at": "2026-11-25T12:00:00Z", "approved": true, "via": "cli"}},
			"created_at":   "2026-11-25T12:00:00Z", "expires_at": "2026-11-25T13:00:00Z", "opened_by": "d1",
		},
	}
	if diff := cmp.Diff(want, object(t, b)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}

	a.State, a.UsedBy, a.DecidedAt, a.UsedAt = approval.Used, "d2", when, when
	a.ToolClass, a.ToolRisk, a.Arguments = "", "", nil
	if b, err = s.body(JSON, &approval.Event{Kind: approval.EventUsed, Approval: a, At: when}); err != nil {
		t.Fatal(err)
	}
	data := object(t, b)["data"].(map[string]any)
	if data["state"] != "used" || data["used_by"] != "d2" || data["used_at"] == nil || data["decided_at"] == nil || data["tool"] != nil ||
		data["arguments"] != nil || data["arguments_omitted"] != nil {
		t.Errorf("used: %s", b)
	}
}

func TestI6_ArgumentsThatCannotBeMaskedStayHere(t *testing.T) {
	large := waiting()
	large.Arguments = []byte(`{"a":"` + strings.Repeat("x", maxArguments) + `"}`)
	for name, c := range map[string]struct {
		mask func([]byte, []string) []byte
		a    approval.Approval
	}{
		"no masking":     {nil, waiting()},
		"masking failed": {func([]byte, []string) []byte { return []byte("4242 is no JSON") }, waiting()},
		"too large":      {maskCard, large},
	} {
		s := sender(t, &bytes.Buffer{})
		s.options.Mask = c.mask
		b, err := s.body(JSON, &approval.Event{Kind: approval.EventOpened, Approval: c.a, At: when})
		if err != nil {
			t.Fatal(err)
		}
		data := object(t, b)["data"].(map[string]any)
		if data["arguments"] != nil || data["arguments_omitted"] != true || bytes.Contains(b, []byte("4242")) || len(b) > maxArguments {
			t.Errorf("%s: %.500s", name, b)
		}
	}
}

// A rule's reason may quote what its policy masks.
func TestI6_ReasonsDoNotTellWhatIsMasked(t *testing.T) {
	s := sender(t, &bytes.Buffer{})
	a := waiting()
	a.Arguments = []byte(`{"amount":20000,"card":"4242","deep":[{"token":"abcdef"},4711,"a"],"short":"x"}`)
	s.options.Mask = func([]byte, []string) []byte {
		return []byte(`{"amount":20000,"card":"[masked]","deep":[{"token":"[masked]"},"[masked]","[masked]"],"short":"[masked]"}`)
	}
	a.Reason = "20000 to the card 4242 with abcdef, 4711, x"
	a.Rules[0].Reason = "card 4242"
	for _, format := range []Format{JSON, Slack} {
		b, err := s.body(format, &approval.Event{Kind: approval.EventOpened, Approval: a, At: when})
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"4242", "abcdef", "4711"} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s tells %s: %s", format, secret, b)
			}
		}
		if !bytes.Contains(b, []byte("20000 to the card [masked] with [masked], [masked], x")) {
			t.Errorf("%s: %s", format, b)
		}
	}
	if a.Rules[0].Reason != "card 4242" {
		t.Error("the event was changed")
	}
}

func slackOf(t *testing.T, a approval.Approval) (text string, blocks []string) {
	t.Helper()
	s := sender(t, &bytes.Buffer{})
	b, err := s.body(Slack, &approval.Event{Kind: approval.EventOpened, Approval: a, At: when})
	if err != nil {
		t.Fatal(err)
	}
	var m slackMessage
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for _, block := range m.Blocks {
		if block.Type != "section" || block.Text.Type != "mrkdwn" || !block.Text.Verbatim {
			t.Errorf("block %+v", block)
		}
		blocks = append(blocks, block.Text.Text)
	}
	return m.Text, blocks
}

func TestSlackBody(t *testing.T) {
	text, blocks := slackOf(t, waiting())
	want := strings.Join([]string{
		"A call waits for a person: `create_refund` of `stripe`, asked for by agent `agent:1`.",
		"Why it asks: `Refunds above 100.00 need a person`",
		"It needs 2 of `group:finance or carl` (1 so far) until 2026-11-25 13:00 UTC.",
		"<https://console.example/approvals/APPROVAL1|Open the approval>",
	}, "\n")
	if text != want {
		t.Errorf("text:\n%s\nwant:\n%s", text, want)
	}
	if len(blocks) != 2 || blocks[0] != want || blocks[1] != "```\n{\n  \"amount\": 20000,\n  \"card\": \"[masked]\"\n}\n```" {
		t.Errorf("blocks: %q", blocks)
	}
	for state, says := range map[approval.State]string{
		approval.Approved: "Approved by `carl`: `create_refund` of `stripe`, asked for by agent `agent:1`. It may pass once until 2026-11-25 13:00 UTC.",
		approval.Refused:  "Refused by `anna`, who says `not today`: ",
		approval.Used:     "The approved call has been let pass: ",
		approval.Expired:  "The approval has expired: ",
	} {
		a := waiting()
		a.State = state
		a.Votes = append(a.Votes, approval.Vote{Person: "anna", Reason: "not today"})
		if text, blocks := slackOf(t, a); !strings.HasPrefix(text, says) || len(blocks) != 1 || strings.Contains(text, "It needs") {
			t.Errorf("%v: %s", state, text)
		}
	}
}

// Hostile texts stay texts: no mention, no link, no markup, and none that makes
// Slack refuse the message.
func TestHostileStringsAreInertInSlack(t *testing.T) {
	const hostile = "`*x*` <!channel> <https://evil.example|Approve> @here &amp; https://evil.example\n# head\u202e\u200b\x00"
	a := waiting()
	a.Name, a.Server, a.Subject.ID, a.Reason = hostile, hostile, hostile, strings.Repeat(hostile, 1000)
	a.Requirements = nil
	for range 100 {
		a.Requirements = append(a.Requirements, approval.Requirement{Approvers: []string{strings.Repeat("<", 5000)}, Required: 1})
	}
	quoted, err := json.Marshal(hostile + "```\n" + strings.Repeat("&", 5000))
	if err != nil {
		t.Fatal(err)
	}
	a.Arguments = []byte(`{"amount":` + string(quoted) + `}`)
	text, blocks := slackOf(t, a)
	for _, part := range append(blocks, text) {
		if len(part) > 3000 {
			t.Errorf("a text of %d bytes", len(part))
		}
		outside := outsideCode(part)
		outside = strings.Replace(outside, "<https://console.example/approvals/APPROVAL1|Open the approval>", "", 1)
		if strings.ContainsAny(outside, "<>*@#`") || strings.Contains(outside, "evil") {
			t.Errorf("outside of code: %q", outside)
		}
		if strings.Contains(part, "<!channel") || strings.Contains(part, "<https://evil") {
			t.Errorf("markup: %s", part)
		}
		for _, r := range part {
			if r != '\n' && !unicode.IsGraphic(r) {
				t.Errorf("a character that does not show itself: %U", r)
			}
		}
	}
	if len(blocks) != 2 {
		t.Errorf("%d blocks", len(blocks))
	}
}

// outsideCode drops what stands between backticks.
func outsideCode(s string) string {
	var b strings.Builder
	for i, part := range strings.Split(strings.ReplaceAll(s, "```", "`"), "`") {
		if i%2 == 0 {
			fmt.Fprint(&b, part)
		}
	}
	return b.String()
}
