package audit

import (
	"encoding/base64"
	"math"
	"strings"
)

// byteRange is a range of bytes.
type byteRange struct{ from, to int }

// care says how much a text is suspected.
type care uint8

const (
	// identifier: only what is a credential by its own form. Identifiers must not
	// be altered for looking like `token:alice`.
	identifier care = iota
	// prose: also what is called a secret by the words before it.
	prose
)

// secretsIn returns the ranges of s that look like secrets, ascending and apart.
func secretsIn(s string, c care, own sensitiveNames) []byteRange {
	var found []byteRange
	for i := 0; i < len(s); {
		var r byteRange
		switch b := s[i]; {
		case letterOrDigit(b):
			word := i + 1
			for word < len(s) && letterOrDigit(s[word]) {
				word++
			}
			if r = credential(s, i, c); r.to == 0 && strings.HasPrefix(s[word:], "_") && strings.HasSuffix(s[i:word], grantMark) { // anywhere in a word
				r = byteRange{word - len(grantMark), word + 1 + run(s[word+1:], tokenByte)}
			}
			i = word
		case b == '-':
			if n := privateKey(s[i:]); n > 0 {
				r = byteRange{i, i + n}
			} else if c == prose {
				r = flagged(s, i, own)
			}
			i++
		case (b == '=' || b == ':') && c == prose:
			r = assigned(s, i, own)
			i++
		default:
			i++
		}
		if r.to > r.from {
			found = append(found, r)
			i = r.to
		}
	}
	return found
}

// credential finds what the word at i begins: a credential, or a scheme with one behind it.
func credential(s string, i int, c care) byteRange {
	n := 0
	switch s[i] {
	case 'e':
		n = jwt(s[i:])
	case 'b', 'B':
		if c == prose {
			return scheme(s, i)
		}
	}
	if n == 0 && i+1 < len(s) && issuedSeconds[s[i]]>>(s[i+1]&31)&1 != 0 {
		n = issuedLen(s[i:])
	}
	if n == 0 {
		return byteRange{}
	}
	return byteRange{i, i + n}
}

// jwt returns the length of a JSON Web Token or a sealed one at the start of s.
func jwt(s string) int {
	if !strings.HasPrefix(s, "eyJ") {
		return 0
	}
	n := run(s, func(b byte) bool { return b == '.' || urlByte(b) })
	parts := strings.Split(s[:n], ".")
	if len(parts) < 3 || len(parts[0]) < 10 || len(parts[1])+len(parts[2]) < 10 {
		return 0
	}
	return n
}

