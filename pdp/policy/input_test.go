package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	library "github.com/mcpermit/mcpermit/rego"
)

func drawInputDocument(t *rapid.T) *Input {
	text := rapid.StringMatching(`[a-zA-Z0-9 äß_./:-]{0,12}`)
	list := rapid.SliceOfN(text, 0, 3)
	labels := rapid.MapOfN(text, text, 0, 3)
	at := rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
	})
	in := &Input{
		Subject: Subject{
			ID: text.Draw(t, "subject"), Type: rapid.SampledFrom([]string{"person", "agent", "workload"}).Draw(t, "type"), Groups: list.Draw(t, "groups"),
			Issuer: text.Draw(t, "issuer"), Actor: text.Draw(t, "actor"), Scopes: list.Draw(t, "scopes"),
		},
		Client: Client{Name: text.Draw(t, "client"), Version: text.Draw(t, "version")},
		Server: Server{Name: "s" + text.Draw(t, "server"), Labels: labels.Draw(t, "labels"), Trusted: rapid.Bool().Draw(t, "trusted")},
		Method: "m" + text.Draw(t, "method"),
		Context: Context{
			Time: at.Draw(t, "time"), Transport: rapid.SampledFrom([]string{"http", "stdio", "envoy"}).Draw(t, "transport"),
			ProtocolVersion: text.Draw(t, "protocol"), Session: text.Draw(t, "session"), Peer: text.Draw(t, "peer"), PEP: text.Draw(t, "pep"),
			Direction: rapid.SampledFrom([]string{"to_server", "to_client"}).Draw(t, "direction"),
		},
	}
	if rapid.Bool().Draw(t, "claimed") {
		name, err := json.Marshal("z" + text.Draw(t, "claim"))
		if err != nil {
			t.Fatal(err)
		}
		in.Subject.Claims = fmt.Appendf(nil, `{"n":9007199254740993,"roles":["a",null,true],%s:{}}`, name)
	}
	if rapid.Bool().Draw(t, "granted") {
		in.Grant = &Grant{
			ID: text.Draw(t, "grant"), Labels: labels.Draw(t, "grant labels"), Servers: list.Draw(t, "servers"), Tools: list.Draw(t, "tools"),
			Classes: list.Draw(t, "classes"), Policies: list.Draw(t, "policies"), Parent: text.Draw(t, "parent"),
		}
		if rapid.Bool().Draw(t, "expires") {
			in.Grant.ExpiresAt = at.Draw(t, "expiry")
		}
	}
	switch rapid.SampledFrom([]string{"tool", "resource", "prompt", "none"}).Draw(t, "target") {
	case "tool":
		in.Tool = &Tool{
			Name: text.Draw(t, "tool"), Class: rapid.SampledFrom([]string{"read", "financial", "unknown"}).Draw(t, "class"), Risk: text.Draw(t, "risk"),
			Traits: list.Draw(t, "traits"), Pinned: rapid.SampledFrom([]string{"match", "drift", "unknown"}).Draw(t, "pinned"), Annotations: []byte(`{"readOnlyHint":true}`),
		}
	case "resource":
		in.Resource = "file:///" + strings.TrimSpace(text.Draw(t, "path"))
	case "prompt":
		in.Prompt = "p" + text.Draw(t, "prompt")
	}
	if rapid.Bool().Draw(t, "arguments") {
		in.Arguments = []byte(`{"a":0.10,"b":[1e2,null,"\u00e4"],"c":{}}`)
	}
	return in
}

// TestI12_InputDocumentSaysAllOfTheInput writes inputs as documents, which the
// published schema accepts, and reads them back.
func TestI12_InputDocumentSaysAllOfTheInput(t *testing.T) {
	schema := inputSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		in := drawInputDocument(t)
		document, err := in.Document()
		if err != nil {
			t.Fatal(err)
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance); err != nil {
			t.Fatalf("%s\n%v", document, err)
		}
		back, err := InputFromJSON(document)
		if err != nil {
			t.Fatalf("%s\n%v", document, err)
		}
		again, err := back.Document()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(document), string(again)); diff != "" {
			t.Fatalf("written (-) and written again (+):\n%s", diff)
		}
		// Their bytes may differ in spelling; as members of the document they are the same.
		raw := cmp.Options{cmpopts.IgnoreFields(Input{}, "Arguments"), cmpopts.IgnoreFields(Tool{}, "Annotations")}
		if diff := cmp.Diff(in, back, cmpopts.EquateEmpty(), raw); diff != "" {
			t.Fatalf("input (-) and read back (+):\n%s", diff)
		}
	})
}

func inputSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(library.InputSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("input.json", document); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("input.json")
}

