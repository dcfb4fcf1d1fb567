package mcp

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestReadTakes(t *testing.T) {
	raw := func(s string) []byte { return []byte(s) }
	const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"url":{}}},"clientInfo":{"name":"cl\u0069ent","version":"2"}}}`
	const info, capabilities = `{"name":"c","version":"1"}`, `{"elicitation":{"url":{}}}`
	meta := Meta{
		Modern: true, ProtocolVersion: "2026-07-28", ClientName: "c", ClientVersion: "1", ElicitationURL: true,
		ClientInfo: raw(info), Capabilities: raw(capabilities),
	}
	const params = `{"name":"t","arguments":{"a":[1]}}`
	for _, c := range []struct {
		name, frame string
		dir         Direction
		want        Frame
	}{
		{
			"legacy call", ` {"jsonrpc":"2.0","id":"a","method":"tools/call","params":` + params + "}\r\n", ToServer,
			Frame{Kind: KindRequest, ID: raw(`"a"`), Method: "tools/call", Params: raw(params), Arguments: raw(`{"a":[1]}`), Name: "t", HasName: true},
		},
		{
			"modern call in another order", `{"params":{` + modern + `,"requestState":"s","inputResponses":{"k":{}},"arguments":{},"name":"\u0074"},"method":"tools\/call","id":-7,"jsonrpc":"2\u002e0"}`, ToServer,
			Frame{
				Kind: KindRequest, ID: raw(`-7`), Method: "tools/call", Params: raw(`{` + modern + `,"requestState":"s","inputResponses":{"k":{}},"arguments":{},"name":"\u0074"}`),
				Arguments: raw(`{}`), Name: "t", HasName: true, Meta: meta, InputResponses: raw(`{"k":{}}`), RequestState: raw(`"s"`),
			},
		},
		{
			"initialize", initialize, ToServer,
			Frame{
				Kind: KindRequest, ID: raw(`0`), Method: "initialize", Params: raw(initialize[strings.Index(initialize, `"params":`)+9 : len(initialize)-1]),
				Meta: Meta{
					ProtocolVersion: "2025-11-25", ClientName: "client", ClientVersion: "2", ElicitationURL: true,
					ClientInfo: raw(`{"name":"cl\u0069ent","version":"2"}`), Capabilities: raw(capabilities),
				},
			},
		},
		{
			"no params", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, ToServer,
			Frame{Kind: KindRequest, ID: raw(`1`), Method: "ping"},
		},
		{
			"trace context", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=b, c=d","progressToken":"p"}}}`, ToServer,
			Frame{
				Kind: KindRequest, ID: raw(`1`), Method: "ping",
				Params: raw(`{"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=b, c=d","progressToken":"p"}}`),
				Meta:   Meta{TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TraceState: "a=b, c=d", ProgressToken: raw(`"p"`)},
			},
		},
		{
			"trace context that is none", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"traceparent":"00-00000000000000000000000000000000-b7ad6b7169203331-01","tracestate":"a=b"}}}`, ToServer,
			Frame{
				Kind: KindRequest, ID: raw(`1`), Method: "ping",
				Params: raw(`{"_meta":{"traceparent":"00-00000000000000000000000000000000-b7ad6b7169203331-01","tracestate":"a=b"}}`),
			},
		},
		{
			"read", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}}`, ToServer,
			Frame{Kind: KindRequest, ID: raw(`1`), Method: "resources/read", Params: raw(`{"uri":"file:///a"}`), Name: "file:///a", HasName: true},
		},
		{
			"completion of a prompt", `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":""}}}`, ToServer,
			Frame{
				Kind: KindRequest, ID: raw(`1`), Method: "completion/complete",
				Params: raw(`{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":""}}`), Name: "p", HasName: true,
			},
		},
		{
			"completion of a template", `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"uri":"a:{b}","type":"ref/resource"}}}`, ToServer,
			Frame{
				Kind: KindRequest, ID: raw(`1`), Method: "completion/complete",
				Params: raw(`{"ref":{"uri":"a:{b}","type":"ref/resource"}}`), Name: "a:{b}", HasName: true,
			},
		},
		{
			"task", `{"jsonrpc":"2.0","id":1,"method":"tasks/cancel","params":{"taskId":"x"}}`, ToServer,
			Frame{Kind: KindRequest, ID: raw(`1`), Method: "tasks/cancel", Params: raw(`{"taskId":"x"}`), Name: "x", HasName: true},
		},
		{
			"vendor method", `{"jsonrpc":"2.0","id":1,"method":"$/odd","params":{"name":1,"inputResponses":[]}}`, ToServer,
			Frame{Kind: KindRequest, ID: raw(`1`), Method: "$/odd", Params: raw(`{"name":1,"inputResponses":[]}`)},
		},
		{
			"cancelled", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a","reason":"x"}}`, ToServer,
			Frame{Kind: KindNotification, Method: "notifications/cancelled", Params: raw(`{"requestId":"a","reason":"x"}`), RequestID: raw(`"a"`)},
		},
		{
			"progress", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1e999}}`, ToClient,
			Frame{Kind: KindNotification, Method: "notifications/progress", Params: raw(`{"progressToken":7,"progress":1e999}`), Meta: Meta{ProgressToken: raw(`7`)}},
		},
		{
			"updated", `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b","_meta":{"io.modelcontextprotocol/subscriptionId":3}}}`, ToClient,
			Frame{
				Kind: KindNotification, Method: "notifications/resources/updated", Name: "a:b", HasName: true, SubscriptionID: raw(`3`),
				Params: raw(`{"uri":"a:b","_meta":{"io.modelcontextprotocol/subscriptionId":3}}`),
			},
		},
		{
			"listen", `{"jsonrpc":"2.0","id":3,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["a:\u0062"],"taskIds":[]}}}`, ToServer,
			Frame{
				Kind: KindRequest, ID: raw(`3`), Method: "subscriptions/listen", ResourceURIs: []string{"a:b"}, TaskIDs: []string{},
				Params: raw(`{"notifications":{"resourceSubscriptions":["a:\u0062"],"taskIds":[]}}`),
			},
		},
		{
			"a client's answer", `{"jsonrpc":"2.0","id":3,"result":{"roots":[]}}`, ToServer,
			Frame{Kind: KindResponse, ID: raw(`3`), Result: raw(`{"roots":[]}`)},
		},
		{
			"a server's error", `{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"no"}}`, ToClient,
			Frame{Kind: KindResponse, ID: raw(`3`), Error: raw(`{"code":-32601,"message":"no"}`)},
		},
		{
			"a server's error to what it could not read", `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}`, ToClient,
			Frame{Kind: KindResponse, Error: raw(`{"code":-32700,"message":"no"}`)},
		},
		{
			"content with odd names, numbers and surrogates", `{"jsonrpc":"2.0","id":3,"result":{"structuredContent":{"id":1,"ID":12345678901234567890,"i_d":1e999,"\u0000":"\ud800","\ud800":0}}}`, ToClient,
			Frame{Kind: KindResponse, ID: raw(`3`), Result: raw(`{"structuredContent":{"id":1,"ID":12345678901234567890,"i_d":1e999,"\u0000":"\ud800","\ud800":0}}`)},
		},
		{
			"input required", `{"jsonrpc":"2.0","id":3,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}},"requestState":"s"}}`, ToClient,
			Frame{
				Kind: KindResponse, ID: raw(`3`), ResultType: "input_required", InputRequests: raw(`{"a":{"method":"roots/list"}}`), RequestState: raw(`"s"`),
				Result: raw(`{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}},"requestState":"s"}`),
			},
		},
		{
			"sampling", `{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage","params":{"messages":[]}}`, ToClient,
			Frame{Kind: KindRequest, ID: raw(`3`), Method: "sampling/createMessage", Params: raw(`{"messages":[]}`)},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Read([]byte(c.frame), c.dir, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			c.want.Bytes = []byte(c.frame)
			if diff := cmp.Diff(&c.want, f, cmpopts.IgnoreUnexported(Frame{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestI2_FrameAliasesItsBytes(t *testing.T) {
	b := []byte(call(`{"a":1}`))
	f, err := Read(b, ToServer, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if &f.Bytes[0] != &b[0] || len(f.Bytes) != len(b) {
		t.Error("Bytes is a copy")
	}
	if at := strings.Index(string(b), `{"a"`); &f.Arguments[0] != &b[at] {
		t.Error("Arguments is a copy")
	}
	if cap(f.Arguments) != len(f.Arguments) || cap(f.ID) != len(f.ID) {
		t.Error("appending to a part would write into the frame")
	}
}
