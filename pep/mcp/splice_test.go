package mcp

import "testing"

func TestTokensAreReplacedAndNothingElse(t *testing.T) {
	read := func(s string, dir Direction) *Frame {
		t.Helper()
		f, err := Read([]byte(s), dir, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	const request = ` {"method":"tools/call","params":{"_meta":{"progressToken":"id"},"arguments":{"id":7,"progressToken":"id"},"name":"id"},"id" : 7,"jsonrpc":"2.0"} `
	f := read(request, ToServer)
	for _, c := range []struct{ name, got, want string }{
		{"id", string(WithID(f, []byte(`"new\"1"`))), ` {"method":"tools/call","params":{"_meta":{"progressToken":"id"},"arguments":{"id":7,"progressToken":"id"},"name":"id"},"id" : "new\"1","jsonrpc":"2.0"} `},
		{"progress token", string(WithProgressToken(f, []byte(`12`))), ` {"method":"tools/call","params":{"_meta":{"progressToken":12},"arguments":{"id":7,"progressToken":"id"},"name":"id"},"id" : 7,"jsonrpc":"2.0"} `},
		{"both", string(WithTokens(f, []byte(`8`), []byte(`9`))), ` {"method":"tools/call","params":{"_meta":{"progressToken":9},"arguments":{"id":7,"progressToken":"id"},"name":"id"},"id" : 8,"jsonrpc":"2.0"} `},
		{"neither", string(WithTokens(f, nil, nil)), request},
		{"no request id", string(WithRequestID(f, []byte(`1`))), request},
		{"no subscription", string(WithSubscriptionID(f, []byte(`1`))), request},
		{
			"an answer", string(WithID(read(`{"id":"x","jsonrpc":"2.0","result":{"id":"x"}}`, ToClient), []byte(`5`))),
			`{"id":5,"jsonrpc":"2.0","result":{"id":"x"}}`,
		},
		{
			"an answer to nothing", string(WithID(read(`{"id":null,"jsonrpc":"2.0","error":{}}`, ToClient), []byte(`5`))),
			`{"id":null,"jsonrpc":"2.0","error":{}}`,
		},
		{
			"cancelled", string(WithRequestID(read(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"1"}}`, ToServer), []byte(`"g-1"`))),
			`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"g-1","reason":"1"}}`,
		},
		{
			"progress", string(WithProgressToken(read(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken":1}}`, ToClient), []byte(`"p"`))),
			`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken":"p"}}`,
		},
		{
			"subscription", string(WithSubscriptionID(read(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"a"}}}`, ToClient), []byte(`3`))),
			`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":3}}}`,
		},
		{
			"subscription's end", string(WithSubscriptionID(read(`{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}`, ToClient), []byte(`3`))),
			`{"jsonrpc":"2.0","id":1,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":3}}}`,
		},
	} {
		if c.got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, c.got, c.want)
		}
	}
	if string(f.Bytes) != request {
		t.Error("the frame itself was changed")
	}
}
