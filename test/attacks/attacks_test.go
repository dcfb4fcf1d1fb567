// Package attacks sends frames that parsers read differently through the real
// programs to an upstream that records what it executes. The cases, and what
// must become of each, are in frames-dev.jsonl; MCPERMIT_FRAMES names another
// file of the same form.
package attacks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// What became of a case.
const (
	rejected = "reject"
	denied   = "deny"
	allowed  = "allow-same-meaning"
)

type fixture struct {
	*gateway.Gateway
	upstream *recorder
	trail    *gateway.Trail
	token    string
}

func newFixture(t *testing.T) *fixture {
	upstream, admin := newRecorder(t), newRecorder(t)
	g := gateway.Start(t, gateway.Config{
		Policy: "policy",
		Servers: map[string]any{
			"payments": map[string]any{"url": upstream.URL},
			"admin":    map[string]any{"url": admin.URL},
		},
		Extra: map[string]any{"audit": map[string]any{"fsync": "never"}},
	})
	f := &fixture{Gateway: g, upstream: upstream}
	_, f.token = g.Grant(t, "attacker", "payments")
	f.trail = g.Trail(t)
	t.Cleanup(func() {
		if calls, other := admin.take(); len(calls)+len(other) > 0 {
			t.Errorf("the server that is not granted was reached: %q %q", calls, other)
		}
	})
	return f
}

// TestI2_HTTP sends every case that is not for stdio alone over a raw socket.
func TestI2_HTTP(t *testing.T) {
	f := newFixture(t)
	for _, c := range loadCases(t) {
		if c.Transport == "stdio" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			answer := exchange(t, f.host(), c.request(t, f.host(), f.token), c.Category == "partial")
			f.judge(t, &c, answer, f.trail.Next(t), f.arrived(t))
			f.stillWorks(t)
		})
	}
}

func (f *fixture) host() string { return strings.TrimPrefix(f.URL, "http://") }

// exchange writes raw bytes and reads until the gateway closes the connection,
// or, when it keeps it open, until an answer is complete.
func exchange(t *testing.T, host string, request []byte, partial bool) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = conn.Write(request) }() // the gateway may answer and close before it is read
	patience := 2 * time.Second
	if partial {
		patience = 20 * time.Second // the gateway's own read time-out must end it
	}
	requests := max(1, bytes.Count(request, []byte(" HTTP/1.1\r\n")))
	var answer bytes.Buffer
	buf := make([]byte, 64<<10)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, err := conn.Read(buf)
		answer.Write(buf[:n])
		if requests == 1 && complete(answer.Bytes()) {
			return answer.Bytes()
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			if partial {
				t.Fatalf("the connection is still open after %v", patience)
			}
			return answer.Bytes()
		}
		if err != nil {
			return answer.Bytes()
		}
	}
}

func complete(b []byte) bool {
	head, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return false
	}
	for line := range bytes.Lines(head) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if strings.EqualFold(string(name), "Content-Length") {
			var n int
			_, err := fmt.Sscan(string(value), &n)
			return err == nil && len(body) >= n
		}
	}
	return bytes.HasSuffix(body, []byte("\r\n0\r\n\r\n"))
}

// arrived is what the upstream executed since the last call of it. Anything
// else that it should not have got is an error.
func (f *fixture) arrived(t *testing.T) [][]byte {
	t.Helper()
	calls, other := f.upstream.take()
	if len(other) > 0 {
		t.Errorf("the upstream got what it should not have: %q", other)
	}
	return calls
}

// judge holds answer, audit records and the upstream's log against the case.
func (f *fixture) judge(t *testing.T, c *testCase, answer []byte, records []gateway.Record, calls [][]byte) {
	t.Helper()
	outcome := classify(t, c, answer, records)
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
func classify(t *testing.T, c *testCase, answer []byte, records []gateway.Record) string {
	t.Helper()
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

const cleanCall = `{"jsonrpc":"2.0","id":"clean","method":"tools/call","params":{"name":"get_balance","arguments":{"account":"a"}}}`

// stillWorks makes the clean call that must pass after every case.
func (f *fixture) stillWorks(t *testing.T) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, f.Endpoint("payments"), strings.NewReader(cleanCall))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		"Authorization": {"Bearer " + f.token}, "Content-Type": {"application/json"},
		"Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-11-25"},
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if !bytes.Contains(body, []byte(`"text":"done"`)) {
		t.Errorf("the clean call afterwards: %s %s", res.Status, body)
	}
	f.forget(t)
}

// forget drops what the clean call left behind.
func (f *fixture) forget(t *testing.T) {
	t.Helper()
	if calls, _ := f.upstream.take(); len(calls) != 1 || string(calls[0]) != cleanCall {
		t.Errorf("the clean call arrived as %q", calls)
	}
	f.trail.Next(t)
}
