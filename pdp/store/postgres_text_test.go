package store

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestAnyStringIsKeptAsText(t *testing.T) {
	for s, want := range map[string]string{
		"plain – ünï":   "plain – ünï",
		"a\x00b":        `a\0b`,
		`a\0b`:          `a\\0b`,
		"\xff\x80":      `\ff\80`,
		"\xed\xa0\x80":  `\ed\a0\80`, // half of a surrogate pair
		"\uFFFD":        "\uFFFD",
		"\\":            `\\`,
		"\x00\x00\\\\0": `\0\0\\\\0`,
	} {
		if got := escaped(s); got != want {
			t.Errorf("%q is kept as %q, want %q", s, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("\\0f8\x00a"))),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "s")
		text := escaped(s)
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			t.Errorf("%q is kept as %q, which PostgreSQL refuses", s, text)
		}
		if back, err := unescaped(text); err != nil || back != s {
			t.Errorf("%q comes back as %q, %v", s, back, err)
		}
	})
}

func TestTextThatNobodyWrote(t *testing.T) {
	for _, text := range []string{`\`, `a\x`, `\f`, `\-1`} {
		if s, err := unescaped(text); err == nil {
			t.Errorf("%q was read as %q", text, s)
		}
	}
}
