package mcp

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestParamHeaders holds that what a gateway makes of a schema for a client
// without headers is what CheckHeaders wants of a client that has them.
func TestParamHeaders(t *testing.T) {
	const definition = `{"name":"t","inputSchema":{"type":"object","properties":{
		"region":{"type":"string","x-mcp-header":"Region"},
		"where":{"type":"object","properties":{"city":{"type":"string","x-mcp-header":"City"}}},
		"n":{"type":"integer","x-mcp-header":"N"},"b":{"type":"boolean","x-mcp-header":"B"},
		"gone":{"type":"string","x-mcp-header":"Gone"},"nil":{"type":"string","x-mcp-header":"Nil"},"plain":{"type":"string"}}}}`
	f, err := Read([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"region":"eu","where":{"city":"Köln"},"n":7,"b":true,"nil":null,"plain":"x"},
		"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`), ToServer, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got := ParamHeaders(f, []byte(definition))
	want := map[string]string{
		"mcp-param-region": "eu", "mcp-param-city": "=?base64?S8O2bG4=?=", "mcp-param-n": "7", "mcp-param-b": "true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	h := Header{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"t"}}
	for name, value := range got {
		h[name] = []string{value}
	}
	if fault := CheckHeaders(h, f, []byte(definition)); fault != nil {
		t.Error(fault)
	}
	if got := ParamHeaders(f, nil); len(got) != 0 {
		t.Errorf("without a definition: %v", got)
	}
}

// TestConformanceCodes holds the codes and statuses that the conformance suite
// asks of a modern server.
func TestConformanceCodes(t *testing.T) {
	bare, err := Read([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`), ToServer, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if fault := CheckHeaders(Header{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/list"}}, bare, nil); fault == nil || fault.Code != CodeInvalidParams || fault.Status != 400 {
		t.Errorf("_meta is missing: %+v", fault)
	}
	for _, method := range []string{"resources/subscribe", "resources/unsubscribe"} {
		_, err := Read([]byte(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`), ToServer, Limits{})
		if fault, ok := errors.AsType[*Fault](err); !ok || fault.Code != CodeMethodNotFound || fault.Status != 404 {
			t.Errorf("%s in 2026-07-28: %v", method, err)
		}
	}
	if got := string(Line([]byte("{\"a\":\n1}\n"))); got != `{"a": 1}` {
		t.Errorf("a line with white space around it: %q", got)
	}
}
