// Package inert makes text that others wrote safe to look at, in a terminal and
// on a page: what does not show itself is shown as its code point, so that it can
// neither turn the text around it nor hide in it.
package inert

import (
	"fmt"
	"strings"
	"unicode"
)

// Text is s with control, bidirectional, zero-width and other invisible
// characters written as \u202e. Line breaks and tabs stay.
func Text(s string) string {
	return shown(s, func(r rune) bool { return r != '\n' && r != '\t' && Hidden(r) })
}

// Line is Text for what must stay on its line: line breaks and tabs are written
// out as well.
func Line(s string) string { return shown(s, Hidden) }

// Hidden reports whether a character does not show itself. Those that only
// choose a variant of the one before count, since whole messages fit into them.
func Hidden(r rune) bool {
	return !unicode.IsGraphic(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || r == blankBraille
}

// blankBraille is a symbol without a dot.
const blankBraille = '\u2800'

func shown(s string, hidden func(rune) bool) string {
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
