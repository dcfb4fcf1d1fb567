package mcp

import (
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// header makes a Header of name, value pairs, with the names as they are.
func header(pairs ...string) Header {
	h := Header{}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
	}
	return h
}

func TestCheckTransport(t *testing.T) {
	json := func(more ...string) Header {
		return header(append([]string{"Content-Type", "application/json"}, more...)...)
	}
	for _, c := range []struct {
		name   string
		h      Header
		rule   string
		status int
	}{
		{"plain", json(), "", 0},
		{"lower case names", header("content-type", "application/json"), "", 0},
		{"capitals", header("Content-Type", "APPLICATION/JSON"), "", 0},
		{"charset", header("Content-Type", "application/json; charset=UTF-8"), "", 0},
		{"quoted charset", header("Content-Type", `application/json;charset="utf-8"`), "", 0},
		{"tab around", header("Content-Type", "application/json\t;\tcharset=utf-8 "), "", 0},
		{"others repeated", json("Accept", "a", "Accept", "b", "X_Odd", "c"), "", 0},
		{"no content type", header(), RuleContentType, 415},
		{"empty content type", header("Content-Type", ""), RuleContentType, 415},
		{"text", header("Content-Type", "text/plain"), RuleContentType, 415},
		{"json suffix", header("Content-Type", "application/vnd.api+json"), RuleContentType, 415},
		{"a list", header("Content-Type", "application/json, text/plain"), RuleContentType, 415},
		{"utf-16", header("Content-Type", "application/json; charset=utf-16"), RuleContentType, 415},
		{"utf8 without dash", header("Content-Type", "application/json; charset=utf8"), RuleContentType, 415},
		{"another parameter", header("Content-Type", "application/json; v=1"), RuleContentType, 415},
		{"extended parameter", header("Content-Type", "application/json; charset*=utf-8''utf-8"), RuleContentType, 415},
		{"two parameters", header("Content-Type", "application/json; charset=utf-8; charset=utf-16"), RuleContentType, 415},
		{"nothing after the semicolon", header("Content-Type", "application/json;"), RuleContentType, 415},
		{"two content types", json("Content-Type", "text/plain"), RuleRepeated, 400},
		{"two spellings", json("content-type", "application/json"), RuleRepeated, 400},
		{"underscore", json("Content_Type", "application/json"), RuleLookalike, 400},
		{"underscore alone", header("content_type", "application/json"), RuleLookalike, 400},
		{"Mcp_Name", json("Mcp_Name", "t"), RuleLookalike, 400},
		{"mcp-param_x", json("mcp-param_x", "t"), RuleLookalike, 400},
		{"gzip", json("Content-Encoding", "gzip"), RuleEncoding, 415},
		{"identity", json("Content-Encoding", "identity"), RuleEncoding, 415},
		{"two names", json("Mcp-Name", "a", "Mcp-Name", "a"), RuleRepeated, 400},
		{"two versions", json("Mcp-Protocol-Version", "2025-11-25", "MCP-PROTOCOL-VERSION", "2025-11-25"), RuleRepeated, 400},
		{"two sessions", json("Mcp-Session-Id", "a", "Mcp-Session-Id", "b"), RuleRepeated, 400},
		{"two parameters of a tool", json("Mcp-Param-X", "a", "Mcp-Param-X", "b"), RuleRepeated, 400},
		{"two authorizations", json("Authorization", "Bearer a", "Authorization", "Bearer b"), RuleRepeated, 400},
		{"two origins", json("Origin", "a", "Origin", "b"), RuleRepeated, 400},
		{"Last_Event_ID", json("Last_Event_ID", "1"), RuleLookalike, 400},
		{"length and transfer encoding", json("Content-Length", "5", "Transfer-Encoding", "chunked"), RuleFraming, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			fault := CheckTransport(c.h)
			switch {
			case c.rule == "" && fault != nil:
				t.Error(fault)
			case c.rule != "" && (fault == nil || fault.Rule != c.rule || fault.Status != c.status):
				t.Errorf("got %+v, want %s with %d", fault, c.rule, c.status)
			}
		})
	}
}

