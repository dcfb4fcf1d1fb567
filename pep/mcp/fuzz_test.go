package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"reflect"
	"strconv"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
)

// seeds are frames and fragments on which JSON readers are known to differ.
var seeds = []string{
	``, ` `, `{}`, `[]`, `null`, `true`, `"a"`, `1`, `-`, `[1,2`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{,}`, `[,1]`, `[1,,2]`, `{"a":1,}`, `{"a" 1}`, `{a:1}`,
	`{"a":"\ud83d\ude00"}`, `{"a":"\ud800"}`, `{"\ud800":1}`, `{"a":"\u0000"}`, "{\"a\":\"\x00\"}", "{\"a\":\"\xff\"}", "\xef\xbb\xbf{}", "{}\x00", `{}{}`, `{} {}`, "{}\n{}",
	`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":1,"A":2}`, `{"a_b":1,"ab":2}`, `{"":1,"_":2}`, "{\"params\":1,\"param\u017f\":2}", `{"a":{"b":1,"b":2}}`, `[{"a":1,"a":2}]`,
	`{"a":01}`, `{"a":+1}`, `{"a":.1}`, `{"a":1.}`, `{"a":1e}`, `{"a":1e+}`, `{"a":-}`, `{"a":0x1}`, `{"a":NaN}`, `{"a":Infinity}`, `{"a":1_0}`, `{"a":1e400}`, `{"a":-1e400}`,
	`{"a":1e-400}`, `{"a":9007199254740993}`, `{"a":1.0}`, `{"a":1E5}`, `{"a":-0}`, `{"a":-0.0}`, `{"a":0.1}`, `{"a":100.00000000000000001}`, `{"a":0e0}`, `{"a":12345678901234567890}`,
	`{"a":'b'}`, `{"a":"b}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":tru}`, `{"a":True}`, `{"a":undefined}`, `{"a":/**/1}`, `{"a":1}//`, `#{}`, "{\"a\":\"\t\"}", "{\"a\":\"\u2028\"}",
	`[[[[[[[[[[1]]]]]]]]]]`, `{"a":{"a":{"a":{"a":{}}}}}`,
	`{"jsonrpc":"2.0","id":1,"method":"ping"}`,
	`{"jsonrpc":"2.0","id":"a","method":"notifications/initialized"}`,
	`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`,
	`{"jsonrpc":"2.0","id":1,"result":{}}`,
	`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}`,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"a":1,"A":2}}}`,
	`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"url":{}}},"clientInfo":{"name":"c","version":"1"}}}`,
	`{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}}}`,
	`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["a:b"]}}}`,
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{},"inputResponses":{},"requestState":"s",` + modern + `}}`,
}

// FuzzRead holds the reader against others: whatever it accepts, they read as
// the same message. (The same against the policy engine's reader stands in
// test/fuzz, which may import it.)
func FuzzRead(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
		f.Add([]byte(call(s)))
	}
	for _, a := range attacks(f) {
		if b := a.body(); len(b) < 4096 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Read(b, ToServer, Limits{})
		if err != nil {
			sane(t, b, err)
		} else {
			sameEverywhere(t, frame)
			sameLine(t, frame)
			sameButForID(t, frame)
			sameCanonical(t, frame.Params)
		}
		if frame, err := Read(b, ToClient, Limits{}); err != nil {
			sane(t, b, err)
		} else {
			sameEnvelope(t, frame)
			if _, err := ReadInputRequests(frame, Limits{}); err != nil {
				sane(t, frame.InputRequests, err)
			}
		}
	})
}

// sane checks that a refusal can be answered and recorded.
func sane(t *testing.T, b []byte, err error) {
	t.Helper()
	var fault *Fault
	if !errors.As(err, &fault) {
		t.Fatalf("%T is no fault", err)
	}
	if fault.Rule == "" || fault.Reason == "" || fault.Code >= 0 || fault.Status < 400 || fault.Offset < -1 || fault.Offset > len(b) {
		t.Fatalf("%+v", fault)
	}
	if fault.ID != nil && !isID(fault.ID) {
		t.Fatalf("id %q", fault.ID)
	}
	if answer := Faulted(fault); !json.Valid(answer) {
		t.Fatalf("%s", answer)
	}
}

// decode reads JSON as encoding/json does, numbers as they are written.
func decode(t *testing.T, b []byte) any {
	t.Helper()
	if b == nil {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", b, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Fatalf("%q has more than one value", b)
	}
	return v
}

