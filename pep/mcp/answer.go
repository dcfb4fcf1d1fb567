package mcp

import (
	"strconv"
	"unicode/utf8"
)

// The answers that the gateway makes itself. Each is one JSON-RPC message
// without a line break; U+2028 and U+2029 are escaped, and what is not UTF-8
// in a text is replaced. The era is the client's, as its frame shows:
// 2026-07-28 results carry resultType. A frame without an id gets no answer:
// the functions return nil.

// The gateway's own error codes, outside of what JSON-RPC and MCP reserve.
const (
	CodeDenied         = 1001 // the policy refuses
	CodeApprovalNeeded = 1002 // a person has to approve first
	CodeFailed         = 1003 // no decision, or the upstream did not answer
	CodeAccountNeeded  = 1004 // somebody has to connect an account first
)

// DecisionKey is the member of _meta, or of an error's data, that identifies a
// decision.
const DecisionKey = "io.github.mcpermit/decision"

// Decision identifies a decision in an answer's _meta. Empty fields are left out.
type Decision struct {
	ID         string
	ReasonCode string // "policy", "no_match", …: the ReasonCode in lower case
	ApprovalID string // with effect approve
	URL        string
	ExpiresAt  string // RFC 3339
	Approvers  string // who may decide, for people; only in texts
	Holder     string // whose account has to be connected at URL; only in texts
	Quotas     []Quota
}

// Quota is what a call counts against, as it stood when the call was refused.
// Amounts are exact decimals.
type Quota struct {
	Name, Limit, Used, Remaining, Cost string
	ResetAt                            string // RFC 3339; empty when there will never be room
	Window                             string
	Exceeded                           bool
}

// Denied answers a refused request: a result with isError and the text
// "[POLICY DENIED] "+reason for tools/call, and a JSON-RPC error with code
// CodeDenied for every other method.
func Denied(f *Frame, reason string, d Decision) []byte {
	return refusal(f, CodeDenied, "[POLICY DENIED] "+reason, d)
}

// ApprovalNeeded answers a call that waits for a person, in words: who decides,
// until when, where, and how to go on. It has the shape of Denied, with code
// CodeApprovalNeeded.
func ApprovalNeeded(f *Frame, reason string, d Decision) []byte {
	text := "[APPROVAL NEEDED] " + reason
	if d.ApprovalID != "" || d.URL != "" {
		text += "\n" + d.need() + ", then repeat the same call."
	}
	return refusal(f, CodeApprovalNeeded, text, d)
}

// AccountNeeded answers a call that needs an account of the server's, in words:
// whose, where it is connected, and how to go on. It has the shape of Denied, with
// code CodeAccountNeeded.
func AccountNeeded(f *Frame, reason string, d Decision) []byte {
	text := "[ACCOUNT NEEDED] " + reason
	if d.Holder != "" || d.URL != "" {
		text += "\n" + d.account() + ", then repeat the same call."
	}
	return refusal(f, CodeAccountNeeded, text, d)
}

// account says who has to connect an account, and where.
func (d Decision) account() string {
	who := d.Holder
	if who == "" {
		who = "Somebody"
	}
	if d.URL == "" {
		return who + " has to connect an account of the server"
	}
	return who + " has to open " + d.URL + " and connect an account of the server"
}

// need says which approval is needed.
func (d Decision) need() string {
	said := "Approval"
	add := func(word, value string) {
		if value != "" {
			said += word + value
		}
	}
	add(" ", d.ApprovalID)
	said += " is needed"
	add(" from ", d.Approvers)
	add(" at ", d.URL)
	add(" until ", d.ExpiresAt)
	return said
}

// refusal is a tool result with isError where the method has such a thing, and
// an error elsewhere.
func refusal(f *Frame, code int, text string, d Decision) []byte {
	if f.ID == nil {
		return nil
	}
	b := make([]byte, 0, 256+len(text))
	if f.Method != methodToolsCall {
		b = appendError(b, f.ID, code, text)
		b = append(b, `,"data":{`...)
		b = d.append(b)
		return append(b, `}}}`...)
	}
	b = append(appendID(b, f.ID), `"result":{"content":[{"type":"text","text":`...)
	b = append(appendString(b, text), `}],"isError":true`...)
	if f.Meta.Modern {
		b = append(b, `,"resultType":"complete"`...)
	}
	b = append(b, `,"_meta":{`...)
	return append(d.append(b), `}}}`...)
}