func TestInputFromJSONIsStrict(t *testing.T) {
	for name, c := range map[string]struct{ document, want string }{
		"not JSON":              {`{`, "not an input document"},
		"not an object":         {`[]`, "not an input document"},
		"two documents":         {`{"server":{"name":"s"},"method":"m"} {}`, "not an input document"},
		"unknown member":        {`{"server":{"name":"s"},"method":"m","tol":{}}`, "tol"},
		"unknown member below":  {`{"server":{"name":"s","nam":1},"method":"m"}`, "nam"},
		"case":                  {`{"server":{"name":"s"},"Method":"m"}`, "Method"},
		"repeated member":       {`{"server":{"name":"s"},"method":"m","method":"n"}`, "duplicate"},
		"repeated argument":     {`{"server":{"name":"s"},"method":"m","arguments":{"a":1,"a":2}}`, "duplicate"},
		"type":                  {`{"server":{"name":5},"method":"m"}`, "name"},
		"no method":             {`{"server":{"name":"s"}}`, "method and server.name"},
		"no server":             {`{"method":"m"}`, "method and server.name"},
		"arguments of a kind":   {`{"server":{"name":"s"},"method":"m","arguments":[1]}`, "not a JSON object"},
		"null arguments":        {`{"server":{"name":"s"},"method":"m","arguments":null}`, "not a JSON object"},
		"claims of a kind":      {`{"server":{"name":"s"},"method":"m","subject":{"claims":[1]}}`, "claims"},
		"actor of a kind":       {`{"server":{"name":"s"},"method":"m","subject":{"actor":"bot"}}`, "actor"},
		"unknown of an actor":   {`{"server":{"name":"s"},"method":"m","subject":{"actor":{"id":"bot","type":"agent"}}}`, "type"},
		"scopes of a kind":      {`{"server":{"name":"s"},"method":"m","subject":{"scopes":"a b"}}`, "scopes"},
		"policies of a kind":    {`{"server":{"name":"s"},"method":"m","grant":{"policies":"a"}}`, "policies"},
		"time":                  {`{"server":{"name":"s"},"method":"m","context":{"time":"yesterday"}}`, "context.time"},
		"expiry":                {`{"server":{"name":"s"},"method":"m","grant":{"expires_at":"never"}}`, "grant.expires_at"},
		"resource that differs": {`{"server":{"name":"s"},"method":"m","resource":{"raw":"file:///a","path":"/b"}}`, "resource.path"},
		"resource uri":          {`{"server":{"name":"s"},"method":"m","resource":{"raw":"file:///a","uri":"file:///b"}}`, "resource.uri"},
		"ambiguous resource":    {`{"server":{"name":"s"},"method":"m","resource":{"raw":"file:///a\\b"}}`, "more than one way"},
		"invalid UTF-8":         {"{\"server\":{\"name\":\"s\"},\"method\":\"\xff\"}", "UTF-8"},
		"huge number":           {`{"server":{"name":"s"},"method":"m","arguments":{"a":1e999999}}`, "number"},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := InputFromJSON([]byte(c.document))
			if err == nil || in != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v; want an error that says %q", in, err, c.want)
			}
		})
	}
	in, err := InputFromJSON([]byte(`{"server":{"name":"s"},"method":"resources/read","resource":{"uri":"FILE:///a/../b"}}`))
	if err != nil || in.Resource != "FILE:///a/../b" {
		t.Errorf("got %v, %v", in, err)
	}
}

// TestI12_DocumentsWithoutLaterMembersAreRead has one as it was recorded before
// subjects had issuers, actors and scopes, and grants classes, policies and parents.
func TestI12_DocumentsWithoutLaterMembersAreRead(t *testing.T) {
	got, err := InputFromJSON([]byte(`{"subject":{"id":"ann","type":"person","groups":["staff"],"claims":{}},
		"grant":{"id":"g","labels":{},"servers":["s"],"tools":["*"]},"client":{"name":"","version":""},
		"server":{"name":"s","labels":{},"trusted":false},"method":"ping","context":{"direction":"to_server"}}`))
	want := &Input{
		Subject: Subject{ID: "ann", Type: "person", Groups: []string{"staff"}}, Grant: &Grant{ID: "g", Servers: []string{"s"}, Tools: []string{"*"}},
		Server: Server{Name: "s"}, Method: "ping", Context: Context{Direction: "to_server"},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("want (-), got (+), %v:\n%s", err, diff)
	}
}

