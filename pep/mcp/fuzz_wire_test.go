package mcp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// FuzzHeaders checks that a header only passes when it says what the body says.
func FuzzHeaders(f *testing.F) {
	f.Add("get_balance", "get_balance", "application/json")
	f.Add("get_balance", "=?base64?Z2V0X2JhbGFuY2U=?=", "application/json; charset=utf-8")
	f.Add("get_balance", "=?base64?Z2V0X2JhbGFuY2U?=", "application/json;charset*=utf-8''utf-8")
	f.Add("=?base64?Z2V0X2JhbGFuY2U=?=", "=?base64?Z2V0X2JhbGFuY2U=?=", `application/json; charset="UTF-8"`)
	f.Add("é", "é", "text/plain")
	f.Add(" a", "=?base64?IGE=?=", "application/json, text/plain")
	f.Fuzz(func(t *testing.T, name, value, kind string) {
		if fault := CheckTransport(header("Content-Type", kind)); fault == nil {
			media, params, err := mime.ParseMediaType(kind)
			if charset := params["charset"]; err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
				t.Fatalf("%q is %q, %v, %v", kind, media, params, err)
			}
		}
		body := append([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":`), appendString(nil, name)...)
		body = append(append(append(body, `,"arguments":{"x":`...), appendString(nil, name)...), `},`+modern+`}}`...)
		frame, err := Read(body, ToServer, Limits{})
		if err != nil {
			return // not a name
		}
		name = frame.Name
		pass := func(value string, more ...string) bool {
			h := header(append([]string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", value}, more...)...)
			return CheckHeaders(h, frame, []byte(`{"inputSchema":{"properties":{"x":{"x-mcp-header":"X"}}}}`)) == nil
		}
		honest := HeaderValue(name)
		if !pass(honest, "Mcp-Param-X", honest) {
			t.Fatalf("%q as %q is refused", name, honest)
		}
		if pass(honest) || pass(honest, "Mcp-Param-X", honest, "mcp-param-x", honest) {
			t.Fatal("a missing or repeated header passes")
		}
		if said, ok := reference(value); pass(value, "Mcp-Param-X", honest) != (ok && said == name) || pass(honest, "Mcp-Param-X", value) != (ok && said == name) {
			t.Fatalf("name %q, header %q, which says %q, %v", name, value, said, ok)
		}
	})
}

// reference reads a header value by the letter of the specification.
func reference(value string) (string, bool) {
	if len(value) >= len("=?base64??=") && strings.HasPrefix(value, "=?base64?") && strings.HasSuffix(value, "?=") {
		coded := value[len("=?base64?") : len(value)-len("?=")]
		plain, err := base64.StdEncoding.DecodeString(coded)
		return string(plain), err == nil && base64.StdEncoding.EncodeToString(plain) == coded && utf8.Valid(plain)
	}
	for _, c := range []byte(value) {
		if c != '\t' && (c < 0x20 || c > 0x7e) {
			return "", false
		}
	}
	return value, strings.Trim(value, " \t") == value
}

// FuzzListing checks that a filtered listing is a listing of what was kept, to
// the byte, and nothing else.
func FuzzListing(f *testing.F) {
	for _, s := range []string{
		`{"tools":[]}`, `{"tools":[{"name":"a"},{"name":"b"}],"nextCursor":"c","ttlMs":5,"cacheScope":"public"}`,
		`{"cacheScope":"public","tools":[ {"name":"a"} , {} , {"name":"b","x":[{"name":"c"}]} ],"ttlMs":1e9}`,
		`{"tools":[{"name":"a","name":"b"}]}`, `{"tools":[],"Tools":[]}`, `{"tools":[1,"x",null,[{"name":"a"}]]}`,
	} {
		f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":`+s+`}`), uint64(0b10101))
	}
	f.Add(toolList(3), uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, flags uint64) {
		l, err := ReadListing("tools/list", b, Limits{})
		if err != nil {
			sane(t, b, err)
			return
		}
		if l == nil {
			return
		}
		keep := make([]bool, len(l.Items))
		var want []Item
		for i, item := range l.Items {
			if keep[i] = flags>>(i%64)&1 == 1; keep[i] {
				want = append(want, item)
			}
		}
		checkKept(t, l, keep, want)
		for i := range keep {
			keep[i] = true
		}
		checkKept(t, l, keep, l.Items)
		if l.Dropped == 0 {
			checkUntouched(t, l, keep)
		}
	})
}

func checkKept(t *testing.T, l *Listing, keep []bool, want []Item) {
	t.Helper()
	const ttl = 1000
	after := l.Keep(keep, ttl)
	again, err := ReadListing("tools/list", after, Limits{Bytes: 17 << 20})
	if err != nil || again == nil {
		t.Fatalf("%q became %q: %v", l.Frame.Bytes, after, err)
	}
	if len(again.Items) != len(want) || again.Dropped != 0 || !bytes.Equal(again.NextCursor, l.NextCursor) || !bytes.Equal(again.Frame.ID, l.Frame.ID) {
		t.Fatalf("%q became %q", l.Frame.Bytes, after)
	}
	for i, item := range again.Items {
		if item.Name != want[i].Name || !bytes.Equal(item.Raw, want[i].Raw) {
			t.Fatalf("%q became %q", want[i].Raw, item.Raw)
		}
	}
	result, _ := decode(t, after).(map[string]any)["result"].(map[string]any)
	if scope, ok := result["cacheScope"]; ok && scope != "private" {
		t.Fatalf("cacheScope %v", scope)
	}
	if raw, ok := result["ttlMs"]; ok {
		n, isNumber := raw.(json.Number)
		v, err := n.Float64()
		if !isNumber || err != nil || v < 0 || v > ttl {
			t.Fatalf("ttlMs %v", raw)
		}
	}
}

// checkUntouched keeps everything: only cacheScope and ttlMs may differ.
func checkUntouched(t *testing.T, l *Listing, all []bool) {
	t.Helper()
	after := l.Keep(all, 1000)
	again, err := ReadListing("tools/list", after, Limits{Bytes: 17 << 20})
	if err != nil {
		t.Fatal(err)
	}
	blank := func(l *Listing) []byte {
		var edits []edit
		for _, v := range []span{l.cacheScope, l.ttl} {
			if v.present() {
				edits = append(edits, edit{v, []byte("null")})
			}
		}
		return splice(l.Frame.Bytes, edits)
	}
	if !bytes.Equal(blank(l), blank(again)) {
		t.Fatalf("%q became %q", l.Frame.Bytes, after)
	}
}

// FuzzEvents checks that a stream is read the same however it is cut, and that
// nothing of it is lost.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{
		"data: a\n\n", "data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\rdata: b\r\r", "\ufeffdata: a\n\n", ": c\n\n", "id: 1\nevent: e\nretry: 5\ndata: x\ndata: y\n\n",
		"data\n\n", "\n\r\r\n\n", "data: a\r\r\ndata: b\n\n", "data: a", "data: a\n", "\r", "\r\n", "\ufeff\r\n", "\ufeff\n\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		want := readAll(t, stream, bytes.NewReader(stream))
		for _, r := range []io.Reader{
			iotest.OneByteReader(bytes.NewReader(stream)),
			&chunks{stream, int(size)%16 + 1},
			iotest.DataErrReader(&chunks{stream, int(size)%7 + 1}),
		} {
			if got := readAll(t, stream, r); !reflect.DeepEqual(got, want) {
				t.Fatalf("%q: %+v and %+v", stream, got, want)
			}
		}
		if plain := referenceData(stream); !reflect.DeepEqual(plain, dataOf(want)) {
			t.Fatalf("%q: %q, by the book %q", stream, dataOf(want), plain)
		}
	})
}

