package credential

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestNoTwoBindingsAreTheSameBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune{'a', 'b', 0, 1, 2, '/', 'ä'}), 0, 4, -1)
		draw := func(label string) (Key, int64) {
			return Key{Kind: text.Draw(t, label), Name: text.Draw(t, label), Holder: text.Draw(t, label)}, rapid.Int64Range(1, 3).Draw(t, label)
		}
		k, g := draw("one")
		l, h := draw("other")
		if same := k == l && g == h; bytes.Equal(binding(k, g), binding(l, h)) != same {
			t.Errorf("%q %d and %q %d", k, g, l, h)
		}
	})
}