// privateKey returns the length of a PEM private key at the start of s. One
// without an end goes on to the end of the text.
func privateKey(s string) int {
	const open, mark = "-----BEGIN ", "PRIVATE KEY"
	if !strings.HasPrefix(s, open) {
		return 0
	}
	head := s[len(open):min(len(s), len(open)+64)]
	label, _, ok := strings.Cut(head, "-----")
	if !ok || !strings.Contains(label, mark) {
		return 0
	}
	end := "-----END " + label + "-----"
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

// scheme finds the credential after an authentication scheme at i.
func scheme(s string, i int) byteRange {
	for _, name := range []string{"bearer", "basic"} {
		end := i + len(name)
		if len(s) <= end || !strings.EqualFold(s[i:end], name) || s[end] != ' ' {
			continue
		}
		from := end + run(s[end:], func(b byte) bool { return b == ' ' })
		to := from + run(s[from:], func(b byte) bool { return tokenByte(b) || strings.IndexByte(".~+/=", b) >= 0 })
		if value := s[from:to]; name == "basic" && basic(value) || name == "bearer" && len(value) >= 16 {
			return byteRange{from, to}
		}
	}
	return byteRange{}
}

// basic reports whether value is user:password in base64.
func basic(value string) bool {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
	return err == nil && strings.IndexByte(string(b), ':') >= 0
}

// userinfo finds the password in a URL whose authority begins at i.
func userinfo(s string, i int) byteRange {
	n := run(s[i:], func(b byte) bool { return b > ' ' && strings.IndexByte(`/?#"'<>\`, b) < 0 })
	at := strings.LastIndexByte(s[i:i+n], '@')
	if at < 0 {
		return byteRange{}
	}
	if colon := strings.IndexByte(s[i:i+at], ':'); colon >= 0 {
		return byteRange{i + colon + 1, i + at}
	}
	if at >= 16 { // a token in the place of the user
		return byteRange{i, i + at}
	}
	return byteRange{}
}

// assigned finds the value after the separator at i when a secret's name stands
// before it: password=x, "password": "x", X-Api-Key: x, ?access_token=x; or, after
// the colon of ://, the password of a URL.
func assigned(s string, i int, own sensitiveNames) byteRange {
	if strings.HasPrefix(s[i:], "://") {
		return userinfo(s, i+3)
	}
	end := i
	for end > 0 && (s[end-1] == '"' || s[end-1] == '\'' || s[end-1] == '\\' || s[end-1] == ' ') && i-end < 4 {
		end--
	}
	start := end
	for start > 0 && end-start < 64 && nameByte(s[start-1]) {
		start--
	}
	if own.of(s[start:end]) != secret {
		return byteRange{}
	}
	from := i + 1
	from += run(s[from:], func(b byte) bool { return strings.IndexByte(" \t=>~", b) >= 0 })
	if strings.Contains(strings.ToLower(s[start:end]), "cookie") { // a list of pairs
		return byteRange{from, from + run(s[from:], func(b byte) bool { return b >= ' ' && b != '"' && b != '\'' })}
	}
	return value(s, from)
}

// flagged finds the value after the flag that begins at i, if one does: --token x.
func flagged(s string, i int, own sensitiveNames) byteRange {
	if !strings.HasPrefix(s[i:], "--") || i > 0 && strings.IndexByte(" \t\n\"'", s[i-1]) < 0 {
		return byteRange{}
	}
	end := i + run(s[i:], nameByte)
	if end == len(s) || s[end] != ' ' || own.of(s[i:end]) != secret {
		return byteRange{}
	}
	return value(s, end+run(s[end:], func(b byte) bool { return b == ' ' }))
}

// value is the quoted or unquoted value at from, without its quotes. After the
// name of an authentication scheme the value is what follows that.
func value(s string, from int) byteRange {
	escaped := run(s[from:], func(b byte) bool { return b == '\\' }) // quotes within a quoted text
	if at := from + escaped; at < len(s) && (s[at] == '"' || s[at] == '\'') {
		return byteRange{at + 1, closing(s, at, escaped > 0)}
	}
	to := from + run(s[from:], func(b byte) bool { return b > ' ' && strings.IndexByte(`,;&"'<>)]}`, b) < 0 })
	switch word := s[from:to]; {
	case word == "null" || word == "true" || word == "false":
		return byteRange{}
	case to+1 < len(s) && s[to] == ' ' && (strings.EqualFold(word, "bearer") || strings.EqualFold(word, "basic") || strings.EqualFold(word, "token")):
		return value(s, to+1)
	}
	return byteRange{from, to}
}

// closing returns where the text that was opened by the quote at i ends: before the
// next such quote that is escaped as the opening one was, or not.
func closing(s string, i int, escaped bool) int {
	for to := i + 1; to < len(s); to++ {
		switch {
		case s[to] == s[i]:
			return to
		case s[to] == '\\' && escaped:
			return to
		case s[to] == '\\':
			to++
		}
	}
	return len(s)
}

// random reports whether a whole string looks like a generated secret: one word
// of at least 20 characters, digits and letters, at least 3 bits of entropy a
// character, and no UUID.
func random(s string) bool {
	if len(s) < 20 || len(s) > 4096 || isUUID(s) || !mixed(s) {
		return false
	}
	slash, pad := false, false
	var count [256]int
	for i := range len(s) {
		b := s[i]
		count[b]++
		switch {
		case b == '/':
			slash = true
		case b == '+' || b == '=':
			pad = true
		case !tokenByte(b) && b != '~' && b != '.':
			return false
		}
	}
	if slash && !pad { // a path, more likely
		return false
	}
	bits := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(s))
			bits -= p * math.Log2(p)
		}
	}
	return bits >= 3
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (s[i] == '-') {
			return false
		}
	}
	return true
}

// run returns how many bytes of s, from its start, satisfy is.
func run(s string, is func(byte) bool) int {
	for i := range len(s) {
		if !is(s[i]) {
			return i
		}
	}
	return len(s)
}

func letterOrDigit(b byte) bool {
	return 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9'
}

func urlByte(b byte) bool { return letterOrDigit(b) || b == '-' || b == '_' }

// tokenByte: what issued credentials are made of, dots within included.
func tokenByte(b byte) bool { return urlByte(b) || b == '.' }

// nameByte: what names of members, variables, headers and flags are made of.
func nameByte(b byte) bool { return urlByte(b) || b == '.' }

// mixed reports whether s has digits and letters.
func mixed(s string) bool {
	digit := func(b byte) bool { return '0' <= b && b <= '9' }
	return has(s, digit) && has(s, func(b byte) bool { return letterOrDigit(b) && !digit(b) })
}

// hasCase reports whether s has capitals and small letters.
func hasCase(s string) bool {
	return has(s, func(b byte) bool { return 'a' <= b && b <= 'z' }) && has(s, func(b byte) bool { return 'A' <= b && b <= 'Z' })
}

func has(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if is(s[i]) {
			return true
		}
	}
	return false
}
