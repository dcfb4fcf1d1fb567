package mcp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const asking = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}}`

// wrapped is the gateway's state as a client has it, with what it keeps for the
// server.
func wrapped(state, responses string) string {
	e := approvalEnvelope{sealed: []byte("sealed")}
	if state != "" {
		e.state = []byte(state)
	}
	if responses != "" {
		e.responses = []byte(responses)
	}
	return string(e.token())
}

const accepted = `"mcpermit-approval-1":{"action":"accept"}`

func TestQuestionsGolden(t *testing.T) {
	d := Decision{
		ID: "d-2", ReasonCode: "approval_required", ApprovalID: "apr-7", URL: "https://gate.example/approvals/apr-7?a=1&b=2",
		ExpiresAt: "2026-11-22T18:00:00Z", Approvers: "2 of group:finance",
	}
	var asked []byte
	for _, r := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_refund","arguments":{"amount":500000},` + asking + `}}`,
		`{"jsonrpc":"2.0","id":"2","method":"prompts/get","params":{"name":"p",` + asking + `}}`,
		`{"jsonrpc":"2.0","id":3,"method":"resources/read","params":{"uri":"file:///a",` + asking + `}}`,
		`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"t","inputResponses":{"a":{"action":"accept"}},"requestState":"s\u00e9",` + asking + `}}`,
	} {
		asked = append(append(asked, AskApproval(frame(t, r), "Refunds above 100.00 need a person", d, []byte{0, 1, 0xff}, 1)...), '\n')
	}
	golden(t, "question.jsonl", asked)
}

