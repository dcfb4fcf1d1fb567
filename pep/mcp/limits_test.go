package mcp

import (
	"errors"
	"strings"
	"testing"
)

func TestReadLimits(t *testing.T) {
	nested := func(n int) string {
		return call(`{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`)
	}
	values := func(n int) string { return call(`{"a":[0` + strings.Repeat(",0", n-1) + `]}`) }
	large := func(n int) string {
		return strings.Replace(call(`{"a":""}`), `""`, `"`+strings.Repeat("a", n-len(call(`{"a":""}`)))+`"`, 1)
	}
	server := func(s string) string { return `{"jsonrpc":"2.0","id":1,"result":` + s + `}` }
	for _, c := range []struct {
		name, frame string
		dir         Direction
		lim         Limits
		rule        string
	}{
		{"depth at the default", nested(61), ToServer, Limits{}, ""},
		{"depth over the default", nested(62), ToServer, Limits{}, RuleTooDeep},
		{"depth at a limit", nested(2), ToServer, Limits{Depth: 5}, ""},
		{"depth over a limit", nested(3), ToServer, Limits{Depth: 5}, RuleTooDeep},
		// The frame itself, jsonrpc, id, method, params, name, arguments and the array are 8 values.
		{"values at the default", values(9_992), ToServer, Limits{}, ""},
		{"values over the default", values(9_993), ToServer, Limits{}, RuleTooMany},
		{"values over a limit", values(3), ToServer, Limits{Values: 10}, RuleTooMany},
		{"bytes at the default", large(1 << 20), ToServer, Limits{}, ""},
		{"bytes over the default", large(1<<20 + 1), ToServer, Limits{}, RuleTooLarge},
		{"bytes over a limit", call(`{}`), ToServer, Limits{Bytes: 20}, RuleTooLarge},
		{"a deep answer", server(`{"a":` + strings.Repeat("[", 510) + strings.Repeat("]", 510) + `}`), ToClient, Limits{}, ""},
		{"too deep an answer", server(`{"a":` + strings.Repeat("[", 511) + strings.Repeat("]", 511) + `}`), ToClient, Limits{}, RuleTooDeep},
		{"a wide answer", server(`{"a":[0` + strings.Repeat(",0", 20_000) + `]}`), ToClient, Limits{}, ""},
		{"a large answer", server(`{"a":"` + strings.Repeat("a", 2<<20) + `"}`), ToClient, Limits{}, ""},
		{"exact numbers", call(`{"a":9007199254740993,"b":100.00000000000000001}`), ToServer, Limits{ExactNumbers: true}, ""},
		{"exact numbers, but out of range", call(`{"a":1e400}`), ToServer, Limits{ExactNumbers: true}, RuleNumberRange},
		{"exact numbers, but too long", call(`{"a":0.` + strings.Repeat("1", 39) + `}`), ToServer, Limits{ExactNumbers: true}, RuleNumberLength},
		{"exact numbers, but not for ids", `{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}`, ToServer, Limits{ExactNumbers: true}, RuleID},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Read([]byte(c.frame), c.dir, c.lim)
			rule := ""
			if fault, ok := errors.AsType[*Fault](err); ok {
				rule = fault.Rule
			}
			if rule != c.rule {
				t.Errorf("got %q (%v), want %q", rule, err, c.rule)
			}
		})
	}
}

func TestFaultID(t *testing.T) {
	for _, c := range []struct{ name, frame, id string }{
		{"a fault in the parameters", `{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{}}`, `"a"`},
		{"the id comes last", `{"jsonrpc":"2.0","method":"tools/call","params":{"a":1,"a":2},"id":5}`, `5`},
		{"invalid UTF-8 elsewhere", "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"tools/call\",\"params\":{\"name\":\"\xff\"}}", `5`},
		{"an escaped name", `{"jsonrpc":"2.0","\u0069d":5,"method":"tools/call"}`, `5`},
		{"two ids", `{"jsonrpc":"2.0","id":5,"id":6,"method":"ping"}`, ``},
		{"two ids that fold", `{"jsonrpc":"2.0","id":5,"Id":6,"method":"ping"}`, ``},
		{"two ids, one with NUL", `{"jsonrpc":"2.0","id":5,"id\u0000":6,"method":"ping"}`, ``},
		{"only one that folds", `{"jsonrpc":"2.0","ID":6,"method":"ping"}`, ``},
		{"no good id", `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, ``},
		{"an id inside", `{"jsonrpc":"2.0","method":"ping","params":{"id":5}}`, ``},
		{"not JSON", `{"jsonrpc":"2.0","id":5,"method":"ping",}`, ``},
		{"two messages", `{"id":5}{"id":6}`, ``},
		{"a batch", `[{"jsonrpc":"2.0","id":5,"method":"ping"}]`, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Read([]byte(c.frame), ToServer, Limits{})
			fault, ok := errors.AsType[*Fault](err)
			if !ok {
				t.Fatal("accepted")
			}
			if string(fault.ID) != c.id {
				t.Errorf("got id %q, want %q (%v)", fault.ID, c.id, fault)
			}
		})
	}
}

// A reason is shown to people and written to logs: nothing that a client sent
// may be in it (I6).
func TestI6_ReasonsQuoteNothing(t *testing.T) {
	const canary = "s3cr3tCanary"
	for _, frame := range []string{
		call(`{"` + canary + `":1,"` + canary + `":2}`),
		call(`{"a":"` + canary + `"`),
		call(`{"a":` + canary + `}`),
		call(`{"a":"` + canary + `\q"}`),
		`{"jsonrpc":"2.0","id":1,"method":"` + canary + ` "}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + canary + `\n"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"traceparent":"` + canary + `\n"}}}`,
	} {
		_, err := Read([]byte(frame), ToServer, Limits{})
		if err == nil {
			t.Fatalf("accepted %s", frame)
		}
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%v", err)
		}
	}
}
