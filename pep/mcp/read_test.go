package mcp

import (
	"errors"
	"strings"
	"testing"
)

// modern is the _meta of a 2026-07-28 request.
const modern = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}}`

// call is a tools/call with the given arguments.
func call(arguments string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":` + arguments + `}}`
}

func TestI2_ReadRefuses(t *testing.T) {
	for _, c := range []struct {
		name, frame, rule string
		code              int
		dir               Direction
	}{
		// text
		{"empty", ``, RuleEmpty, -32700, ToServer},
		{"white space only", " \r\n\t", RuleEmpty, -32700, ToServer},
		{"byte order mark", "\ufeff" + call(`{}`), RuleByteOrderMark, -32700, ToServer},
		{"byte order mark inside", "{\ufeff" + call(`{}`)[1:], RuleSyntax, -32700, ToServer},
		{"UTF-16", "\xff\xfe{\x00}\x00", RuleUTF8, -32700, ToServer},
		{"overlong", call("{\"a\":\"\xc0\xaf\"}"), RuleUTF8, -32700, ToServer},
		{"encoded surrogate", call("{\"a\":\"\xed\xa0\x80\"}"), RuleUTF8, -32700, ToServer},
		{"invalid in a name", call("{\"\xff\":1}"), RuleUTF8, -32700, ToServer},
		{"invalid after the value", call(`{}`) + "\xff", RuleUTF8, -32700, ToClient},
		{"high surrogate", call(`{"a":"\ud800"}`), RuleSurrogate, -32700, ToServer},
		{"low surrogate", call(`{"a":"\uDC00"}`), RuleSurrogate, -32700, ToServer},
		{"reversed surrogates", call(`{"a":"\udc00\ud800"}`), RuleSurrogate, -32700, ToServer},
		{"surrogate and another escape", call(`{"a":"\ud800\u0041"}`), RuleSurrogate, -32700, ToServer},
		{"surrogate in a name", call(`{"\ud800":1}`), RuleSurrogate, -32700, ToServer},
		{"two values", call(`{}`) + call(`{}`), RuleTrailing, -32700, ToServer},
		{"two values to the client", `{"jsonrpc":"2.0","id":1,"result":{}}{}`, RuleTrailing, -32700, ToClient},
		{"trailing NUL", call(`{}`) + "\x00", RuleTrailing, -32700, ToServer},
		{"trailing comma", call(`{}`) + ",", RuleTrailing, -32700, ToServer},
		{"vertical tab is no white space", "\v" + call(`{}`), RuleSyntax, -32700, ToServer},
		{"no-break space", "\u00a0" + call(`{}`), RuleSyntax, -32700, ToServer},
		{"cut off", call(`{}`)[:40], RuleTruncated, -32700, ToServer},
		{"only brackets", strings.Repeat("[", 1000), RuleBatch, -32600, ToServer},
		{"batch", `[` + call(`{}`) + `]`, RuleBatch, -32600, ToServer},
		{"batch to the client", `[{"jsonrpc":"2.0","id":1,"result":{}}]`, RuleBatch, -32600, ToClient},
		{"string", `"tools/call"`, RuleNotObject, -32600, ToServer},
		{"null", `null`, RuleNotObject, -32600, ToServer},
		{"number", `1`, RuleNotObject, -32600, ToServer},
		{"comment", call(`{}/**/`), RuleSyntax, -32700, ToServer},
		{"single quotes", call(`{'a':1}`), RuleSyntax, -32700, ToServer},
		{"missing value", call(`{"a":}`), RuleSyntax, -32700, ToServer},
		{"name is a number", call(`{1:1}`), RuleSyntax, -32700, ToServer},
		{"name is an object", call(`{{}:1}`), RuleSyntax, -32700, ToServer},
		{"trailing comma in an object", call(`{"a":1,}`), RuleSyntax, -32700, ToServer},
		{"trailing comma in an array", call(`{"a":[1,]}`), RuleSyntax, -32700, ToServer},
		{"mismatched brackets", call(`{"a":[1}`), RuleSyntax, -32700, ToServer},
		{"raw tab in a string", call("{\"a\":\"\t\"}"), RuleSyntax, -32700, ToServer},
		{"raw DEL is allowed, raw NUL is not", call("{\"a\":\"\x7f\x00\"}"), RuleSyntax, -32700, ToServer},

		// names
		{"duplicate in the envelope", `{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}`, RuleDuplicate, -32600, ToServer},
		{"duplicate after unescaping", call(`{"amount":1,"\u0061mount":2}`), RuleDuplicate, -32600, ToServer},
		{"duplicate with a solidus", call(`{"a/b":1,"a\/b":2}`), RuleDuplicate, -32600, ToServer},
		{"duplicate deep", call(`{"a":[[{"b":{"c":1,"c":1}}]]}`), RuleDuplicate, -32600, ToServer},
		{"duplicate among many", call(manyMembers(200, `"k7":0`)), RuleDuplicate, -32600, ToServer},
		{"duplicate among the last of many", call(manyMembers(200, `"k199":0`)), RuleDuplicate, -32600, ToServer},
		{"case", call(`{"amount":1,"Amount":2}`), RuleFold, -32600, ToServer},
		{"case among many", call(manyMembers(200, `"K7":0`)), RuleFold, -32600, ToServer},
		{"dash", call(`{"key":1,"k-ey":2}`), RuleFold, -32600, ToServer},
		{"underscore and case", call(`{"user_id":1,"userId":2}`), RuleFold, -32600, ToServer},
		{"nothing but separators", call(`{"_":1,"--":2}`), RuleFold, -32600, ToServer},
		{"long s", call("{\"params\":1,\"param\u017f\":2}"), RuleFold, -32600, ToServer},
		{"Kelvin sign", call("{\"key\":1,\"\u212aey\":2}"), RuleFold, -32600, ToServer},
		{"dotted I", call("{\"id\":1,\"\u0130d\":2}"), RuleFold, -32600, ToServer},
		{"final sigma", call(`{"σ":1,"ς":2}`), RuleFold, -32600, ToServer},
		{"envelope in another case", `{"jsonrpc":"2.0","Id":1,"method":"ping"}`, RuleFold, -32600, ToServer},
		{"parameter in another case", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"t"}}`, RuleFold, -32600, ToServer},
		{"NUL in a name", call(`{"amount":1,"amount\u0000":2}`), RuleControlName, -32600, ToServer},
		{"DEL in a name", call(`{"a\u007f":2}`), RuleControlName, -32600, ToServer},
		{"C1 control in a name", call(`{"a\u0085":2}`), RuleControlName, -32600, ToServer},
		{"result twice to the client", `{"jsonrpc":"2.0","id":1,"result":{},"result":{}}`, RuleDuplicate, -32600, ToClient},
		{"Result to the client", `{"jsonrpc":"2.0","id":1,"result":{},"Result":{}}`, RuleFold, -32600, ToClient},
		{"input_requests to the client", `{"jsonrpc":"2.0","id":1,"result":{"input_requests":{}}}`, RuleFold, -32600, ToClient},
		{"duplicate in content to the client", `{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"a":1,"a":2}}}`, RuleDuplicate, -32600, ToClient},
		{"NUL in a result's name", `{"jsonrpc":"2.0","id":1,"result":{"resultType\u0000":"x"}}`, RuleControlName, -32600, ToClient},
		{"surrogate in a result's name", `{"jsonrpc":"2.0","id":1,"result":{"\ud800":"x"}}`, RuleSurrogate, -32700, ToClient},

		// numbers
		{"number too precise", call(`{"a":100.00000000000000001}`), RuleNumberLoss, -32600, ToServer},
		{"number too large for an integer", call(`{"a":[9007199254740993]}`), RuleNumberLoss, -32600, ToServer},
		{"number beyond float64", call(`{"a":1e400}`), RuleNumberRange, -32600, ToServer},
		{"number too long", call(`{"a":0.` + strings.Repeat("1", 39) + `}`), RuleNumberLength, -32600, ToServer},

		// limits
		{"too deep", call(`{"a":` + strings.Repeat("[", 62) + strings.Repeat("]", 62) + `}`), RuleTooDeep, -32600, ToServer},
		{"too many values", call(`{"a":[` + strings.Repeat("0,", 10_000) + `0]}`), RuleTooMany, -32600, ToServer},
		{"too large", call(`{"a":"` + strings.Repeat("a", 1<<20) + `"}`), RuleTooLarge, -32600, ToServer},

		// envelope
		{"empty object", `{}`, RuleVersion, -32600, ToServer},
		{"no jsonrpc", `{"id":1,"method":"ping"}`, RuleVersion, -32600, ToServer},
		{"jsonrpc 1.0", `{"jsonrpc":"1.0","id":1,"method":"ping"}`, RuleVersion, -32600, ToServer},
		{"jsonrpc a number", `{"jsonrpc":2.0,"id":1,"method":"ping"}`, RuleVersion, -32600, ToServer},
		{"unknown member", `{"jsonrpc":"2.0","id":1,"method":"ping","_meta":{}}`, RuleEnvelope, -32600, ToServer},
		{"unknown member to the client", `{"jsonrpc":"2.0","id":1,"result":{},"tools":[]}`, RuleEnvelope, -32600, ToClient},
		{"neither method nor result", `{"jsonrpc":"2.0","id":1}`, RuleEnvelope, -32600, ToServer},
		{"method and result", `{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`, RuleMixed, -32600, ToServer},
		{"method and error null", `{"jsonrpc":"2.0","id":1,"method":"ping","error":null}`, RuleMixed, -32600, ToServer},
		{"result and error", `{"jsonrpc":"2.0","id":1,"result":{},"error":{}}`, RuleMixed, -32600, ToClient},
		{"result and params", `{"jsonrpc":"2.0","id":1,"result":{},"params":{}}`, RuleMixed, -32600, ToServer},
		{"result null", `{"jsonrpc":"2.0","id":1,"result":null}`, RuleEnvelope, -32600, ToClient},
		{"result an array", `{"jsonrpc":"2.0","id":1,"result":[]}`, RuleEnvelope, -32600, ToServer},
		{"error a string", `{"jsonrpc":"2.0","id":1,"error":"no"}`, RuleEnvelope, -32600, ToClient},
		{"resultType a number", `{"jsonrpc":"2.0","id":1,"result":{"resultType":1}}`, RuleEnvelope, -32600, ToClient},
		{"inputRequests an array", `{"jsonrpc":"2.0","id":1,"result":{"inputRequests":[]}}`, RuleRounds, -32600, ToClient},

		// ids
		{"no id", `{"jsonrpc":"2.0","method":"ping"}`, RuleID, -32600, ToServer},
		{"id null", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, RuleID, -32600, ToServer},
		{"id true", `{"jsonrpc":"2.0","id":true,"method":"ping"}`, RuleID, -32600, ToServer},
		{"id an object", `{"jsonrpc":"2.0","id":{},"method":"ping"}`, RuleID, -32600, ToServer},
		{"id with a fraction", `{"jsonrpc":"2.0","id":1.0,"method":"ping"}`, RuleID, -32600, ToServer},
		{"id with an exponent", `{"jsonrpc":"2.0","id":1e2,"method":"ping"}`, RuleID, -32600, ToServer},
		{"id -0", `{"jsonrpc":"2.0","id":-0,"method":"ping"}`, RuleID, -32600, ToServer},
		{"id 2^53", `{"jsonrpc":"2.0","id":9007199254740992,"method":"ping"}`, RuleNumberLoss, -32600, ToServer},
		{"id 2^53 to the client", `{"jsonrpc":"2.0","id":9007199254740992,"result":{}}`, RuleID, -32600, ToClient},
		{"id too long", `{"jsonrpc":"2.0","id":"` + strings.Repeat("i", 257) + `","method":"ping"}`, RuleID, -32600, ToServer},
		{"id too long with escapes", `{"jsonrpc":"2.0","id":"\n` + strings.Repeat("i", 256) + `","method":"ping"}`, RuleID, -32600, ToServer},
		{"id on a notification", `{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}`, RuleID, -32600, ToServer},
		{"id null on a notification", `{"jsonrpc":"2.0","id":null,"method":"notifications/initialized"}`, RuleID, -32600, ToServer},
		{"notification by leaving the id out", `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t"}}`, RuleID, -32600, ToServer},
		{"result without an id", `{"jsonrpc":"2.0","result":{}}`, RuleID, -32600, ToClient},
		{"a client's error without an id", `{"jsonrpc":"2.0","error":{"code":1,"message":""}}`, RuleID, -32600, ToServer},
		{"result with id null", `{"jsonrpc":"2.0","id":null,"result":{}}`, RuleID, -32600, ToClient},

		// methods
		{"method null", `{"jsonrpc":"2.0","id":1,"method":null}`, RuleMethod, -32600, ToServer},
		{"method empty", `{"jsonrpc":"2.0","id":1,"method":""}`, RuleMethod, -32600, ToServer},
		{"method with a space", `{"jsonrpc":"2.0","id":1,"method":"tools/call "}`, RuleMethod, -32600, ToServer},
		{"method with a zero-width space", `{"jsonrpc":"2.0","id":1,"method":"tools/ca\u200bll"}`, RuleMethod, -32600, ToServer},
		{"method with NUL", `{"jsonrpc":"2.0","id":1,"method":"tools/call\u0000"}`, RuleMethod, -32600, ToServer},
		{"method too long", `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("m", 257) + `"}`, RuleMethod, -32600, ToServer},
		{"method in capitals", `{"jsonrpc":"2.0","id":1,"method":"TOOLS/call"}`, RuleMethod, -32600, ToServer},
		{"method as a path", `{"jsonrpc":"2.0","id":1,"method":"x/../tools/call"}`, RuleMethod, -32600, ToServer},
		{"method with an empty part", `{"jsonrpc":"2.0","id":1,"method":"tools//call"}`, RuleMethod, -32600, ToServer},
		{"sampling from the client", `{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}`, RuleDirection, -32600, ToServer},
		{"roots from the client", `{"jsonrpc":"2.0","id":1,"method":"roots/list"}`, RuleDirection, -32600, ToServer},
		{"log message from the client", `{"jsonrpc":"2.0","method":"notifications/message"}`, RuleDirection, -32600, ToServer},
		{"list_changed from the client", `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`, RuleDirection, -32600, ToServer},
		{"tool call from the server", call(`{}`), RuleDirection, -32600, ToClient},
		{"roots changed from the server", `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`, RuleDirection, -32600, ToClient},

		// parameters
		{"params null", `{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`, RuleParams, -32602, ToServer},
		{"params an array", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["t",{}]}`, RuleParams, -32602, ToServer},
		{"params of a notification to the client", `{"jsonrpc":"2.0","method":"notifications/message","params":[]}`, RuleParams, -32602, ToClient},
		{"no params", `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, RuleName, -32602, ToServer},
		{"no name", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{}}}`, RuleName, -32602, ToServer},
		{"name null", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":null}}`, RuleName, -32602, ToServer},
		{"name empty", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":""}}`, RuleName, -32602, ToServer},
		{"name too long", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + strings.Repeat("n", 257) + `"}}`, RuleName, -32602, ToServer},
		{"name with a line break", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t\n"}}`, RuleName, -32602, ToServer},
		{"name with NUL", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"t\u0000"}}`, RuleName, -32602, ToServer},
		{"uri too long", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"` + strings.Repeat("u", 8193) + `"}}`, RuleName, -32602, ToServer},
		{"uri a number", `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":1}}`, RuleName, -32602, ToServer},
		{"uri of another method", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b","name":"a:c"}}`, RuleParams, -32602, ToServer},
		{"taskId an array", `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":["t"]}}`, RuleName, -32602, ToServer},
		{"unknown parameter", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","extra":{}}}`, RuleParams, -32602, ToServer},
		{"cursor in a call", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","cursor":"x"}}`, RuleParams, -32602, ToServer},
		{"arguments null", call(`null`), RuleParams, -32602, ToServer},
		{"arguments an array", call(`[]`), RuleParams, -32602, ToServer},
		{"arguments a string", call(`"{}"`), RuleParams, -32602, ToServer},
		{"arguments of a prompt", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"p","arguments":1}}`, RuleParams, -32602, ToServer},
		{"task true", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","task":true}}`, RuleParams, -32602, ToServer},
		{"task in 2026-07-28", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","task":{},` + modern + `}}`, RuleParams, -32602, ToServer},
		{"no ref", `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{}}`, RuleParams, -32602, ToServer},
		{"ref of no type", `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"name":"p"}}}`, RuleParams, -32602, ToServer},
		{"ref of two minds", `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p","uri":"a:b"}}}`, RuleParams, -32602, ToServer},
		{"cancelled with an object", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}`, RuleParams, -32602, ToServer},
		{"progress without a token", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}`, RuleParams, -32602, ToClient},
		{"listen to no array", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":"a:b"}}}`, RuleParams, -32602, ToServer},
		{"listen to a number", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["a:b",1]}}}`, RuleParams, -32602, ToServer},
		{"listen to no object", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":[]}}`, RuleParams, -32602, ToServer},

		// round trips
		{"inputResponses in a legacy call", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","inputResponses":{}}}`, RuleRounds, -32602, ToServer},
		{"requestState in a legacy call", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"t","requestState":"s"}}`, RuleRounds, -32602, ToServer},
		{"requestState in a list", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"requestState":"s",` + modern + `}}`, RuleRounds, -32602, ToServer},
		{"inputResponses an array", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","inputResponses":[],` + modern + `}}`, RuleRounds, -32602, ToServer},
		{"requestState an object", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","requestState":{},` + modern + `}}`, RuleRounds, -32602, ToServer},

		// _meta
		{"_meta null", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":null}}`, RuleMeta, -32602, ToServer},
		{"progressToken an object", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken":{}}}}`, RuleMeta, -32602, ToServer},
		{"progressToken a fraction", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken":1.5}}}`, RuleMeta, -32602, ToServer},
		{"version a number", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":20260728}}}`, RuleMeta, -32602, ToServer},
		{"version with a line break", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28\n"}}}`, RuleMeta, -32602, ToServer},
		{"version of initialize a number", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}`, RuleMeta, -32602, ToServer},
		{"capabilities an array", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":[]}}`, RuleMeta, -32602, ToServer},
		{"clientInfo a string", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/clientInfo":"me"}}}`, RuleMeta, -32602, ToServer},
		{"traceparent with CRLF", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"traceparent":"00\r\nX: 1"}}}`, RuleMeta, -32602, ToServer},
		{"tracestate with LF", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"tracestate":"a=b\n"}}}`, RuleMeta, -32602, ToServer},
		{"baggage a number", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"baggage":1}}}`, RuleMeta, -32602, ToServer},
		{"subscriptionId true", `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":true}}}`, RuleMeta, -32602, ToClient},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Read([]byte(c.frame), c.dir, Limits{})
			fault, ok := errors.AsType[*Fault](err)
			if !ok {
				t.Fatalf("accepted: %+v", f)
			}
			if f != nil {
				t.Error("a fault with a frame")
			}
			status := 400
			if c.rule == RuleTooLarge {
				status = 413
			}
			if fault.Rule != c.rule || fault.Code != c.code || fault.Status != status {
				t.Errorf("got %s, code %d, status %d (%s), want %s, code %d, status %d",
					fault.Rule, fault.Code, fault.Status, fault.Reason, c.rule, c.code, status)
			}
			if fault.Offset < -1 || fault.Offset > len(c.frame) {
				t.Errorf("offset %d outside of the frame", fault.Offset)
			}
		})
	}
}

// manyMembers is an object with n members and one more.
func manyMembers(n int, more string) string {
	b := []byte(`{`)
	for i := range n {
		b = append(b, '"', 'k')
		b = append(appendInt(b, i), `":1,`...)
	}
	return string(b) + more + `}`
}

func appendInt(b []byte, i int) []byte {
	if i >= 10 {
		b = appendInt(b, i/10)
	}
	return append(b, '0'+byte(i%10))
}
