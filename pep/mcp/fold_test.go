package mcp

import (
	"testing"
	"unicode"
)

// Two runes that any simple case mapping joins must have the same folded form:
// then no reader that compares names by case, whichever way, takes two names
// for one that the scan holds for two.
func TestI2_FoldingIsClosed(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		for _, other := range []rune{unicode.ToLower(r), unicode.ToUpper(r), unicode.ToTitle(r), unicode.SimpleFold(r)} {
			if foldRune(r) != foldRune(other) {
				t.Fatalf("%U and %U fold to %U and %U", r, other, foldRune(r), foldRune(other))
			}
		}
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct{ a, b string }{
		{"amount", "AMOUNT"},
		{"user_id", "userId"},
		{"user-id", "USERID"},
		{"params", "paramſ"},
		{"key", "\u212aey"},
		{"σ", "ς"},
		{"id", "İd"},
		{"ıd", "ID"},
		{"", "_-_"},
		{"é", "e\u0301"},
		{"É", "e\u0301"},
		{"Å", "\u212b"},
		{"ṩ", "s\u0307\u0323"},
	} {
		if a, b := string(appendFold(nil, []byte(c.a))), string(appendFold(nil, []byte(c.b))); a != b {
			t.Errorf("%q and %q fold to %q and %q", c.a, c.b, a, b)
		}
	}
	for _, c := range []struct{ a, b string }{{"a", "b"}, {"a.b", "ab"}, {"ß", "ss"}, {"é", "e"}} {
		if string(appendFold(nil, []byte(c.a))) == string(appendFold(nil, []byte(c.b))) {
			t.Errorf("%q and %q fold to the same", c.a, c.b)
		}
	}
}

func TestHasControl(t *testing.T) {
	for r := rune(0); r < 0x300; r++ {
		if got := hasControl("a" + string(r)); got != unicode.IsControl(r) {
			t.Errorf("%U: %v", r, got)
		}
	}
	if hasControl("ÂÁ") || hasControl("\u2028") {
		t.Error("no controls")
	}
}
