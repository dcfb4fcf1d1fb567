package mcp

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// appendFold appends the form of a decoded member name under which two names
// count as the same one: Unicode simple case folding of the composed form
// (NFC), with '_' and '-' left out. Readers that bind JSON to declared fields
// use this relation or a finer one: encoding/json folds case, json/v2 also
// ignores the two separators, and to Swift strings are equal when they are
// canonically equivalent.
func appendFold(dst, name []byte) []byte {
	from := len(dst)
	for _, c := range name {
		if c >= utf8.RuneSelf {
			return appendFoldUnicode(dst[:from], name)
		}
		dst = appendFoldASCII(dst, c)
	}
	return dst
}

func appendFoldASCII(dst []byte, c byte) []byte {
	switch {
	case c == '_' || c == '-':
		return dst
	case 'a' <= c && c <= 'z':
		c -= 'a' - 'A'
	}
	return append(dst, c)
}

func appendFoldUnicode(dst, name []byte) []byte {
	if !norm.NFC.IsNormal(name) {
		name = norm.NFC.Bytes(name)
	}
	for i := 0; i < len(name); {
		if name[i] < utf8.RuneSelf {
			dst = appendFoldASCII(dst, name[i])
			i++
			continue
		}
		r, n := utf8.DecodeRune(name[i:])
		i += n
		dst = utf8.AppendRune(dst, foldRune(r))
	}
	return dst
}

// foldRune returns the smallest rune of r's folding orbit.
func foldRune(r rune) rune {
	switch r {
	case 'İ', 'ı':
		// No simple folding joins these with I, but readers that compare by
		// lower or upper case (Java's equalsIgnoreCase) do.
		return 'I'
	}
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}

// hasControl reports whether s has a C0 or C1 control character or DEL.
func hasControl[S ~string | ~[]byte](s S) bool {
	for i := range len(s) {
		c := s[i]
		// U+0080 to U+009F are C2 80 to C2 9F.
		if c < ' ' || c == 0x7f || c == 0xc2 && i+1 < len(s) && s[i+1] < 0xa0 {
			return true
		}
	}
	return false
}
