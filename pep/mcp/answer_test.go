package mcp

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with testdata/NAME, line by line of answers.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Error(diff)
	}
}

// requests has one frame of every kind that is answered differently.
var requests = []string{
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_refund","arguments":{"amount":500000}}}`,
	`{"jsonrpc":"2.0","id":"a\"b","method":"tools/call","params":{"name":"t\u2028\"<é",` + modern + `}}`,
	`{"jsonrpc":"2.0","id":2,"method":"prompts/get","params":{"name":"p"}}`,
	`{"jsonrpc":"2.0","id":3,"method":"resources/read","params":{"uri":"file:///a b"}}`,
	`{"jsonrpc":"2.0","id":3,"method":"resources/read","params":{"uri":"file:///a b",` + modern + `}}`,
	`{"jsonrpc":"2.0","id":4,"method":"resources/subscribe","params":{"uri":"file:///a"}}`,
	`{"jsonrpc":"2.0","id":5,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"}}}`,
	`{"jsonrpc":"2.0","id":6,"method":"tasks/get","params":{"taskId":"x"}}`,
	`{"jsonrpc":"2.0","id":7,"method":"vendor/odd"}`,
	`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
}

func TestAnswersGolden(t *testing.T) {
	d := Decision{ID: "d-1", ReasonCode: "policy"}
	a := Decision{ID: "d-2", ReasonCode: "approval", ApprovalID: "apr-7", URL: "https://gate.example/approvals/apr-7?a=1&b=2", ExpiresAt: "2026-11-22T18:00:00Z", Approvers: "one of group:finance"}
	var denied, approval, unknown []byte
	for _, r := range requests {
		f := frame(t, r)
		denied = append(append(denied, Denied(f, "Refund exceeds the policy limit.", d)...), '\n')
		approval = append(append(approval, ApprovalNeeded(f, "Refunds above 100.00 need a person", a)...), '\n')
		unknown = append(append(unknown, Unknown(f)...), '\n')
	}
	golden(t, "denied.jsonl", denied)
	golden(t, "approval.jsonl", approval)
	unlinked := Decision{ApprovalID: "apr-8"}
	approval = append(ApprovalNeeded(frame(t, requests[0]), "Ask.", unlinked), '\n')
	approval = append(append(approval, ApprovalNeeded(frame(t, requests[0]), "Ask.", Decision{})...), '\n')
	golden(t, "approval_unlinked.jsonl", approval)
	golden(t, "unknown.jsonl", unknown)

	q := Decision{ID: "d-3", ReasonCode: "quota_exceeded", Quotas: []Quota{
		{Name: "refund-total", Limit: "1000000", Used: "999999.5", Remaining: "0.5", Cost: "500000", ResetAt: "2026-11-23T00:00:00Z", Window: "24h sliding", Exceeded: true},
		{Name: "never \"fits\"", Limit: "10", Used: "0", Remaining: "10", Cost: "11", Window: "day in Europe/Berlin", Exceeded: true},
		{Name: "refunds", Limit: "20", Used: "3", Remaining: "17", Cost: "1", Window: "24h sliding"},
	}}
	var exceeded []byte
	for _, r := range requests[:3] {
		exceeded = append(append(exceeded, Denied(frame(t, r), "The quota has no room.", q)...), '\n')
	}
	exceeded = append(append(exceeded, Denied(frame(t, requests[0]), "No.", Decision{Quotas: q.Quotas[2:]})...), '\n')
	golden(t, "quota.jsonl", exceeded)

	var failed []byte
	for _, b := range [][]byte{
		Failed([]byte(`"x"`), "no decision in time; try again"),
		Failed(nil, "nobody asked"),
		Faulted(&Fault{Code: CodeParseError, Rule: RuleSyntax, Reason: "the frame is not JSON"}),
		Faulted(&Fault{Code: CodeHeaderMismatch, Rule: RuleHeader, Reason: "Mcp-Name differs", ID: []byte(`7`)}),
	} {
		failed = append(append(failed, b...), '\n')
	}
	golden(t, "failed.jsonl", failed)
}

// The reference case, to the byte, up to the decision in _meta.
func TestReferenceDenial(t *testing.T) {
	f := frame(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_refund","arguments":{"charge_id":"ch_105","amount":500000}}}`)
	const want = `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"[POLICY DENIED] Refund exceeds the policy limit."}],"isError":true,"_meta":{"io.github.mcpermit/decision":{"id":"d","reasonCode":"policy"}}}}`
	if got := string(Denied(f, "Refund exceeds the policy limit.", Decision{ID: "d", ReasonCode: "policy"})); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Whether a name is hidden or unknown does not reach Unknown at all: its bytes
// depend on the request alone.
func TestI3_UnknownSaysNothingMore(t *testing.T) {
	for _, r := range requests {
		one, two := frame(t, r), frame(t, r)
		two.Meta.ClientName, two.Arguments = "another", []byte(`{}`)
		if !bytes.Equal(Unknown(one), Unknown(two)) {
			t.Errorf("%s: %s and %s", r, Unknown(one), Unknown(two))
		}
	}
}

func TestOwnCodesAreOutsideOfTheReservedRange(t *testing.T) {
	for _, code := range []int{CodeDenied, CodeApprovalNeeded, CodeFailed} {
		if -32768 <= code && code <= -32000 {
			t.Errorf("%d is reserved", code)
		}
	}
}

// Whatever a reason is made of, the answer is one message on one line that the
// reader itself accepts, and says the reason.
func TestAnswersAreOneLine(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"\n\ndata: {}\n\n", "\r", "\u2028\u2029\u0085", "\x00\x7f", "\xff\xfe", "\ufeff", `"},"isError":false,"x":{"`}))
	rapid.Check(t, func(t *rapid.T) {
		reason := text.Draw(t, "reason")
		d := Decision{ID: text.Draw(t, "id"), URL: text.Draw(t, "url")}
		clean := strings.ToValidUTF8(reason, "\ufffd")
		for _, method := range []string{"tools/call", "prompts/get"} {
			f := &Frame{ID: []byte("1"), Method: method, Name: reason}
			for _, b := range [][]byte{Denied(f, reason, d), ApprovalNeeded(f, reason, d), Unknown(f), Failed(f.ID, reason)} {
				if bytes.ContainsAny(b, "\n\r\u2028\u2029\u0085\x00") || !utf8.Valid(b) {
					t.Fatalf("%q", b)
				}
				if _, err := Read(b, ToClient, Limits{}); err != nil {
					t.Fatalf("%s: %v", b, err)
				}
				if !json.Valid(b) {
					t.Fatalf("%s is not JSON", b)
				}
			}
			var said struct {
				Result struct{ Content []struct{ Text string } }
				Error  struct{ Message string }
			}
			if err := json.Unmarshal(Denied(f, reason, d), &said); err != nil {
				t.Fatal(err)
			}
			got := said.Error.Message
			if len(said.Result.Content) > 0 {
				got = said.Result.Content[0].Text
			}
			// One replacement for each byte or for a run of them: both are fine.
			squeeze := func(s string) string { return strings.ReplaceAll(s, "\ufffd", "") }
			if squeeze(got) != squeeze("[POLICY DENIED] "+clean) {
				t.Fatalf("got %q, want %q", got, clean)
			}
		}
	})
}
