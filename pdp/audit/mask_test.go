package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Credentials in their issuers' forms, none of them real.
var (
	ghToken    = "ghp_" + strings.Repeat("aB3", 12)
	stripeKey  = "sk_live_" + strings.Repeat("x9Y", 8)
	openAIKey  = "sk-" + strings.Repeat("qW4", 12)
	awsKey     = "AKIA" + "IOSFODNN7EXAMPLE"
	slackToken = "xoxb-" + "123456789012-abcdefABCDEF"
	grant      = grantToken + strings.Repeat("aZ0", 21) + "ab"
	webToken   = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlc2lnbmF0dXJl"
	pemKey     = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----"
	generated  = "f3A9c0D41b7E8d62aa05"
)

func quote(s string) string {
	b, _ := jsontext.AppendQuote(nil, s)
	return string(b)
}

func TestI6_Mask(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing to hide", `{"charge_id":"ch_105","amount":500000}`, ""},
		{"bytes stay as they are", "{ \"a\" : 1.50e+1 ,\t\"\\u0062\": [\"\\/\", 9007199254740993 ] }", ""},

		// by name
		{"password", `{"password":"hunter2"}`, `{"password":"[masked]"}`},
		{"number", `{"pin":1234,"cvv":1.5e2}`, `{"pin":"[masked]","cvv":"[masked]"}`},
		{"object and array", `{"credentials":{"user":"u","pass":[1]},"secrets":[1,2]}`, `{"credentials":"[masked]","secrets":"[masked]"}`},
		{"true, false and null stay", `{"secret":true,"token":null,"password":false}`, ""},
		{"deep", `{"a":[{"b":{"api_key":"k"}}]}`, `{"a":[{"b":{"api_key":"[masked]"}}]}`},
		{
			"ways to write a name", `{"API-Key":1,"apiKey":2,"apikey":3,"X_API_KEY":4,"stripeApiKey2":5,"dbpassword":6,"\u0070assword":7}`,
			`{"API-Key":"[masked]","apiKey":"[masked]","apikey":"[masked]","X_API_KEY":"[masked]","stripeApiKey2":"[masked]","dbpassword":"[masked]","\u0070assword":"[masked]"}`,
		},
		{"tokens", `{"token":"a","accessToken":"b","csrf_token":"c"}`, `{"token":"[masked]","accessToken":"[masked]","csrf_token":"[masked]"}`},
		{
			"what only sounds like it", `{"max_tokens":4096,"page_token":"abc","tokens":7,"key":"name","password_length":12,"secretary":"Bo","tokenizer":"bpe","author":"x","pinned":true,"compass":"n"}`, "",
		},
		{
			"hint and a generated value", `{"key":"` + generated + `","session":"` + generated + `","id":"` + generated + `"}`,
			`{"key":"[masked]","session":"[masked]","id":"` + generated + `"}`,
		},
		{"hint and a plain value", `{"key":"src/components/Button2/index","signature":"0190c3f2-7d34-7c1b-9f3e-4b6f0a2d1e5c","auth":"basic"}`, ""},
		{
			"named pair", `{"headers":[{"name":"X-Api-Key","value":"v"},{"value":7,"key":"password"},{"name":"Accept","value":"*/*"}]}`,
			`{"headers":[{"name":"X-Api-Key","value":"[masked]"},{"value":"[masked]","key":"password"},{"name":"Accept","value":"*/*"}]}`,
		},
		{"flag in a list", `["curl","--token","t0p","-v","--limit","5"]`, `["curl","--token","[masked]","-v","--limit","5"]`},

		// by form
		{
			"issued", `["` + ghToken + `","x ` + stripeKey + `.","` + openAIKey + `","` + awsKey + `","` + slackToken + `"]`,
			`["[masked]","x [masked]","[masked]","[masked]","[masked]"]`,
		},
		{"grant token anywhere", `{"a":"x` + grant + `","b":"mcpg_","c":"\u006dcpg_0"}`, `{"a":"x[masked]","b":"[masked]","c":"[masked]"}`},
		{"in a name", `{"` + grant + `":1}`, `{"[masked]":1}`},
		{"web token", `{"t":"got ` + webToken + ` back"}`, `{"t":"got [masked] back"}`},
		{"private key", `{"t":` + quote("a\n"+pemKey+"\nb") + `}`, `{"t":"a\n[masked]\nb"}`},
		{"private key without end", `{"t":` + quote("a "+pemKey[:60]) + `}`, `{"t":"a [masked]"}`},
		{"public key", `{"t":"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"}`, ""},
		{"short of a form", `["ghp_short","sk-learn-pipeline-refactoring-2024","eyJhIjox.x","AKIAnot","task-` + generated + `"]`, ""},

		// by what stands before
		{"bearer", `{"c":"curl -H 'Authorization: Bearer abc.def' -H \"x-api-key: k1\" http://h/"}`, `{"c":"curl -H 'Authorization: Bearer [masked]' -H \"x-api-key: [masked]\" http://h/"}`},
		{"bearer alone", `{"c":"bearer ` + generated + `"}`, `{"c":"bearer [masked]"}`},
		{"bearer of news", `{"c":"the bearer of bad news, basic income"}`, ""},
		{"basic", `{"c":"Basic dXNlcjpwYXNz x"}`, `{"c":"Basic [masked] x"}`},
		{"shell", `{"c":"PGPASSWORD=s3cr3t psql; export API_TOKEN=\"a b\" && x --client-secret zzz -v"}`, `{"c":"PGPASSWORD=[masked] psql; export API_TOKEN=\"[masked]\" && x --client-secret [masked] -v"}`},
		{"url", `{"u":"postgres://bob:p%40ss@db:5432/x?sslmode=off"}`, `{"u":"postgres://bob:[masked]@db:5432/x?sslmode=off"}`},
		{"url with a token", `{"u":"https://` + generated + `@github.com/x"}`, `{"u":"https://[masked]@github.com/x"}`},
		{"query", `{"u":"https://h/p?a=1&access_token=zz&b=2"}`, `{"u":"https://h/p?a=1&access_token=[masked]&b=2"}`},
		{"plain url", `{"u":"https://bob@example.com:8080/a?b=c@d"}`, ""},
		{"json in a string", `{"b":"{\"user\":\"u\",\"password\":\"a\\\"b\",\"n\": 1}"}`, `{"b":"{\"user\":\"u\",\"password\":\"[masked]\",\"n\": 1}"}`},
		{"yaml", `{"b":"user: u\npassword: hunter2\nport: 1\n"}`, `{"b":"user: u\npassword: [masked]\nport: 1\n"}`},
		{"cookie header", `{"b":"Cookie: a=1; sid=2\nAccept: x"}`, `{"b":"Cookie: [masked]\nAccept: x"}`},
		{"connection string", `{"b":"Server=db;User Id=sa;Password=pw1;Encrypt=yes"}`, `{"b":"Server=db;User Id=sa;Password=[masked];Encrypt=yes"}`},
		{"comparison in code", `{"b":"if (n == 3) { page = a ? b : c }"}`, ""},
		{"escapes around a secret", `{"b":"\u00e9\ud83d\ude00\/ password=\u0061\u0062\ud83d\ude00 \u00e9"}`, `{"b":"\u00e9\ud83d\ude00\/ password=[masked] \u00e9"}`},

		// no JSON
		{"not JSON", `{"a":`, `"[masked]"`},
		{"two values", `{} {}`, `"[masked]"`},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", `"[masked]"`},
		{"empty", ``, `"[masked]"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == "" {
				c.want = c.in
			}
			before := strings.Clone(c.in)
			in := []byte(c.in)
			if got := string(Mask(in, nil)); got != c.want {
				t.Errorf("Mask(%s)\n got %s\nwant %s", c.in, got, c.want)
			}
			if string(in) != before {
				t.Errorf("Mask changed its argument to %s", in)
			}
		})
	}
}

func TestI6_MaskPointers(t *testing.T) {
	const in = `{"a":{"b~/c":[10,{"d":"x"},null]},"Card":"4242","":1,"e":true}`
	for _, c := range []struct {
		pointers []string
		want     string
	}{
		{[]string{""}, `"[masked]"`},
		{[]string{"/a/b~0~1c/0"}, `{"a":{"b~/c":["[masked]",{"d":"x"},null]},"Card":"4242","":1,"e":true}`},
		{[]string{"/a/b~0~1c/*"}, `{"a":{"b~/c":["[masked]","[masked]","[masked]"]},"Card":"4242","":1,"e":true}`},
		{[]string{"/a/*/1/d", "/card"}, `{"a":{"b~/c":[10,{"d":"[masked]"},null]},"Card":"[masked]","":1,"e":true}`},
		{[]string{"/a", "/a/b~0~1c/0", "/e"}, `{"a":"[masked]","Card":"4242","":1,"e":"[masked]"}`},
		{[]string{"/"}, `{"a":{"b~/c":[10,{"d":"x"},null]},"Card":"4242","":"[masked]","e":true}`},
		{[]string{"/nothing", "/a/b", "/Card/x", "/a/b~0~1c/9"}, in},
	} {
		if got := string(Mask([]byte(in), c.pointers)); got != c.want {
			t.Errorf("Mask(%v)\n got %s\nwant %s", c.pointers, got, c.want)
		}
	}
}

// Whatever JSON comes: Mask gives JSON of the same shape back, a planted secret is
// not in it, in any spelling, and what was put between secrets is as it was.
func TestI6_MaskKeepsTheRest(t *testing.T) {
	secrets := []string{ghToken, stripeKey, openAIKey, awsKey, grant, webToken}
	rapid.Check(t, func(rt *rapid.T) {
		planted := rapid.SampledFrom(secrets).Draw(rt, "secret")
		value := genValue(rt, 3, planted)
		opts := []jsontext.Options{jsontext.AllowDuplicateNames(true)}
		if rapid.Bool().Draw(rt, "escaped") {
			opts = append(opts, jsontext.EscapeForHTML(true), jsontext.EscapeForJS(true))
		}
		in := jsontext.Value(value)
		if rapid.Bool().Draw(rt, "spaced") {
			if err := in.Indent(opts...); err != nil {
				rt.Fatal(err)
			}
		}
		out := Mask(in, nil)
		if !jsontext.Value(out).IsValid(jsontext.AllowDuplicateNames(true)) {
			rt.Fatalf("no JSON:\n%s\n%s", in, out)
		}
		if leak := decoded(rt, out); strings.Contains(leak, planted) {
			rt.Fatalf("%s is still in\n%s", planted, out)
		}
		if !strings.Contains(decoded(rt, in), planted) && !bytes.Equal(in, out) {
			rt.Fatalf("there was nothing to mask:\n%s\n%s", in, out)
		}
		if got, want := len(tokens(rt, out)), len(tokens(rt, in)); got != want {
			rt.Fatalf("%d tokens became %d:\n%s\n%s", want, got, in, out)
		}
		if again := Mask(out, nil); !bytes.Equal(again, out) {
			rt.Fatalf("masking twice differs:\n%s\n%s", out, again)
		}
	})
}

func genValue(rt *rapid.T, depth int, planted string) string {
	kinds := []string{"text", "text", "number", "null", "planted"}
	if depth > 0 {
		kinds = append(kinds, "object", "array")
	}
	harmless := rapid.StringOf(rapid.RuneFrom([]rune("ab 1,é😀\"\\/\n\u2028<")))
	switch rapid.SampledFrom(kinds).Draw(rt, "kind") {
	case "text":
		return quote(harmless.Draw(rt, "text"))
	case "planted":
		s := harmless.Draw(rt, "before") + " " + planted + " " + harmless.Draw(rt, "after")
		if rapid.Bool().Draw(rt, "all escaped") {
			var b strings.Builder
			for _, r := range s {
				if r < 0x10000 {
					fmt.Fprintf(&b, `\u%04x`, r)
				} else {
					b.WriteRune(r)
				}
			}
			return `"` + b.String() + `"`
		}
		return quote(s)
	case "number":
		return rapid.SampledFrom([]string{"0", "-1.50", "1e3", "9007199254740993"}).Draw(rt, "number")
	case "object":
		var parts []string
		for range rapid.IntRange(0, 3).Draw(rt, "members") {
			parts = append(parts, quote(rapid.SampledFrom([]string{"a", "value", "name", "é"}).Draw(rt, "name"))+":"+genValue(rt, depth-1, planted))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case "array":
		var parts []string
		for range rapid.IntRange(0, 3).Draw(rt, "elements") {
			parts = append(parts, genValue(rt, depth-1, planted))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	return "null"
}

func tokens(t rapid.TB, b []byte) (out []string) {
	d := jsontext.NewDecoder(bytes.NewReader(b), jsontext.AllowDuplicateNames(true))
	for {
		tok, err := d.ReadToken()
		if err != nil {
			return out
		}
		out = append(out, tok.String())
	}
}

func decoded(t rapid.TB, b []byte) string { return strings.Join(tokens(t, b), "\n") }

// Canaries in every text of a record: none reaches the disk. (T16)
func TestI6_CanariesInEveryMember(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir, SensitiveNames: []string{"badge number"}}, nil)
	r := &Record{
		DecisionID: "d1",
		Frame:      Frame{Method: "m " + grant, Name: "https://u:" + generated + "@h/?api_key=canary1", ID: []byte(quote(grant)), Digest: "sha256:00", Kind: "request"},
		Subject:    &Subject{ID: grant, Type: grant, Groups: []string{grant, ghToken}},
		Grant:      grant,
		Client:     &Client{Name: "x " + ghToken, Version: "password=canary2"},
		Server:     grant,
		Tool:       &Tool{Class: grant, Risk: grant, Digest: grant, Pinned: grant},
		Effect:     "deny",
		ReasonCode: grant,
		Reason:     "no: the PIN canary3 is not good, nor Bearer " + generated,
		Rules:      []Rule{{Path: "policy.x", ID: grant, Title: grant}},
		Policy:     &Policy{Revision: grant, Digest: grant},
		Quota:      []Quota{{Name: grant, Used: "1", Limit: "2"}},
		Approval:   &Approval{ID: grant, State: grant},
		Arguments:  []byte(`{"pin":"canary3","ssn":"canary4","nested":{"ssn":77123},"BadgeNumber":"canary5","note":"` + grant + `"}`),
		Mask:       []string{"/ssn", "/nested/ssn"},
		Input:      []byte(`{"grant":{"labels":{"token":"canary6"}}}`),
		Context:    Context{Transport: grant, ProtocolVersion: grant, Session: HashSession("canary7"), Peer: grant, PEP: grant},
		Fault:      &Fault{Rule: grant, Reason: "token: canary8"},
		TraceID:    grant,
	}
	mustRecord(t, l, r)
	l.Outcome("d1", Outcome{Error: "upstream said password=canary9 and " + grant})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	line := string(readFile(t, filepath.Join(dir, segmentName(1))))
	for _, secret := range []string{grantToken, "canary", "77123", ghToken, generated} {
		if i := strings.Index(line, secret); i >= 0 {
			t.Errorf("%q is in the trail: …%s…", secret, line[max(0, i-80):min(len(line), i+80)])
		}
	}
	got := query(t, NewTrail(dir), Filter{}, 0)[0]
	want := []string{"/pin", "/ssn", "/nested/ssn", "/BadgeNumber", "/note"}
	if diff := cmp.Diff(want, got.Masked); diff != "" {
		t.Errorf("masked (-want +got):\n%s", diff)
	}
}

// Identifiers are not altered for looking like an assignment.
func TestIdentifiersStay(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir()})
	r := testRecord(1)
	r.Subject = &Subject{ID: "token:alice=password:x", Groups: []string{"secret:eng"}}
	r.Server, r.Grant = "secret", "0aB1cD2eF3gH4iJ5"
	mustRecord(t, l, r)
	got := query(t, l, Filter{Subject: r.Subject.ID}, 0)
	if len(got) != 1 || got[0].Subject.Groups[0] != "secret:eng" || got[0].Grant != r.Grant {
		t.Errorf("%+v", got)
	}
}

func TestArgumentsThatAreNotKept(t *testing.T) {
	big := []byte(`{"content":"` + strings.Repeat("x", 100) + `"}`)
	for _, c := range []struct {
		name  string
		limit int
		in    []byte
		kept  bool
	}{
		{"at the limit", len(big), big, true},
		{"over the limit", len(big) - 1, big, false},
		{"none at all", -1, []byte(`{}`), false},
		{"not JSON", 0, []byte(`{"a":`), false},
		{"not UTF-8", 0, []byte("{\"a\":\"\xff\"}"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := testLog(t, Options{Dir: t.TempDir(), ArgumentBytes: c.limit})
			r := testRecord(1)
			r.Arguments = c.in
			mustRecord(t, l, r)
			got := query(t, l, Filter{}, 0)[0]
			if c.kept {
				if string(got.Arguments) != string(c.in) || got.Truncated != nil {
					t.Errorf("%s, %+v", got.Arguments, got.Truncated)
				}
				return
			}
			if got.Arguments != nil || got.Truncated == nil || !got.Truncated.Truncated || got.Truncated.Bytes != int64(len(c.in)) || len(got.Truncated.Digest) != 71 {
				t.Errorf("%s, %+v", got.Arguments, got.Truncated)
			}
		})
	}
}

// Whatever a client sends as name, id, method and so on: the record is one bounded
// line of JSON that is read back.
func TestHostileTexts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "audit")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		l := openLog(t, Options{Dir: dir, Fsync: FsyncNever}, nil)
		defer l.Close()
		text := func(label string) string {
			s := string(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(rt, label))
			if rapid.Bool().Draw(rt, label+" long") {
				s = strings.Repeat(s+"é\u202e\n\"", 2000)
			}
			return s
		}
		r := &Record{
			DecisionID: text("id"), Effect: "deny",
			Frame:     Frame{Method: text("method"), Name: text("name"), ID: []byte(text("frame id"))},
			Client:    &Client{Name: text("client"), Version: text("version")},
			Reason:    text("reason"),
			Subject:   &Subject{ID: text("subject"), Groups: []string{text("group")}},
			Arguments: []byte(text("arguments")), Input: []byte(text("input")),
			Fault: &Fault{Rule: text("rule"), Reason: text("fault")},
		}
		mustRecord(rt, l, r)
		l.Outcome(r.DecisionID, Outcome{Error: text("error")})
		mustRecord(rt, l, testRecord(1))
		got := query(rt, l, Filter{}, 0)
		if len(got) != 2 || got[0].Outcome == nil {
			rt.Fatalf("%d records, the first: %+v", len(got), got[0])
		}
		b, err := got[0].JSON()
		if err != nil || bytes.ContainsAny(b, "\n\r") || len(b) > 128<<10 || !json.Valid(b) {
			rt.Fatalf("%d bytes, %v", len(b), err)
		}
		mustVerify(rt, l)
	})
}

func TestRecordWhileContextIsOver(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Record(ctx, testRecord(1)); err == nil {
		t.Error("a record for a caller that has left was written")
	}
}

// The short cut for names rules out nothing that the long way would find.
func TestNamesShortCut(t *testing.T) {
	long := sensitiveNames{"never": true} // names of one's own: the long way for all
	parts := []string{"Pass", "word", "pwd", "_", "-", "API", "key", "token", "page", "sec", "ret", "id", "x", "é", "9", "auth", "SSH", "Cookie", "\u017f"}
	rapid.Check(t, func(rt *rapid.T) {
		name := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 0, 5).Draw(rt, "parts"), "")
		if got, want := sensitiveNames(nil).of(name), long.of(name); got != want {
			rt.Errorf("%q: %v, the long way %v", name, got, want)
		}
	})
}
