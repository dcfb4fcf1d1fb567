package frames

import (
	"bytes"
	"encoding/json"
	"math/big"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// What became of a case.
const (
	rejected = "reject"
	denied   = "deny"
	allowed  = "allow-same-meaning"
)

// Judge holds answer, audit records and the upstream's log against the case.
func (f *Fixture) Judge(t *testing.T, c *Case, answer []byte, records []gateway.Record, calls [][]byte) {
	t.Helper()
	outcome := f.classify(t, c, answer, records)
	if !c.accepts(outcome) {
		t.Errorf("%s: came out as %s, want %s or %v\nanswer: %.600q\nrecords: %+v", c.Why, outcome, c.Expected, c.AlsoOK, answer, records)
	}
	// Every execution has a record that allowed it, with the same meaning.
	var allows []gateway.Record
	for _, r := range records {
		if r.Effect == "allow" && r.Frame.Method == "tools/call" {
			allows = append(allows, r)
		}
	}
	if len(calls) > len(allows) {
		t.Fatalf("UNEXPECTED EXECUTION: the upstream executed %.600q on %d allowed calls", calls, len(allows))
	}
	for i, call := range calls {
		sameMeaning(t, allows[i], call)
	}
}

// classify says what became of the case, by its last record: where one
// connection carries two requests, the second is the attack.
func (f *Fixture) classify(t *testing.T, c *Case, answer []byte, records []gateway.Record) string {
	t.Helper()
	heads := head.FindAllIndex(answer, -1)
	if f.Own != nil && max(1, len(heads)) > len(records) {
		last := answer
		if len(heads) > 0 {
			last = answer[heads[len(heads)-1][0]:]
		}
		if f.Own(c, last, len(records)) {
			return rejected // by what stands in front, and nobody here was asked
		}
	}
	if c.Transport == "both" || c.Transport == "stdio" {
		if len(records) != 1 {
			t.Errorf("I5: %d audit records, want 1: %+v", len(records), records)
		}
	} else if len(records) == 0 && c.Category != "partial" {
		t.Errorf("I5: no audit record; answer %.300q", answer)
	}
	if c.Category == "reflect" {
		oneMessage(t, answer)
	}
	if len(records) == 0 {
		return rejected
	}
	switch r := records[len(records)-1]; {
	case r.Effect == "allow":
		return allowed
	case r.Fault == nil && r.ReasonCode != "unauthenticated" && !strings.HasSuffix(r.ReasonCode, "_token"):
		return denied
	default:
		return rejected
	}
}

// head begins an HTTP response, other than an interim one.
var head = regexp.MustCompile(`HTTP/1\.1 [2-5]\d\d `)

// oneMessage holds that an answer is exactly one JSON-RPC message, also for a
// reader of event streams that ends lines at LF, CR and CRLF.
func oneMessage(t *testing.T, answer []byte) {
	t.Helper()
	body := answer
	if _, after, ok := bytes.Cut(answer, []byte("\r\n\r\n")); ok {
		body = after
	}
	body = bytes.TrimRight(body, "\n")
	var message struct{ JSONRPC string }
	if err := json.Unmarshal(body, &message); err != nil || message.JSONRPC != "2.0" || bytes.ContainsAny(body, "\r\n") {
		t.Errorf("not one message on one line: %q (%v)", body, err)
	}
}

// sameMeaning holds that what was executed is what was evaluated and recorded.
func sameMeaning(t *testing.T, r gateway.Record, executed []byte) {
	t.Helper()
	var call struct {
		Params struct {
			Name      string
			Arguments json.RawMessage
		}
	}
	if err := json.Unmarshal(executed, &call); err != nil {
		t.Fatal(err)
	}
	if call.Params.Name != r.Frame.Name {
		t.Errorf("executed %q, decided on %q", call.Params.Name, r.Frame.Name)
	}
	if len(r.Masked) > 0 || len(r.Arguments) == 0 {
		return // the record does not show them
	}
	if got, want := exact(t, call.Params.Arguments), exact(t, r.Arguments); !reflect.DeepEqual(got, want) {
		t.Errorf("executed %s, recorded %s", call.Params.Arguments, r.Arguments)
	}
}

// exact reads JSON with numbers as exact rationals.
func exact(t *testing.T, raw []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return rational(v)
}

func rational(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = rational(v[k])
		}
	case []any:
		for i := range v {
			v[i] = rational(v[i])
		}
	case json.Number:
		r, _ := new(big.Rat).SetString(v.String())
		return r.RatString()
	}
	return v
}