func sameEverywhere(t *testing.T, f *Frame) {
	t.Helper()
	message := sameEnvelope(t, f)
	var strict any
	if err := jsonv2.Unmarshal(f.Bytes, &strict); err != nil {
		t.Fatalf("json/v2 refuses %q: %v", f.Bytes, err)
	}
	params, _ := message["params"].(map[string]any)
	if !reflect.DeepEqual(decode(t, f.Params), message["params"]) {
		t.Fatalf("params of %q", f.Bytes)
	}
	if f.Arguments != nil && !reflect.DeepEqual(decode(t, f.Arguments), params["arguments"]) {
		t.Fatalf("arguments of %q", f.Bytes)
	}
	var folding struct {
		Method string
		Params struct {
			Name, URI, TaskID string
			Arguments         json.RawMessage
		}
	}
	if f.HasName {
		// A reader that folds case finds the same.
		if err := json.Unmarshal(f.Bytes, &folding); err != nil || folding.Method != f.Method {
			t.Fatalf("%q folded: %v, %+v", f.Bytes, err, folding)
		}
		switch f.Method {
		case "tools/call", "prompts/get":
			if folding.Params.Name != f.Name || params["name"] != f.Name || !bytes.Equal(folding.Params.Arguments, f.Arguments) {
				t.Fatalf("%q folded: %+v", f.Bytes, folding)
			}
		case "resources/read":
			if folding.Params.URI != f.Name || params["uri"] != f.Name {
				t.Fatalf("%q folded: %+v", f.Bytes, folding)
			}
		}
	}
	eachNumber(message, func(n json.Number) {
		exact, ok := new(big.Rat).SetString(string(n))
		double, err := strconv.ParseFloat(string(n), 64)
		if !ok || err != nil {
			t.Fatalf("number %s: %v", n, err)
		}
		if printed, _ := new(big.Rat).SetString(strconv.FormatFloat(double, 'g', -1, 64)); printed.Cmp(exact) != 0 {
			t.Fatalf("number %s becomes %v", n, double)
		}
	})
}

// sameEnvelope checks what holds for both directions.
func sameEnvelope(t *testing.T, f *Frame) map[string]any {
	t.Helper()
	message, ok := decode(t, f.Bytes).(map[string]any)
	if !ok || message["jsonrpc"] != "2.0" {
		t.Fatalf("%q is no message", f.Bytes)
	}
	method, _ := message["method"].(string)
	if method != f.Method || (method == "") != (f.Kind == KindResponse) {
		t.Fatalf("%q: method %q, kind %v", f.Bytes, f.Method, f.Kind)
	}
	if !reflect.DeepEqual(decode(t, f.ID), message["id"]) {
		t.Fatalf("%q: id %q", f.Bytes, f.ID)
	}
	for _, part := range []struct {
		raw  []byte
		name string
	}{{f.Result, "result"}, {f.Error, "error"}} {
		if !reflect.DeepEqual(decode(t, part.raw), message[part.name]) {
			t.Fatalf("%q: %s %q", f.Bytes, part.name, part.raw)
		}
	}
	return message
}

func eachNumber(v any, fn func(json.Number)) {
	switch v := v.(type) {
	case json.Number:
		fn(v)
	case []any:
		for _, e := range v {
			eachNumber(e, fn)
		}
	case map[string]any:
		for _, e := range v {
			eachNumber(e, fn)
		}
	}
}

func sameLine(t *testing.T, f *Frame) {
	t.Helper()
	line := Line(f.Bytes)
	if fault := CheckLine(line); fault != nil {
		t.Fatalf("%q: %v", line, fault)
	}
	if !reflect.DeepEqual(decode(t, line), decode(t, f.Bytes)) {
		t.Fatalf("%q is another message than %q", line, f.Bytes)
	}
	if _, err := Read(line, ToServer, Limits{Bytes: 2 << 20}); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
}

func sameButForID(t *testing.T, f *Frame) {
	t.Helper()
	if f.ID == nil {
		return
	}
	again, err := Read(WithID(f, []byte(`"new"`)), ToServer, Limits{Bytes: 2 << 20})
	if err != nil || string(again.ID) != `"new"` {
		t.Fatalf("%q: %v", f.Bytes, err)
	}
	if back := WithID(again, f.ID); !bytes.Equal(back, f.Bytes) {
		t.Fatalf("%q came back as %q", f.Bytes, back)
	}
}

func sameCanonical(t *testing.T, raw []byte) {
	t.Helper()
	if raw == nil {
		return
	}
	canonical, err := Canonical(raw)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	var one, two any
	if err := errors.Join(json.Unmarshal(raw, &one), json.Unmarshal(canonical, &two)); err != nil || !reflect.DeepEqual(one, two) {
		t.Fatalf("%q became %q: %v", raw, canonical, err)
	}
	if again, err := Canonical(canonical); err != nil || !bytes.Equal(again, canonical) {
		t.Fatalf("%q became %q: %v", canonical, again, err)
	}
}