func frame(t testing.TB, s string) *Frame {
	t.Helper()
	f, err := Read([]byte(s), ToServer, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestI2_CheckHeaders(t *testing.T) {
	modernCall := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_balance",` + modern + `}}`
	modernRead := `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///é",` + modern + `}}`
	modernList := `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + modern + `}}`
	const nested = `=?base64?Z2V0X2JhbGFuY2U=?=`
	modernNested := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + nested + `",` + modern + `}}`
	ok := []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name"}
	with := func(h []string, more ...string) Header { return header(append(h[:len(h):len(h)], more...)...) }
	legacy := call(`{}`)
	for _, c := range []struct {
		name, frame string
		h           Header
		rule        string
	}{
		{"modern call", modernCall, with(ok, "get_balance"), ""},
		{"names in lower case", modernCall, header("mcp-protocol-version", "2026-07-28", "mcp-method", "tools/call", "mcp-name", "get_balance"), ""},
		{"in base64", modernCall, with(ok, nested), ""},
		{"unknown parameter header", modernCall, with(ok, "get_balance", "Mcp-Param-X", "1"), ""},
		{"session id is ignored", modernCall, with(ok, "get_balance", "Mcp-Session-Id", "x"), ""},
		{"another name", modernCall, with(ok, "refund"), RuleHeader},
		{"another case", modernCall, with(ok, "Get_Balance"), RuleHeader},
		{"no name", modernCall, header(ok[:4]...), RuleHeader},
		{"empty name", modernCall, with(ok, ""), RuleHeader},
		{"two names", modernCall, with(ok, "get_balance", "Mcp-Name", "get_balance"), RuleRepeated},
		{"two spellings of the name", modernCall, with(ok, "get_balance", "mcp-name", "get_balance"), RuleRepeated},
		{"underscore", modernCall, with(ok, "get_balance", "Mcp_Name", "get_balance"), RuleLookalike},
		{"underscore first", modernCall, with(ok, "get_balance", "mcp_method", "tools/list"), RuleLookalike},
		{"a list of names", modernCall, with(ok, "get_balance, refund"), RuleHeader},
		{"space before the name", modernCall, with(ok, " get_balance"), RuleHeader},
		{"base64 without padding", modernCall, with(ok, "=?base64?Z2V0X2JhbGFuY2U?="), RuleHeader},
		{"base64 with too much padding", modernCall, with(ok, "=?base64?Z2V0X2JhbGFuY2U==?="), RuleHeader},
		{"base64 with stray bits", modernCall, with(ok, "=?base64?Z2V0X2JhbGFuY2V=?="), RuleHeader},
		{"base64 with a space", modernCall, with(ok, "=?base64?Z2V0 X2JhbGFuY2U=?="), RuleHeader},
		{"base64 with a line break", modernCall, with(ok, "=?base64?Z2V0\nX2JhbGFuY2U=?="), RuleHeader},
		{"base64 for URLs", modernRead, header("Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "resources/read", "Mcp-Name", "=?base64?ZmlsZTovLy_DqQ==?="), RuleHeader},
		{"base64 of no UTF-8", modernCall, with(ok, "=?base64?/w==?="), RuleHeader},
		{"BASE64 is a literal", modernCall, with(ok, "=?BASE64?Z2V0X2JhbGFuY2U=?="), RuleHeader},
		{"nested base64, read once", modernNested, with(ok, HeaderValue(nested)), ""},
		{"nested base64, read twice", modernNested, with(ok, nested), RuleHeader},
		{"another method", modernCall, header("Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list", "Mcp-Name", "get_balance"), RuleHeader},
		{"no method", modernCall, header("Mcp-Protocol-Version", "2026-07-28", "Mcp-Name", "get_balance"), RuleHeader},
		{"method in base64", modernCall, header("Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "=?base64?dG9vbHMvY2FsbA==?=", "Mcp-Name", "get_balance"), RuleHeader},
		{"no version", modernCall, header("Mcp-Method", "tools/call", "Mcp-Name", "get_balance"), RuleEra},
		{"older version", modernCall, header("Mcp-Protocol-Version", "2025-11-25", "Mcp-Method", "tools/call", "Mcp-Name", "get_balance"), RuleEra},
		{"later version", modernCall, header("Mcp-Protocol-Version", "2027-01-01", "Mcp-Method", "tools/call", "Mcp-Name", "get_balance"), RuleEra},
		{"uri", modernRead, header("Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "resources/read", "Mcp-Name", HeaderValue("file:///é")), ""},
		{"uri as raw UTF-8", modernRead, header("Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "resources/read", "Mcp-Name", "file:///é"), RuleHeader},
		{"list", modernList, header("Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list"), ""},
		{"list with a name", modernList, header("Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list", "Mcp-Name", "x"), RuleHeader},

		{"legacy call", legacy, header("Mcp-Protocol-Version", "2025-11-25"), ""},
		{"legacy call without a version", legacy, Header{}, ""},
		{"legacy call with a modern version", legacy, header("Mcp-Protocol-Version", "2026-07-28"), RuleEra},
		{"legacy call with no date", legacy, header("Mcp-Protocol-Version", "draft"), RuleEra},
		{"legacy call with a list of versions", legacy, header("Mcp-Protocol-Version", "2025-11-25, 2026-07-28"), RuleEra},
		{"legacy call with honest headers", legacy, header("Mcp-Method", "tools/call", "Mcp-Name", "t"), ""},
		{"legacy call with a lying name", legacy, header("Mcp-Name", "safe"), RuleHeader},
		{"legacy call with a lying method", legacy, header("Mcp-Method", "ping"), RuleHeader},
		{"legacy list with a name", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, header("Mcp-Name", "t"), RuleHeader},
		{"legacy list with an empty name", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, header("Mcp-Name", ""), RuleHeader},
		{"legacy answer", `{"jsonrpc":"2.0","id":1,"result":{}}`, header("Mcp-Protocol-Version", "2025-11-25"), ""},
		{"modern answer", `{"jsonrpc":"2.0","id":1,"result":{}}`, header("Mcp-Protocol-Version", "2026-07-28"), RuleEra},
		{"notification without _meta", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, header("Mcp-Protocol-Version", "2026-07-28"), ""},
		{"notification with another method", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, header("Mcp-Method", "tools/call"), RuleHeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := frame(t, c.frame)
			fault := CheckHeaders(c.h, f, nil)
			code := CodeHeaderMismatch
			if c.name == "legacy call with a modern version" {
				code = CodeInvalidParams // _meta is a parameter, and it is what lacks
			}
			switch {
			case c.rule == "" && fault != nil:
				t.Error(fault)
			case c.rule != "" && (fault == nil || fault.Rule != c.rule):
				t.Errorf("got %v, want %s", fault, c.rule)
			case fault == nil:
			case fault.Status != 400 || string(fault.ID) != string(f.ID):
				t.Errorf("status %d, id %s", fault.Status, fault.ID)
			case fault.Code != code && f.Kind != KindResponse:
				t.Errorf("code %d", fault.Code)
			}
		})
	}
}

func TestI2_CheckParameterHeaders(t *testing.T) {
	const definition = `{"name":"get_balance","inputSchema":{"type":"object","properties":{
		"region":{"type":"string","x-mcp-header":"Region"},
		"amount":{"type":"integer","x-mcp-header":"Amount"},
		"dry":{"type":"boolean","\u0078-mcp-header":"Dry"},
		"deep":{"type":"object","properties":{"er":{"type":"string","x-mcp-header":"Deep-Er"}}},
		"list":{"type":"array","items":{"type":"string","x-mcp-header":"Unreachable"}},
		"none":{"type":"string","x-mcp-header":7}}}}`
	for _, c := range []struct {
		name, arguments string
		headers         []string
		rule            string
	}{
		{"nothing", `{}`, nil, ""},
		{"all", `{"region":"eu","amount":-7,"dry":true,"deep":{"er":"x"}}`, []string{"Mcp-Param-Region", "eu", "Mcp-Param-Amount", "-7", "Mcp-Param-Dry", "true", "Mcp-Param-Deep-Er", "x"}, ""},
		{"names in any case", `{"region":"eu"}`, []string{"mcp-param-REGION", "eu"}, ""},
		{"in base64", `{"region":" é"}`, []string{"Mcp-Param-Region", HeaderValue(" é")}, ""},
		{"another number format", `{"amount":100}`, []string{"Mcp-Param-Amount", "1e2"}, ""},
		{"another number format in the body", `{"amount":42.0}`, []string{"Mcp-Param-Amount", "42"}, ""},
		{"zero", `{"amount":-0}`, []string{"Mcp-Param-Amount", "0"}, ""},
		{"null without a header", `{"region":null}`, nil, ""},
		{"unknown header", `{}`, []string{"Mcp-Param-Other", "1"}, ""},
		{"unreachable annotation", `{"list":["x"]}`, nil, ""},
		{"annotation of another type", `{"none":"x"}`, nil, ""},
		{"another value", `{"region":"eu"}`, []string{"Mcp-Param-Region", "us"}, RuleHeader},
		{"another number", `{"amount":500000}`, []string{"Mcp-Param-Amount", "1"}, RuleHeader},
		{"another sign", `{"amount":5}`, []string{"Mcp-Param-Amount", "-5"}, RuleHeader},
		{"a fraction", `{"amount":1.5}`, []string{"Mcp-Param-Amount", "1.5"}, RuleHeader},
		{"no number", `{"amount":5}`, []string{"Mcp-Param-Amount", "five"}, RuleHeader},
		{"a number with more behind it", `{"amount":5}`, []string{"Mcp-Param-Amount", "5 6"}, RuleHeader},
		{"a number in a string", `{"amount":"5"}`, []string{"Mcp-Param-Amount", "5"}, ""},
		{"a number with white space in base64", `{"amount":5}`, []string{"Mcp-Param-Amount", "=?base64?IDU=?="}, RuleHeader},
		{"another boolean", `{"dry":true}`, []string{"Mcp-Param-Dry", "True"}, RuleHeader},
		{"an object", `{"region":{}}`, []string{"Mcp-Param-Region", "{}"}, RuleHeader},
		{"missing header", `{"region":"eu"}`, nil, RuleHeader},
		{"missing nested header", `{"deep":{"er":"x"}}`, nil, RuleHeader},
		{"missing argument", `{}`, []string{"Mcp-Param-Amount", "1"}, RuleHeader},
		{"header for null", `{"region":null}`, []string{"Mcp-Param-Region", ""}, RuleHeader},
		{"repeated", `{"region":"eu"}`, []string{"Mcp-Param-Region", "eu", "Mcp-Param-Region", "eu"}, RuleRepeated},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := frame(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_balance","arguments":`+c.arguments+`,`+modern+`}}`)
			h := header(append([]string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "get_balance"}, c.headers...)...)
			fault := CheckHeaders(h, f, []byte(definition))
			if c.rule == "" && fault != nil || c.rule != "" && (fault == nil || fault.Rule != c.rule) {
				t.Errorf("got %v, want %q", fault, c.rule)
			}
		})
	}
	t.Run("a legacy call need not send them", func(t *testing.T) {
		f := frame(t, call(`{"region":"eu"}`))
		if fault := CheckHeaders(Header{}, f, []byte(definition)); fault != nil {
			t.Error(fault)
		}
		if fault := CheckHeaders(header("Mcp-Param-Region", "us"), f, []byte(definition)); fault == nil {
			t.Error("a lying header passed")
		}
	})
	t.Run("an annotation in escapes alone", func(t *testing.T) {
		const escaped = `{"inputSchema":{"properties":{"region":{"\u0078-mcp-header":"Region"}}}}`
		if fault := CheckHeaders(header("Mcp-Param-Region", "us"), frame(t, call(`{"region":"eu"}`)), []byte(escaped)); fault == nil {
			t.Error("a lying header passed")
		}
	})
	t.Run("no arguments at all", func(t *testing.T) {
		f := frame(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}`)
		if fault := CheckHeaders(header("Mcp-Param-Region", "us"), f, []byte(definition)); fault == nil {
			t.Error("a header without an argument passed")
		}
	})
}

func TestHeaderValue(t *testing.T) {
	for plain, want := range map[string]string{
		"us-west1":             "us-west1",
		"Hello, 世界":            "=?base64?SGVsbG8sIOS4lueVjA==?=",
		" padded ":             "=?base64?IHBhZGRlZCA=?=",
		"line1\nline2":         "=?base64?bGluZTEKbGluZTI=?=",
		"=?base64?literal?=":   "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=",
		"=?base64?no end":      "=?base64?no end",
		"file:///projects/a b": "file:///projects/a b",
	} {
		if got := HeaderValue(plain); got != want {
			t.Errorf("%q: got %q, want %q", plain, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.String().Draw(t, "plain")
		back, ok := decodeHeader(HeaderValue(plain))
		if !ok || back != plain {
			t.Fatalf("%q came back as %q", plain, back)
		}
	})
}

// The raw HTTP requests of the corpus that net/http itself lets through.
func TestI2_AttackHeaders(t *testing.T) {
	n := 0
	for _, a := range rawAttacks(t) {
		category, _, _ := strings.Cut(a.ID, "-0")
		switch category {
		case "header-body", "content-type", "content-encoding", "charset", "http-control":
		default:
			continue // what net/http or the proxy looks at: framing, paths, origins, identities
		}
		n++
		req, body := a.request(t)
		fault := judgeHTTP(req.Header, body)
		switch a.Expected {
		case "reject":
			if fault == nil && !strings.Contains(strings.Join(a.AlsoOK, " "), "deny") {
				t.Errorf("%s (%s): accepted", a.ID, a.Why)
			}
		case "allow-same-meaning":
			if fault != nil {
				t.Errorf("%s (%s): %v", a.ID, a.Why, fault)
			}
		default:
			if fault != nil && !strings.Contains(strings.Join(a.AlsoOK, " "), "reject") {
				t.Errorf("%s (%s): %v", a.ID, a.Why, fault)
			}
		}
	}
	if n < 20 {
		t.Fatalf("only %d cases", n)
	}
}

func judgeHTTP(h http.Header, body []byte) *Fault {
	if fault := CheckTransport(h); fault != nil {
		return fault
	}
	f, fault := read(body, ToServer, Limits{})
	if fault != nil {
		return fault
	}
	return CheckHeaders(h, f, nil)
}
