package mcp

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestListRequest(t *testing.T) {
	modernMeta := frame(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+modern+`}}`).Meta
	withExtras := frame(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"progressToken":1,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",`+modern[len(`"_meta":{`):]+`}}`).Meta
	for _, c := range []struct {
		name   string
		cursor string
		meta   Meta
		want   string
	}{
		{"legacy", "", Meta{}, `{"jsonrpc":"2.0","id":"g-1","method":"tools/list","params":{}}`},
		{"legacy, next page", `"c\u0061"`, Meta{}, `{"jsonrpc":"2.0","id":"g-1","method":"tools/list","params":{"cursor":"c\u0061"}}`},
		{"modern", "", modernMeta, `{"jsonrpc":"2.0","id":"g-1","method":"tools/list","params":{` + modern + `}}`},
		{"modern, next page", `"c"`, withExtras, `{"jsonrpc":"2.0","id":"g-1","method":"tools/list","params":{"cursor":"c",` + modern + `}}`},
		{
			"modern, of our own", "",
			Meta{Modern: true, ProtocolVersion: "2026-07-28", ClientName: `m"`, ClientVersion: "1"},
			`{"jsonrpc":"2.0","id":"g-1","method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"m\"","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cursor []byte
			if c.cursor != "" {
				cursor = []byte(c.cursor)
			}
			b := ListRequest("tools/list", cursor, "g-1", c.meta)
			if diff := cmp.Diff(c.want, string(b)); diff != "" {
				t.Error(diff)
			}
			f, err := Read(b, ToServer, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if f.Meta.Modern != c.meta.Modern || f.Meta.ProgressToken != nil || f.Meta.TraceParent != "" {
				t.Errorf("%+v", f.Meta)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	f, err := Read(Cancelled([]byte(`"a"`), "the client\nwent away"), ToServer, Limits{})
	if err != nil || f.Kind != KindNotification || string(f.RequestID) != `"a"` {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestReadInputRequests(t *testing.T) {
	read := func(entries string) ([]InputRequest, error) {
		t.Helper()
		f, err := Read([]byte(`{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":`+entries+`}}`), ToClient, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return ReadInputRequests(f, Limits{})
	}
	got, err := read(`{"b":{"method":"elicitation/create","params":{"mode":"url","url":"https://a"}},"\u0061":{"method":"roots\/list"},"A":{"params":{"messages":[{"x":1e999}]},"method":"sampling/createMessage"}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []InputRequest{
		{Key: "b", Method: "elicitation/create", Params: []byte(`{"mode":"url","url":"https://a"}`)},
		{Key: "a", Method: "roots/list"},
		{Key: "A", Method: "sampling/createMessage", Params: []byte(`{"messages":[{"x":1e999}]}`)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, entries := range []string{
		`{"a":1}`,
		`{"a":null}`,
		`{"a":{}}`,
		`{"a":{"method":"tools/call","params":{"name":"t"}}}`,
		`{"a":{"method":"vendor/odd"}}`,
		`{"a":{"method":"roots/list","Method":"sampling/createMessage"}}`,
		`{"a":{"Method":"roots/list"}}`,
		`{"a":{"method":"roots/list","id":1}}`,
		`{"a":{"method":"roots/list","params":[]}}`,
		`{"ok":{"method":"roots/list"},"a":{"method":1}}`,
	} {
		got, err := read(entries)
		fault, ok := errors.AsType[*Fault](err)
		if !ok || got != nil {
			t.Errorf("%s: %v, %v", entries, got, err)
			continue
		}
		if string(fault.ID) != "1" {
			t.Errorf("%s: id %q", entries, fault.ID)
		}
	}
	if got, err := ReadInputRequests(&Frame{}, Limits{}); got != nil || err != nil {
		t.Errorf("none: %v, %v", got, err)
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		frame        string
		rule         string
		line, column int
	}{
		{call(`{}`), "", 0, 0},
		{"{\n  \"jsonrpc\": \"2.0\",\n  \"é\": 1\n}", RuleEnvelope, 3, 3},
		{"{\"é\":nul}", RuleSyntax, 1, 9},
		{`{"jsonrpc":"2.0","id":1}`, RuleEnvelope, 0, 0},
		{"", RuleEmpty, 1, 1},
		{"{\n", RuleTruncated, 2, 1},
	} {
		e := Explain([]byte(c.frame), ToServer, Limits{})
		if (e.Fault == nil) != (c.rule == "") || (e.Frame == nil) != (c.rule != "") {
			t.Errorf("%q: %+v", c.frame, e)
			continue
		}
		if c.rule != "" && e.Fault.Rule != c.rule || e.Line != c.line || e.Column != c.column {
			t.Errorf("%q: %v at %d:%d, want %s at %d:%d", c.frame, e.Fault, e.Line, e.Column, c.rule, c.line, c.column)
		}
	}
	ok := Explain([]byte(call(`{}`)), ToServer, Limits{})
	f, err := Read([]byte(call(`{}`)), ToServer, Limits{})
	if diff := cmp.Diff(f, ok.Frame, cmpopts.IgnoreUnexported(Frame{})); err != nil || diff != "" {
		t.Error(err, diff)
	}
}