// append writes the decision as a member.
func (d Decision) append(b []byte) []byte {
	b = appendTexts(append(b, `"`+DecisionKey+`":{`...), []textMember{
		{"id", d.ID}, {"reasonCode", d.ReasonCode}, {"approvalId", d.ApprovalID}, {"url", d.URL}, {"expiresAt", d.ExpiresAt},
	})
	if len(d.Quotas) == 0 {
		return append(b, '}')
	}
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, `"quotas":[`...)
	for i, q := range d.Quotas {
		if i > 0 {
			b = append(b, ',')
		}
		b = q.append(b)
	}
	return append(b, `]}`...)
}

func (q Quota) append(b []byte) []byte {
	b = appendTexts(append(b, '{'), []textMember{
		{"name", q.Name},
		{"limit", q.Limit},
		{"used", q.Used},
		{"remaining", q.Remaining},
		{"cost", q.Cost},
		{"resetAt", q.ResetAt},
		{"window", q.Window},
	})
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(strconv.AppendBool(append(b, `"exceeded":`...), q.Exceeded), '}')
}

// textMember is a member whose value is a string.
type textMember struct{ name, value string }

// appendTexts writes the members that are not empty, with commas between them.
func appendTexts(b []byte, members []textMember) []byte {
	first := true
	for _, m := range members {
		if m.value == "" {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(append(append(b, '"'), m.name...), `":`...)
		b = appendString(b, m.value)
	}
	return b
}

// Unknown answers a request whose target does not exist or is hidden: the two
// are the same bytes (I3). Tools and prompts: -32602 with the name; resources:
// the not-found answer of the client's era (-32002 before 2026-07-28, -32602
// from then on); completions: -32602 in both; a method that names nothing:
// -32601.
func Unknown(f *Frame) []byte {
	if f.ID == nil {
		return nil
	}
	b := make([]byte, 0, 128+2*len(f.Name))
	switch f.Method {
	case methodToolsCall:
		b = appendError(b, f.ID, CodeInvalidParams, "Unknown tool: "+f.Name)
	case methodPromptsGet:
		b = appendError(b, f.ID, CodeInvalidParams, "Unknown prompt: "+f.Name)
	case methodComplete:
		b = appendError(b, f.ID, CodeInvalidParams, "Unknown reference: "+f.Name)
	case methodResourcesRead, methodSubscribe, methodUnsubscribe:
		code := CodeResourceNotFound
		if f.Meta.Modern {
			code = CodeInvalidParams
		}
		b = appendError(b, f.ID, code, "Resource not found")
		b = append(appendString(append(b, `,"data":{"uri":`...), f.Name), '}')
	case "tasks/get", "tasks/result", "tasks/cancel", "tasks/update":
		b = appendError(b, f.ID, CodeInvalidParams, "Task not found")
	default:
		b = appendError(b, f.ID, CodeMethodNotFound, "Method not found")
	}
	return append(b, `}}`...)
}

// Failed answers a request that could not be served (PDP or upstream away),
// with code CodeFailed.
func Failed(id []byte, reason string) []byte {
	if id == nil {
		return nil
	}
	return append(appendError(nil, id, CodeFailed, reason), `}}`...)
}

// Faulted answers a frame that was refused by the reader. Where the frame has
// no id that could be read, the answer has none either, as MCP says.
func Faulted(f *Fault) []byte {
	b := appendError(nil, f.ID, f.Code, f.Reason)
	b = appendString(append(b, `,"data":{"rule":`...), f.Rule)
	return append(b, `}}}`...)
}

// appendID begins a message, up to the comma after the id.
func appendID(b, id []byte) []byte {
	b = append(b, `{"jsonrpc":"2.0",`...)
	if id == nil {
		return b
	}
	return append(append(append(b, `"id":`...), Line(id)...), ',')
}

// appendError begins an error response, up to the end of its message.
func appendError(b, id []byte, code int, message string) []byte {
	b = append(appendID(b, id), `"error":{"code":`...)
	b = append(strconv.AppendInt(b, int64(code), 10), `,"message":`...)
	return appendString(b, message)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string that is safe on one line of any
// stream: controls, DEL, C1 controls, U+2028, U+2029 and the byte order mark
// are escaped, and what is not UTF-8 is replaced by U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r < ' ' || 0x7f <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff:
			b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
