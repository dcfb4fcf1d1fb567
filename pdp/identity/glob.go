package identity

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// checkGlob refuses what other glob dialects give a meaning that this one does
// not, so that nobody believes to have scoped a grant when they have not.
func checkGlob(glob string) error {
	if err := checkText(glob); err != nil {
		return fmt.Errorf("the glob %w", err)
	}
	if strings.ContainsAny(glob, `[]{}\`) {
		return errors.New(`only * and ? have a meaning in a glob; [ ] { } and \ cannot be used`)
	}
	return nil
}

// matchGlob reports whether the whole name matches. On a mismatch only the
// last * is tried again, one character further: an earlier one can not do
// better, so the time is bounded by the product of the two lengths.
func matchGlob(glob, name string) bool {
	star, retry := -1, 0 // where to go on after the last *, in glob and name
	g, n := 0, 0
	for n < len(name) {
		_, width := utf8.DecodeRuneInString(name[n:])
		switch {
		case g < len(glob) && glob[g] == '*':
			star, retry = g+1, n
			g++
		case g < len(glob) && glob[g] == '?':
			g++
			n += width
		case g < len(glob) && glob[g] == name[n]:
			g++
			n++
		case star >= 0:
			_, width := utf8.DecodeRuneInString(name[retry:])
			retry += width
			g, n = star, retry
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}