func TestWhoCannotBeAskedIsToldInWords(t *testing.T) {
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{}`
	linked := Decision{ApprovalID: "a", URL: "https://gate.example/a"}
	for _, c := range []struct {
		name, frame string
		d           Decision
		state       string
		round       int
	}{
		{"legacy", call + `}}`, linked, "s", 1},
		{"no elicitation", call + `,` + strings.Replace(asking, `"elicitation":{"url":{}}`, ``, 1) + `}}`, linked, "s", 1},
		{"forms only", call + `,` + strings.Replace(asking, `"url"`, `"form"`, 1) + `}}`, linked, "s", 1},
		{"another method", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + asking + `}}`, linked, "s", 1},
		{"a notification", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,` + asking + `}}`, linked, "s", 1},
		{"no link", call + `,` + asking + `}}`, Decision{ApprovalID: "a"}, "s", 1},
		{"no state", call + `,` + asking + `}}`, linked, "", 1},
		{"no round", call + `,` + asking + `}}`, linked, "s", 0},
		{"too much to keep", call + `,"requestState":"` + strings.Repeat("x", maxRequestState-100) + `",` + asking + `}}`, linked, "s", 1},
	} {
		if got := AskApproval(frame(t, c.frame), "Ask.", c.d, []byte(c.state), c.round); got != nil {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	if AskApproval(frame(t, call+`,`+asking+`}}`), "Ask.", linked, []byte("s"), 1) == nil {
		t.Error("the control is not asked")
	}
}

func TestI2_OfARetryNothingButOursIsCutOut(t *testing.T) {
	for _, c := range []struct{ name, retry, want string }{
		{
			"compact, in the middle",
			`{"name":"t","arguments":{"a":1},"inputResponses":{` + accepted + `},"requestState":` + wrapped("", "") + `,` + asking + `}`,
			`{"name":"t","arguments":{"a":1},` + asking + `}`,
		},
		{
			"compact, at the end",
			`{` + asking + `,"name":"t","arguments":{"a":1},"inputResponses":{` + accepted + `},"requestState":` + wrapped("", "") + `}`,
			`{` + asking + `,"name":"t","arguments":{"a":1}}`,
		},
		{
			"compact, at the beginning and at the end",
			`{"requestState":` + wrapped("", "") + `,` + asking + `,"name":"t","inputResponses":{` + accepted + `}}`,
			`{` + asking + `,"name":"t"}`,
		},
		{
			"with white space",
			"{\n  \"name\": \"t\",\n  \"inputResponses\": { " + accepted + " },\n  " + asking + ",\n  \"requestState\": " + wrapped("", "") + "\n}",
			"{\n  \"name\": \"t\",\n  " + asking + "\n}",
		},
		{
			"names with escapes",
			`{"name":"t","inputRespons\u0065s":{"mcpermit-\u0061pproval-1":{"action":"\u0061ccept"}},"requestSt\u0061te":"\u006d` + wrapped("", "")[2:] + `,` + asking + `}`,
			`{"name":"t",` + asking + `}`,
		},
		{
			"beside answers to the server",
			`{"name":"t","inputResponses":{"a":{},` + accepted + `,"b":{}},"requestState":` + wrapped("", "") + `,` + asking + `}`,
			`{"name":"t","inputResponses":{"a":{},"b":{}},` + asking + `}`,
		},
		{
			"of several rounds",
			`{"name":"t","inputResponses":{` + accepted + `,"a":{}, "mcpermit-approval-2":{"action":"accept"}},"requestState":` + wrapped("", "") + `,` + asking + `}`,
			`{"name":"t","inputResponses":{"a":{}},` + asking + `}`,
		},
		{
			"the server's state",
			`{"name":"t","inputResponses":{` + accepted + `},"requestState":` + wrapped(`"s\u00e9"`, "") + `,` + asking + `}`,
			`{"name":"t","requestState":"s\u00e9",` + asking + `}`,
		},
		{
			"the server's empty state",
			`{"name":"t","inputResponses":{` + accepted + `},"requestState":` + wrapped(`""`, "") + `,` + asking + `}`,
			`{"name":"t","requestState":"",` + asking + `}`,
		},
		{
			"answers that were kept",
			`{"name":"t","inputResponses":{` + accepted + `},"requestState":` + wrapped(``, `{ "a": {"action":"accept"}}`) + `,` + asking + `}`,
			`{"name":"t","inputResponses":{ "a": {"action":"accept"}},` + asking + `}`,
		},
		{
			"both",
			`{"name":"t","inputResponses":{` + accepted + `},"requestState":` + wrapped(`"s"`, `{"a":{}}`) + `,` + asking + `}`,
			`{"name":"t","inputResponses":{"a":{}},"requestState":"s",` + asking + `}`,
		},
		{
			"a gateway behind this one, which keeps its own",
			`{"name":"t","inputResponses":{` + accepted + `},"requestState":` + string(approvalEnvelope{state: []byte(wrapped("", ""))}.token()) + `,` + asking + `}`,
			`{"name":"t","inputResponses":{` + accepted + `},"requestState":` + wrapped("", "") + `,` + asking + `}`,
		},
	} {
		const before, after = ` {"jsonrpc":"2.0","id":"r-2","method":"tools/call","params":`, `} `
		f := frame(t, before+c.retry+after)
		r, err := ReadApprovalRetry(f, Limits{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(before+c.want+after, string(r.Frame.Bytes)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if ours := !strings.HasPrefix(c.name, "a gateway behind"); r.Declined || ours != (string(r.State) == "sealed") {
			t.Errorf("%s: state %q, declined %v", c.name, r.State, r.Declined)
		}
	}
}

func TestWhatIsNoRetryIsLeftAlone(t *testing.T) {
	for _, params := range []string{
		`"name":"t"`,
		`"name":"t","requestState":"x","inputResponses":{"a":{}}`,
		`"name":"t","requestState":"","inputResponses":{}`,
		`"name":"t","requestState":"xmcpermit-approval.1...","inputResponses":{"mcpermit":{}}`,
	} {
		r, err := ReadApprovalRetry(frame(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{`+params+`,`+asking+`}}`), Limits{})
		if r != nil || err != nil {
			t.Errorf("%s: %v, %v", params, r, err)
		}
	}
	task := frame(t, `{"jsonrpc":"2.0","id":1,"method":"tasks/update","params":{"taskId":"x","inputResponses":{`+accepted+`},`+asking+`}}`)
	if r, err := ReadApprovalRetry(task, Limits{}); r != nil || err != nil {
		t.Errorf("tasks/update: %v, %v", r, err)
	}
}

func TestI8_ARetryThatIsNotWholeIsRefused(t *testing.T) {
	base64 := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	envelope := func(parts ...string) string { return `"mcpermit-approval.` + strings.Join(parts, ".") + `"` }
	const ours = `"name":"t","inputResponses":{` + accepted + `},`
	for name, params := range map[string]string{
		"an answer without a state":            `"name":"t","inputResponses":{` + accepted + `}`,
		"an answer with the server's state":    ours + `"requestState":"theirs"`,
		"a state without an answer":            `"name":"t","requestState":` + wrapped("", ""),
		"a state with the server's answers":    `"name":"t","inputResponses":{"a":{}},"requestState":` + wrapped("", ""),
		"kept answers and further ones":        `"name":"t","inputResponses":{"a":{},` + accepted + `},"requestState":` + wrapped("", `{"b":{}}`),
		"a later version":                      ours + `"requestState":` + envelope("2", base64("sealed"), "", ""),
		"no version":                           ours + `"requestState":"mcpermit-approval."`,
		"parts are missing":                    ours + `"requestState":` + envelope("1", base64("sealed")),
		"a part too many":                      ours + `"requestState":` + envelope("1", base64("sealed"), "", "", ""),
		"no base64url":                         ours + `"requestState":` + envelope("1", "a+b=", "", ""),
		"base64url with bits left over":        ours + `"requestState":` + envelope("1", "AB", "", ""),
		"kept answers without anything sealed": ours + `"requestState":` + envelope("1", "", "", base64(`{"a":{}}`)),
		"a kept state that is none":            ours + `"requestState":` + wrapped(`5`, ""),
		"a kept state with white space behind": ours + `"requestState":` + wrapped(`"s" `, ""),
		"a kept state with a member behind":    ours + `"requestState":` + wrapped(`"s","arguments":{"a":2}`, ""),
		"kept answers with a member behind":    ours + `"requestState":` + wrapped("", `{},"arguments":{"a":2}`),
		"kept answers with white space behind": ours + `"requestState":` + wrapped("", `{} `),
		"kept answers that are none":           ours + `"requestState":` + wrapped("", `[]`),
		"kept answers that end the call":       ours + `"requestState":` + wrapped("", `{}}},{`),
		"kept answers that two readers differ": ours + `"requestState":` + wrapped("", `{"a":1,"a":2}`),
		"a kept state, twice":                  ours + `"requestState":` + wrapped(`"s","requestState":"s"`, ""),
	} {
		f := frame(t, `{"jsonrpc":"2.0","id":"r","method":"tools/call","params":{`+params+`,`+asking+`}}`)
		r, err := ReadApprovalRetry(f, Limits{})
		var fault *Fault
		if r != nil || !errors.As(err, &fault) || fault.Rule != RuleApprovalState || fault.Status != 400 || fault.Code != CodeInvalidParams || string(fault.ID) != `"r"` {
			t.Errorf("%s: %+v, %+v", name, r, err)
		}
	}
}

func TestWhoDoesNotAcceptDeclines(t *testing.T) {
	for answer, declined := range map[string]bool{
		`{"action":"accept"}`: false, `{"content":{},"action":"accept"}`: false,
		`{"action":"decline"}`: true, `{"action":"cancel"}`: true, `{"action":"ACCEPT"}`: true, `{}`: true, `null`: true, `["accept"]`: true, `{"action":1}`: true,
	} {
		f := frame(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","inputResponses":{"mcpermit-approval-3":`+answer+`},"requestState":`+wrapped("", "")+`,`+asking+`}}`)
		if r, err := ReadApprovalRetry(f, Limits{}); err != nil || r.Declined != declined {
			t.Errorf("%s: %+v, %v", answer, r, err)
		}
	}
}

// What the server asks for is never taken for the gateway's question when its
// answer comes back.
func TestQuestionsOfAGatewayBehindThisOne(t *testing.T) {
	for _, c := range []struct{ name, result, back string }{
		{"an envelope", `{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}},"requestState":` + wrapped("", "") + `}`, wrapped("", "")},
		{"a key", `{"inputRequests":{"mcpermit-approval-1":{"method":"roots/list"}},"requestState":"s"}`, `"s"`},
		{"a key without a state", `{ "inputRequests":{"mcpermit-approval-1":{"method":"roots/list"}}}`, ``},
		{"neither", `{"inputRequests":{"k":{"method":"roots/list"}},"requestState":"s"}`, ``},
	} {
		result, err := Read([]byte(`{"jsonrpc":"2.0","id":1,"result":`+c.result+`}`), ToClient, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		shown, err := Read(WithServerState(result), ToClient, Limits{})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if c.name == "neither" {
			if !bytes.Equal(shown.Bytes, result.Bytes) {
				t.Errorf("%s: %s", c.name, shown.Bytes)
			}
			continue
		}
		back := frame(t, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t","inputResponses":{`+accepted+`},"requestState":`+string(shown.RequestState)+`,`+asking+`}}`)
		r, err := ReadApprovalRetry(back, Limits{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if r.State != nil || string(r.Frame.RequestState) != c.back || string(r.Frame.InputResponses) != `{`+accepted+`}` {
			t.Errorf("%s: the server gets %s", c.name, r.Frame.Bytes)
		}
	}
}

// Whatever a call looks like: asked for, answered and cut, it is the call again,
// to the byte.
func TestI2_AskedAndCutIsTheSameCall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := []string{`"name":"t"`, asking}
		for _, optional := range []string{`"arguments":{"a":[1,"x"]}`, `"inputResponses":{"a":{"action":"accept"}}`, `"requestState":"s.é\n"`} {
			if rapid.Bool().Draw(t, optional) {
				members = append(members, optional)
			}
		}
		members = rapid.Permutation(members).Draw(t, "order")
		call := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{` + strings.Join(members, ",") + `}}`
		f, err := Read([]byte(call), ToServer, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		question, err := Read(AskApproval(f, "r", Decision{URL: "https://x/"}, []byte("sealed"), 4), ToClient, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		answer, state := `"inputResponses":{"mcpermit-approval-4":{"action":"accept"}}`, `"requestState":`+string(question.RequestState)
		at := func(name string) int { return rapid.IntRange(0, len(members)).Draw(t, name) }
		set := func(prefix, member string) {
			for i, m := range members {
				if strings.HasPrefix(m, prefix) {
					members[i] = member
					return
				}
			}
			i := at(prefix)
			members = append(members[:i:i], append([]string{member}, members[i:]...)...)
		}
		set(`"inputResponses"`, answer)
		set(`"requestState"`, state)
		retry, err := Read([]byte(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{`+strings.Join(members, ",")+`}}`), ToServer, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := ReadApprovalRetry(retry, Limits{})
		if err != nil || string(r.Frame.Bytes) != call || string(r.State) != "sealed" {
			t.Fatalf("%+v, %v, want %s", r, err, call)
		}
	})
}

// FuzzApprovalRetry holds the cutting against another JSON reader: whatever a
// retry keeps and however it is written, what goes to the server is the same
// call but for the two members.
func FuzzApprovalRetry(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","inputResponses":{`+accepted+`},"requestState":`+wrapped("", "")+`,`+asking+`}}`), []byte(`"s"`), []byte(`{"a":{}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"t","arguments":{},"requestState":`+wrapped(`"s"`, `{}`)+`,`+asking+`,"inputResponses":{`+accepted+`}}}`), []byte(`""`), []byte(`{} `))
	f.Add([]byte(call(`{}`)), []byte(`"s","arguments":{}`), []byte(`{},"name":"danger"`))
	f.Fuzz(func(t *testing.T, b, state, responses []byte) {
		if frame, err := Read(b, ToServer, Limits{}); err == nil {
			cutTheSame(t, frame, nil, nil)
		}
		e := approvalEnvelope{sealed: []byte("sealed"), state: state, responses: responses}
		frame, err := Read([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","inputResponses":{`+accepted+`},"requestState":`+string(e.token())+`,`+asking+`}}`), ToServer, Limits{})
		if err == nil {
			cutTheSame(t, frame, state, responses)
		}
	})
}

func cutTheSame(t *testing.T, f *Frame, state, responses []byte) {
	t.Helper()
	r, err := ReadApprovalRetry(f, Limits{})
	if err != nil {
		sane(t, f.Bytes, err)
		return
	}
	if r == nil {
		return
	}
	if len(state) > 0 && !bytes.Equal(r.Frame.RequestState, state) || len(responses) > 0 && !bytes.Equal(r.Frame.InputResponses, responses) {
		t.Fatalf("kept %q and %q, put back %s", state, responses, r.Frame.Bytes)
	}
	before, after := decoded(t, f.Bytes), decoded(t, r.Frame.Bytes)
	for _, message := range []map[string]any{before, after} {
		params := message["params"].(map[string]any)
		delete(params, "requestState")
		delete(params, "inputResponses")
	}
	if !reflect.DeepEqual(before, after) {
		t.Fatalf("%s\nbecame %s", f.Bytes, r.Frame.Bytes)
	}
}

func decoded(t *testing.T, b []byte) (message map[string]any) {
	t.Helper()
	if err := json.Unmarshal(b, &message); err != nil {
		t.Fatal(err)
	}
	return message
}
