// Package fuzz holds readers against each other that may not import one
// another: what the enforcement point accepts, the policy engine must read as
// the same call.
package fuzz

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math/big"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pep/mcp"
)

// FuzzFrameInOPA: the arguments of an accepted call are the same to the frame
// reader, to OPA's own reader, and in the input document that rules see; and
// every number compares in Rego as it does in a server that reads float64.
func FuzzFrameInOPA(f *testing.F) {
	for _, frame := range corpus(f) {
		f.Add(frame)
	}
	for _, arguments := range []string{
		`{}`, `{"a":[1,-0,0.1,1e2,1E+2,100.0,5e-324]}`, `{"amount":9007199254740991}`, `{"a":{"b":[{"c":null},true,"\u0041\ud83d\ude00\u2028"]}}`,
		`{"":"", "a b":" "}`, `{"__proto__":{"x":1}}`, `{"amount":9007199254740993}`, `{"a":1,"A":2}`,
	} {
		f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund","arguments":` + arguments + `}}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := mcp.Read(b, mcp.ToServer, mcp.Limits{})
		if err != nil || frame.Method != "tools/call" {
			return
		}
		message := read(t, b)
		params, _ := message["params"].(map[string]any)
		if message["method"] != frame.Method || params["name"] != frame.Name {
			t.Fatalf("%q is another call to OPA", b)
		}
		if frame.Arguments == nil {
			if _, there := params["arguments"]; there {
				t.Fatalf("%q has arguments to OPA", b)
			}
			return
		}
		in := policy.Input{Method: frame.Method, Tool: &policy.Tool{Name: frame.Name}, Arguments: frame.Arguments}
		document, err := in.Document()
		if err != nil {
			t.Fatalf("%q has no input document: %v", b, err)
		}
		rules := read(t, document)
		tool, _ := rules["tool"].(map[string]any)
		if rules["method"] != frame.Method || tool["name"] != frame.Name {
			t.Fatalf("%q is another call to the rules: %s", b, document)
		}
		if diff := cmp.Diff(params["arguments"], rules["arguments"], decimals); diff != "" {
			t.Fatalf("%q: %s", b, diff)
		}
		sameOrder(t, params["arguments"])
	})
}

// read is OPA's reader of JSON.
func read(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := util.UnmarshalJSON(b, &v); err != nil {
		t.Fatalf("OPA refuses %q: %v", b, err)
	}
	return v
}

// decimals compares numbers by their exact value.
var decimals = cmp.Comparer(func(a, b json.Number) bool {
	x, okX := new(big.Rat).SetString(string(a))
	y, okY := new(big.Rat).SetString(string(b))
	return okX && okY && x.Cmp(y) == 0
})

// sameOrder checks that a number stands to some limits in Rego as its float64
// does in a server.
func sameOrder(t *testing.T, v any) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			sameOrder(t, e)
		}
	case []any:
		for _, e := range v {
			sameOrder(t, e)
		}
	case json.Number:
		double, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			t.Fatalf("%s: %v", v, err)
		}
		for _, limit := range []json.Number{"0", "0.1", "100", "50000", "9007199254740991"} {
			bound, err := strconv.ParseFloat(string(limit), 64)
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			if double < bound {
				want = -1
			} else if double > bound {
				want = 1
			}
			if got := ast.Compare(ast.Number(v), ast.Number(limit)); got != want {
				t.Fatalf("%s to %s: %d in Rego, %d as float64", v, limit, got, want)
			}
		}
	}
}

// corpus are the attack frames.
func corpus(f *testing.F) [][]byte {
	f.Helper()
	file, err := os.Open("../attacks/frames-dev.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	var all [][]byte
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c struct {
			Raw []byte `json:"raw_base64"`
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			f.Fatal(err)
		}
		if len(bytes.TrimSpace(c.Raw)) > 0 {
			all = append(all, c.Raw)
		}
	}
	if err := lines.Err(); err != nil {
		f.Fatal(err)
	}
	return all
}
