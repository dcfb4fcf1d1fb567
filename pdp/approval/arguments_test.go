package approval

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

func digest(t *testing.T, arguments string) Digest {
	t.Helper()
	d, err := DigestArguments([]byte(arguments))
	if err != nil {
		t.Fatalf("%s: %v", arguments, err)
	}
	return d
}

func TestI8_SpellingDoesNotCount(t *testing.T) {
	for _, same := range [][]string{
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, " {\n\t\"b\": 2,\r\n\"a\" :1 } "},
		{`{"a":"é/"}`, `{"a":"\u00e9\/"}`, `{"\u0061":"é/"}`},
		{`{"a":1}`, `{"a":1.0}`, `{"a":1e0}`, `{"a":10E-1}`, `{"a":0.1e1}`},
		{`{"a":0}`, `{"a":-0}`, `{"a":0.0}`, `{"a":0e5}`},
		{`{"a":0.1}`, `{"a":1e-1}`, `{"a":0.10}`},
		{`{"a":1e21}`, `{"a":1000000000000000000000}`},
		{`{"a":"😀"}`, `{"a":"\ud83d\ude00"}`},
		{`{"a":[{"x":1,"y":[]}]}`, `{"a":[{"y":[],"x":1}]}`},
	} {
		for _, other := range same[1:] {
			if digest(t, other) != digest(t, same[0]) {
				t.Errorf("%s differs from %s", other, same[0])
			}
		}
	}
}

func TestI8_MeaningCounts(t *testing.T) {
	seen := map[Digest]string{}
	for _, arguments := range []string{
		``, `{}`, `null`, `[]`, `{"a":1}`, `{"a":"1"}`, `{"a":true}`, `{"a":null}`, `{"A":1}`, `{"a":[1]}`, `{"a":{"a":1}}`,
		`{"a":[1,2]}`, `{"a":[2,1]}`, `{"a":1,"b":1}`, `{"a":10}`, `{"a":-1}`, `{"a":0.1}`, `{"a":0.11}`,
		// Beyond float64, where RFC 8785 alone takes neighbours for the same.
		`{"a":9007199254740992}`, `{"a":9007199254740993}`, `{"a":9007199254740994}`,
		`{"a":0.1000000000000000055511151231257827}`, `{"a":100.00000000000000001}`, `{"a":100}`,
		`{"a":1e400}`, `{"a":1e401}`, `{"a":1e-400}`, `{"a":0}`,
		`{"a":9007199254740993,"b":1}`, `{"a":9007199254740993,"b":2}`,
	} {
		d := digest(t, arguments)
		if other, ok := seen[d]; ok {
			t.Errorf("%q and %q have one digest", arguments, other)
		}
		seen[d] = arguments
	}
}