// TestClaimsKeepEveryDigit has claims that no float can hold.
func TestClaimsKeepEveryDigit(t *testing.T) {
	s := buildOne(t, `allow contains sprintf("%v", [input.subject.claims.n]) if input.subject.claims.n == 9007199254740993`)
	for claims, want := range map[string]Effect{
		`{"n":9007199254740993}`:              Allow,
		`{"n":9007199254740992}`:              Hide,
		`{"n":9007199254740993,"n":1}`:        Deny, // which of them nobody knows
		`[{"n":9007199254740993}]`:            Deny,
		"{\"n\":9007199254740993,\"\xff\":1}": Deny,
	} {
		in := callOf("t", `{}`)
		in.Subject.Claims = []byte(claims)
		if got := s.Decide(t.Context(), in); got.Effect != want {
			t.Errorf("%s: %+v, want %v", claims, got, want)
		}
	}
}

// TestI1_UnreadableInputIsDenied has inputs that cannot be turned into what
// rules see.
func TestI1_UnreadableInputIsDenied(t *testing.T) {
	s := buildOne(t, `allow contains "everything" if {
	not input.tool.annotations.destructiveHint
	not input.subject.claims.intern
}`)
	for name, change := range map[string]func(*Input){
		"arguments cut off":       func(in *Input) { in.Arguments = []byte(`{"a":`) },
		"empty arguments":         func(in *Input) { in.Arguments = []byte{} },
		"arguments and more":      func(in *Input) { in.Arguments = []byte(`{} {}`) },
		"array":                   func(in *Input) { in.Arguments = []byte(`[{}]`) },
		"repeated":                func(in *Input) { in.Arguments = []byte(`{"a":1,"\u0061":2}`) },
		"repeated below":          func(in *Input) { in.Arguments = []byte(`{"x":{"a":1,"a":2}}`) },
		"invalid UTF-8":           func(in *Input) { in.Arguments = []byte("{\"a\":\"\xff\"}") },
		"lone surrogate":          func(in *Input) { in.Arguments = []byte(`{"a":"\ud800"}`) },
		"annotations of a kind":   func(in *Input) { in.Tool.Annotations = []byte(`true`) },
		"ambiguous resource":      func(in *Input) { in.Resource = "file:///a\nb" },
		"claims that are no JSON": func(in *Input) { in.Subject.Claims = []byte(`{"f":`) },
	} {
		t.Run(name, func(t *testing.T) {
			in := callOf("x", `{}`)
			change(in)
			if got := s.Decide(context.Background(), in); got.Effect != Deny || got.Cause != CauseError || got.Err == nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// FuzzArguments compares the terms that rules see with what encoding/json reads.
func FuzzArguments(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, `{"a":0.10,"b":-0,"c":1e2,"d":100000000000000000000.00000000001}`, `{"a":{"a":[[],{}]},"":null}`,
		`{"a":"\u00e4\ud83d\ude00\u0000"}`, `{"a":1,"a":2}`, `{"a":1}x`, `[]`, `{"a":9007199254740993}`, "{\"\xff\":1}", ` {"a" : true } `, `{"a":1e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		term, err := objectTerm(b, readAll)
		if err != nil {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		var want map[string]any
		if err := dec.Decode(&want); err != nil || dec.More() {
			t.Fatalf("encoding/json refuses what was read: %v", err)
		}
		if diff := cmp.Diff(want, plainValue(t, term.Value), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("encoding/json (-) and the term (+):\n%s", diff)
		}
		some, err := objectTerm(b, &names{set: map[string]struct{}{"a": {}}})
		if err != nil {
			t.Fatalf("reading less fails: %v", err)
		}
		if a, ok := want["a"]; !ok {
			if some.Value.(ast.Object).Len() != 0 {
				t.Fatalf("read %v", some)
			}
		} else if diff := cmp.Diff(a, plainValue(t, some.Value.(ast.Object).Get(ast.StringTerm("a")).Value), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("encoding/json (-) and the one member read (+):\n%s", diff)
		}
	})
}

// plainValue turns a value into what encoding/json makes, digit for digit.
func plainValue(t *testing.T, value ast.Value) any {
	switch v := value.(type) {
	case ast.Null:
		return nil
	case ast.Boolean:
		return bool(v)
	case ast.Number:
		return json.Number(v)
	case ast.String:
		return string(v)
	case *ast.Array:
		all := make([]any, 0, v.Len())
		v.Foreach(func(item *ast.Term) { all = append(all, plainValue(t, item.Value)) })
		return all
	case ast.Object:
		all := map[string]any{}
		v.Foreach(func(name, member *ast.Term) { all[string(name.Value.(ast.String))] = plainValue(t, member.Value) })
		return all
	}
	t.Fatalf("a %T among the arguments", value)
	return nil
}
