package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestI8_Canonical(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{`{ "b" : 1e2, "a" : [ 1.0 , -0, -0.0, 0.10, 1E-7, 1e-7 ] }`, `{"a":[1,0,0,0.1,1e-7,1e-7],"b":100}`},
		{`{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\u0080":5,"\ud83d\ude00":6,"\u00f6":7}`, "{\"\\r\":2,\"1\":4,\"\u0080\":5,\"ö\":7,\"€\":1,\"😀\":6,\"\ufb33\":3}"},
		{`"\u0061\/\u0022\u000a\u0008"`, `"a/\"\n\b"`},
		{`"1e2, -0]"`, `"1e2, -0]"`},
		{`[]`, `[]`},
		{`123`, `123`},
		{`null`, `null`},
		// Numbers that float64 would change keep what they are.
		{`{"a":9007199254740993,"b":100.00000000000000001}`, `{"a":9007199254740993,"b":100.00000000000000001}`},
	} {
		got, err := Canonical([]byte(c.raw))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.raw, got, err, c.want)
		}
		again, err := Canonical(got)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s: not a fixed point: %q, %v", c.raw, again, err)
		}
	}
	for _, raw := range []string{``, `{`, `{}{}`, `{"a":1,"a":2}`, `"\ud800"`, "\"\xff\""} {
		got, err := Canonical([]byte(raw))
		if _, ok := errors.AsType[*Fault](err); !ok {
			t.Errorf("%q: %q, %v", raw, got, err)
		}
	}
}

// value draws a JSON value as text, in some spelling.
func value() *rapid.Generator[string] {
	space := rapid.SampledFrom([]string{"", "", " ", "\n"})
	scalar := rapid.OneOf(
		rapid.SampledFrom([]string{"null", "true", "false", "0", "-0", "1", "1.0", "10e-1", "1e2", "100", "0.1", `"a"`, `"\u0061"`, `""`, `"1"`}),
		rapid.Map(rapid.String(), func(s string) string { b, _ := json.Marshal(s); return string(b) }),
	)
	return rapid.Custom(func(t *rapid.T) string {
		var draw func(depth int) string
		draw = func(depth int) string {
			kind := rapid.IntRange(0, 3).Draw(t, "kind")
			if depth == 0 || kind < 2 {
				return scalar.Draw(t, "scalar")
			}
			n := rapid.IntRange(0, 3).Draw(t, "n")
			var b bytes.Buffer
			names := rapid.Permutation([]string{"a", "B", "é", "z\u2028"}).Draw(t, "names")
			for i := range n {
				if i > 0 {
					b.WriteString(space.Draw(t, "s") + ",")
				}
				if kind == 3 {
					name, _ := json.Marshal(names[i])
					b.Write(name)
					b.WriteString(":" + space.Draw(t, "s"))
				}
				b.WriteString(draw(depth - 1))
			}
			if kind == 3 {
				return "{" + b.String() + space.Draw(t, "s") + "}"
			}
			return "[" + b.String() + space.Draw(t, "s") + "]"
		}
		return draw(3)
	})
}

// The canonical form means the same, and equal forms are equal values.
func TestI8_CanonicalProperty(t *testing.T) {
	decode := func(t *rapid.T, b []byte) (v any) {
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		return v
	}
	rapid.Check(t, func(t *rapid.T) {
		one, two := value().Draw(t, "one"), value().Draw(t, "two")
		a, err := Canonical([]byte(one))
		if err != nil {
			t.Fatal(err)
		}
		b, err := Canonical([]byte(two))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(decode(t, []byte(one)), decode(t, a)); diff != "" {
			t.Fatal(diff)
		}
		if same := cmp.Equal(decode(t, []byte(one)), decode(t, []byte(two))); same != bytes.Equal(a, b) {
			t.Fatalf("%s and %s become %s and %s", one, two, a, b)
		}
	})
}
