package audit

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// FuzzTrail reads any bytes as a segment: no reader fails on them, both directions
// see the same lines and records, and Verify accepts only a chain.
func FuzzTrail(f *testing.F) {
	dir := trailOf(f, 3, Options{})
	whole := readFile(f, filepath.Join(dir, segmentName(1)))
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Add(bytes.Replace(whole, []byte(`"seq":2`), []byte(`"seq":18446744073709551615`), 1))
	f.Add([]byte("\n\n{}\n"))
	f.Add([]byte(`{"seq":1,"type":"`))
	f.Fuzz(func(t *testing.T, segment []byte) {
		var there, back []string
		limit := int64(len(segment))
		if err := scanLines(t.Context(), bytes.NewReader(segment), limit, func(l []byte, _ int64) error {
			there = append(there, string(l))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := scanBack(t.Context(), bytes.NewReader(segment), limit, func(l []byte, _ int64) error {
			back = append(back, string(l))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		slices.Reverse(back)
		if !slices.Equal(there, back) {
			t.Fatalf("forwards %q, backwards %q", there, back)
		}
		writeFile(t, filepath.Join(dir, segmentName(1)), segment)
		trail := NewTrail(dir)
		records := query(t, trail, Filter{}, 0)
		if got := query(t, trail, Filter{}, len(records)+1); len(got) != len(records) {
			t.Fatalf("%d records backwards, %d forwards", len(got), len(records))
		}
		report, err := trail.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if report.Problem == "" && !bytes.HasPrefix(segment, whole) {
			t.Fatalf("%q passes for the trail that the head file names", segment)
		}
	})
}

// FuzzMask: the result is JSON, holds no grant token, and is the input itself when
// there was nothing to mask.
func FuzzMask(f *testing.F) {
	for _, s := range []string{
		`{"password":"x","a":[1,{"name":"token","value":{"x":1}}]}`,
		`["--token","t",{"\u0061":"\ud83d\ude00 mcpg_abc"}]`,
		`"https://u:p@h/?token=x Bearer aaaaaaaaaaaaaaaaaaaa -----BEGIN PRIVATE KEY-----"`,
		`{"a":"{\"password\": \"x\\\"y\"} \\"}`, "{\"\xff\":1}", `{"a":"\ud800"}`, `nul`, ``,
	} {
		f.Add([]byte(s), "/a/0")
	}
	f.Fuzz(func(t *testing.T, in []byte, pointer string) {
		before := bytes.Clone(in)
		out := Mask(in, []string{pointer})
		if !bytes.Equal(in, before) {
			t.Fatalf("changed its argument from %q to %q", before, in)
		}
		if !jsontext.Value(out).IsValid(jsontext.AllowDuplicateNames(true)) {
			t.Fatalf("%q became %q", in, out)
		}
		for _, s := range tokens(t, out) {
			if bytes.Contains([]byte(s), []byte(grantToken)) {
				t.Fatalf("%q became %q", in, out)
			}
		}
		if bytes.Equal(in, out) && len(in) > 0 && &in[0] != &out[0] {
			t.Fatalf("%q was copied", in)
		}
	})
}

// FuzzHead: what reads as a slot is written back as the same bytes.
func FuzzHead(f *testing.F) {
	f.Add(appendSlot(nil, chain{hash: genesis}))
	f.Add(appendSlot(nil, chain{1<<64 - 1, hashOf(nil)}))
	f.Add([]byte(`{"seq":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, ok := parseSlot(b); ok && !bytes.Equal(appendSlot(nil, c), b) {
			t.Fatalf("%q read as %+v", b, c)
		}
	})
}