// The digest can be made anew by whoever knows RFC 8785.
func TestDigestIsOverTheCanonicalForm(t *testing.T) {
	if got, want := digest(t, `{"b": 1.50, "a": "\u20ac"}`), sha256.Sum256([]byte(`{"a":"€","b":1.5}`)); got != want {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestArgumentsThatAreNoStrictJSON(t *testing.T) {
	for _, arguments := range []string{
		`{`, `{"a":1}x`, `{"a":1}{}`, `{"a":1,"a":1}`, `{"a":{"b":1,"\u0062":2}}`, "{\"a\":\"\xff\"}", `{"a":"\ud800"}`, `{"a":NaN}`, `{"a":01}`, ` `,
	} {
		if d, err := DigestArguments([]byte(arguments)); err == nil || d != (Digest{}) {
			t.Errorf("%q: digest %x, error %v", arguments, d, err)
		}
	}
}

func TestDigestLeavesTheArgumentsAlone(t *testing.T) {
	const sent = `{ "b": 1.0, "a": "\u0061" }`
	b := []byte(sent)
	if _, err := DigestArguments(b); err != nil || string(b) != sent {
		t.Errorf("%s, %v", b, err)
	}
}

// number draws the spelling of a JSON number, many of them beyond float64.
func number(t *rapid.T) string {
	digits := func(label string, least, most int) string {
		return rapid.StringOfN(rapid.RuneFrom([]rune("0123456789")), least, most, -1).Draw(t, label)
	}
	s := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
	whole := strings.TrimLeft(digits("whole", 1, 20), "0")
	if whole == "" {
		whole = "0"
	}
	s += whole
	if rapid.Bool().Draw(t, "fraction") {
		s += "." + digits("fraction", 1, 20)
	}
	if rapid.Bool().Draw(t, "exponent") {
		s += fmt.Sprintf("e%d", rapid.IntRange(-330, 330).Draw(t, "exponent"))
	}
	return s
}

// I8 for numbers: two spellings have the same digest exactly when they are the
// same number.
func TestI8_NumbersAreEqualAsDecimals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := number(t), number(t)
		if rapid.Bool().Draw(t, "respelled") {
			b = respelled(t, a)
		}
		da, err := DigestArguments([]byte(`{"n":` + a + `}`))
		if err != nil {
			t.Fatal(err)
		}
		db, err := DigestArguments([]byte(`{"n":` + b + `}`))
		if err != nil {
			t.Fatal(err)
		}
		ra, _ := new(big.Rat).SetString(a)
		rb, _ := new(big.Rat).SetString(b)
		same := ra.Cmp(rb) == 0
		if da == db && !same {
			t.Fatalf("%s and %s have one digest", a, b)
		}
		// Beyond float64 the spelling counts: stricter, never laxer.
		if same && da != db && numberExact(a) {
			t.Fatalf("%s and %s are one number and have two digests", a, b)
		}
	})
}

// respelled writes the same number another way.
func respelled(t *rapid.T, s string) string {
	mantissa, exponent, has := strings.Cut(s, "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	mantissa += strings.Repeat("0", rapid.IntRange(0, 3).Draw(t, "zeros"))
	if has {
		return mantissa + "E" + exponent
	}
	return mantissa + "e+0"
}

func TestNumberExactAgreesWithArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := number(t)
		canonical := jsontext.Value(s)
		if err := canonical.Canonicalize(); err != nil {
			if numberExact(s) {
				t.Fatalf("%s has no canonical form and is said to be exact", s)
			}
			return
		}
		want, _ := new(big.Rat).SetString(s)
		got, _ := new(big.Rat).SetString(string(canonical))
		if exact := want.Cmp(got) == 0; numberExact(s) != exact {
			t.Fatalf("%s becomes %s: exact is %v", s, canonical, exact)
		}
	})
}

// An exponent that no machine can write out costs nothing.
func TestHugeExponents(t *testing.T) {
	seen := map[Digest]bool{}
	for _, n := range []string{"1e999999999999999999999", "1e-999999999999999999999", "1e1000000000", "2e1000000000"} {
		d := digest(t, `{"n":`+n+`}`)
		if seen[d] {
			t.Errorf("%s has the digest of another", n)
		}
		seen[d] = true
	}
}

func FuzzDigestArguments(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1e400,"b":[1,2,{"c":"\ud83d\ude00"}]}`, `{"a":9007199254740993}`, `{"a":1,"a":2}`, `-0`, `""`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DigestArguments(b)
		if err != nil || len(b) == 0 {
			return
		}
		// Strict JSON it was; white space and the order of members do not count.
		reordered := jsontext.Value(append([]byte(nil), b...))
		if err := reordered.Format(jsontext.ReorderRawObjects(true), jsontext.Multiline(true)); err != nil {
			t.Fatalf("%q has a digest and is no JSON: %v", b, err)
		}
		if again, err := DigestArguments(reordered); err != nil || again != d {
			t.Fatalf("%q: %x; as %q: %x, %v", b, d, reordered, again, err)
		}
	})
}