// chunks reads n bytes at a time.
type chunks struct {
	rest []byte
	n    int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(c.n, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

func readAll(t *testing.T, stream []byte, r io.Reader) []Event {
	t.Helper()
	er := NewEventReader(r, 1<<20)
	all, err := events(er)
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if errors.Is(err, io.EOF) != (len(er.Rest()) == 0) {
		t.Fatalf("%v with rest %q", err, er.Rest())
	}
	var raw []byte
	for _, e := range all {
		raw = append(raw, e.Raw...)
	}
	if raw = append(raw, er.Rest()...); !bytes.Equal(raw, stream) {
		t.Fatalf("%q became %q", stream, raw)
	}
	return all
}

func dataOf(events []Event) []string {
	var all []string
	for _, e := range events {
		if e.Data != nil {
			all = append(all, string(e.Data))
		}
	}
	return all
}

// referenceData reads the events' data in the way of the standard: the whole
// stream at once, line by line.
func referenceData(stream []byte) []string {
	text := strings.TrimPrefix(string(stream), "\ufeff")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(text, "\n")
	var all, data []string
	for _, line := range lines[:len(lines)-1] {
		field, value, _ := strings.Cut(line, ":")
		switch {
		case line == "":
			if data != nil {
				all = append(all, strings.Join(data, "\n"))
			}
			data = nil
		case field == "data":
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
	return all
}
