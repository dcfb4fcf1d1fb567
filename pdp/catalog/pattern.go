package catalog

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Bounds on regular expressions. A repetition such as a{1000} is cheap to write
// and is a thousand instructions; so they are counted before they are made.
const (
	maxPatternLen  = 4096
	maxProgramSize = 10_000 // instructions of one expression
	maxPrograms    = 50_000 // and of all in one schema
)

// pattern is a regular expression of a schema. Schemas are written for
// ECMA-262's backtracking engines; here they run on RE2, in time linear in the
// text. What RE2 lacks is made up for where it can be without loss: look-aheads
// directly after a leading ^, as in ^(?!\.)[a-z.]+$, are expressions of their
// own that must, or must not, match.
//
// An expression that still cannot be run (look-behind, back-references) does
// not spoil the schema, only the calls whose arguments it would have to judge:
// they cannot be checked. It neither matches nor mismatches, since one of the
// two always opens something.
type pattern struct {
	source  string
	match   []*regexp.Regexp // all of them must
	exclude []*regexp.Regexp // none of them may
	size    int              // instructions
	err     error            // why it cannot be run
	meter   *meter
}

func newPattern(source string, m *meter) *pattern {
	p := &pattern{source: source, meter: m}
	p.err = p.compile()
	return p
}

func (p *pattern) String() string { return p.source }

// MatchString ends the evaluation when the expression cannot be run.
func (p *pattern) MatchString(s string) bool {
	if p.err != nil {
		panic(stop("a regular expression of the inputSchema cannot be run: " + p.err.Error()))
	}
	p.meter.spend(1 + len(s)*p.size/64)
	for _, re := range p.exclude {
		if re.MatchString(s) {
			return false
		}
	}
	for _, re := range p.match {
		if !re.MatchString(s) {
			return false
		}
	}
	return true
}

func (p *pattern) compile() error {
	if len(p.source) > maxPatternLen {
		return errors.New("it is too long")
	}
	expr, err := fromECMA(p.source)
	if err != nil {
		return err
	}
	rest, anchored := strings.CutPrefix(expr, "^")
	for anchored && (strings.HasPrefix(rest, "(?=") || strings.HasPrefix(rest, "(?!")) {
		end := closing(rest)
		if end < 0 {
			return errors.New("a group does not end")
		}
		if err := p.add(rest[2] == '!', "^(?:"+rest[3:end]+")"); err != nil {
			return err
		}
		rest = rest[end+1:]
		if alternates(rest) {
			return errors.New("a look-ahead stands before alternatives")
		}
		expr = "^(?:" + rest + ")"
	}
	return p.add(false, expr)
}

// add compiles one expression to run.
func (p *pattern) add(exclude bool, expr string) error {
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return err
	}
	size := programSize(parsed)
	p.size += size
	p.meter.programs += size
	if p.size > maxProgramSize || p.meter.programs > maxPrograms {
		return errors.New("it is too large")
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return err
	}
	if exclude {
		p.exclude = append(p.exclude, re)
	} else {
		p.match = append(p.match, re)
	}
	return nil
}

// programSize is an upper estimate of how many instructions an expression is
// made into; beyond maxPrograms it is not exact.
func programSize(re *syntax.Regexp) int {
	size := 2
	for _, sub := range re.Sub {
		size += programSize(sub)
	}
	switch re.Op {
	case syntax.OpLiteral:
		size += len(re.Rune)
	case syntax.OpRepeat:
		size *= max(1, re.Min+1, re.Max)
	default: // no more than its parts and an instruction or two
	}
	return min(size, maxPrograms+1)
}

// fromECMA rewrites the escapes that mean the same by another spelling, and
// refuses those that Go gives another meaning.
func fromECMA(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '[' && (strings.HasPrefix(s[i:], "[]") || strings.HasPrefix(s[i:], "[^]")) {
			return "", errors.New("an empty class")
		}
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return "", errors.New("it ends in a backslash")
		}
		switch c := s[i]; {
		case c == 'u':
			r, n, err := unicodeEscape(s[i-1:])
			if err != nil {
				return "", err
			}
			b.WriteString(`\x{` + strconv.FormatInt(int64(r), 16) + `}`)
			i += n - 2
		case strings.IndexByte("dDwWsSbBnrtvfxpP", c) >= 0, c < 0x80 && !isAlphanumeric(c):
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '0':
			b.WriteString(`\x{0}`)
		default:
			return "", errors.New(`the escape \` + string(rune(c)))
		}
	}
	return b.String(), nil
}

// unicodeEscape reads \uXXXX, a pair of surrogates \uXXXX\uXXXX, or \u{X…} at
// the start of s, and says how long it is.
func unicodeEscape(s string) (r rune, n int, err error) {
	bad := errors.New(`a \u that is no character`)
	if digits, ok := strings.CutPrefix(s, `\u{`); ok {
		end := strings.IndexByte(digits, '}')
		if end < 0 {
			return 0, 0, bad
		}
		v, err := strconv.ParseUint(digits[:end], 16, 32)
		if err != nil || v > 0x10FFFF || utf16.IsSurrogate(rune(v)) {
			return 0, 0, bad
		}
		return rune(v), len(`\u{`) + end + 1, nil
	}
	unit := func(s string) (rune, bool) {
		if len(s) < 6 || s[:2] != `\u` {
			return 0, false
		}
		v, err := strconv.ParseUint(s[2:6], 16, 32)
		return rune(v), err == nil
	}
	r, ok := unit(s)
	if !ok {
		return 0, 0, bad
	}
	if !utf16.IsSurrogate(r) {
		return r, 6, nil
	}
	low, _ := unit(s[6:])
	if r = utf16.DecodeRune(r, low); r == 0xFFFD {
		return 0, 0, bad
	}
	return r, 12, nil
}

// closing returns the index of the ) that ends the group which s begins with,
// or -1.
func closing(s string) int {
	depth := 0
	end := -1
	walk(s, func(i int, c byte) bool {
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				end = i
				return false
			}
		}
		return true
	})
	return end
}

// alternates reports whether s has a | outside of all groups.
func alternates(s string) bool {
	depth, found := 0, false
	walk(s, func(_ int, c byte) bool {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case '|':
			found = found || depth == 0
		}
		return !found
	})
	return found
}

// walk visits the bytes of an expression that are neither escaped nor in a
// class, until visit says no.
func walk(s string, visit func(i int, c byte) bool) {
	class := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
		case !visit(i, c):
			return
		}
	}
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
