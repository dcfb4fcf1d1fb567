package inert

import "testing"

func TestHiddenCharactersAreShown(t *testing.T) {
	for _, c := range []struct{ in, text, line string }{
		{"plain, naïve – 世界 ✓", "plain, naïve – 世界 ✓", "plain, naïve – 世界 ✓"},
		{"a\nb\tc", "a\nb\tc", `a\u000ab\u0009c`},
		{"a\x1b[31mb\x00\x7f\u009b", `a\u001b[31mb\u0000\u007f\u009b`, `a\u001b[31mb\u0000\u007f\u009b`},
		{"pay\u202e001\u2066\u2069", `pay\u202e001\u2066\u2069`, `pay\u202e001\u2066\u2069`},
		{"ad\u200bmin\ufeff\u00ad\u2060", `ad\u200bmin\ufeff\u00ad\u2060`, `ad\u200bmin\ufeff\u00ad\u2060`},
		{"a\u3164b\u2800c\ufe0f\u034f", `a\u3164b\u2800c\ufe0f\u034f`, `a\u3164b\u2800c\ufe0f\u034f`},
		{"tag\U000e0041 vs\U000e0100", `tag\U000e0041 vs\U000e0100`, `tag\U000e0041 vs\U000e0100`},
		{"line\u2028par\u2029", `line\u2028par\u2029`, `line\u2028par\u2029`},
	} {
		if got := Text(c.in); got != c.text {
			t.Errorf("Text(%q) = %q, want %q", c.in, got, c.text)
		}
		if got := Line(c.in); got != c.line {
			t.Errorf("Line(%q) = %q, want %q", c.in, got, c.line)
		}
	}
}
