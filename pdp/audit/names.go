package audit

import (
	"strings"
	"unicode"
)

// sensitivity says what the name of a member tells of its value.
type sensitivity uint8

const (
	plain  sensitivity = iota
	hint               // a value that looks random is a secret
	secret             // any value is a secret
)

// sensitiveNames are names of secrets beside those that are built in, as join
// makes them.
type sensitiveNames map[string]bool

func newSensitiveNames(names []string) sensitiveNames {
	set := sensitiveNames{}
	for _, n := range names {
		set[strings.Join(words(n), "")] = true
	}
	return set
}

// secretWords make a name secret wherever they stand in it as a word.
var secretWords = set("password", "passwords", "passwd", "passphrase", "passcode", "pwd",
	"secret", "secrets", "credential", "credentials", "authorization", "apikey", "apikeys",
	"accesskey", "privatekey", "secretkey", "cookie", "cookies", "jwt", "bearer")

// secretLast make a name secret as its last word.
var secretLast = set("token", "pin", "otp", "totp", "cvv", "cvc", "cvv2")

// secretParts make a name secret anywhere in it, words or not: dbpassword, AUTHTOKEN.
var secretParts = []string{
	"password", "passwd", "passphrase", "apikey", "accesskey", "privatekey",
	"signingkey", "encryptionkey", "masterkey", "accountkey", "sshkey", "sessionkey",
	"authtoken", "accesstoken", "refreshtoken", "bearertoken", "credential",
}

// hintLast make a name a hint as its last word.
var hintLast = set("key", "keys", "auth", "tokens", "session", "sid", "signature", "code", "sessionid")

// describing words at the end turn the name of a secret into that of a fact about it.
var describing = set("id", "ids", "name", "names", "type", "types", "policy", "length", "size", "count",
	"limit", "expires", "expiry", "expiration", "at", "ttl", "status", "enabled", "required", "version",
	"arn", "label", "description", "hint", "field", "endpoint", "url", "uri", "path", "file")

// paging words before "token" make it a place in a listing.
var paging = set("page", "next", "continue", "continuation", "progress", "sync", "cursor", "start", "marker")

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// of classifies a member name, a header name, a flag or a variable.
func (own sensitiveNames) of(name string) sensitivity {
	if len(name) > 128 || len(own) == 0 && !maybe(name) {
		return plain
	}
	ws := words(name)
	if len(ws) == 0 {
		return plain
	}
	joined, last := strings.Join(ws, ""), ws[len(ws)-1]
	if own[joined] {
		return secret
	}
	found := secretLast[last] && !(len(ws) > 1 && paging[ws[len(ws)-2]]) || strings.HasSuffix(joined, "secret")
	for _, w := range ws {
		found = found || secretWords[w]
	}
	for _, p := range secretParts {
		found = found || strings.Contains(joined, p)
	}
	switch {
	case found && len(ws) > 1 && describing[last]:
		return hint
	case found:
		return secret
	case hintLast[last]:
		return hint
	}
	return plain
}

// starts has the first three letters of every word and part above, 5 bits each.
var starts = func() (has [1 << 15]bool) {
	for _, words := range []map[string]bool{secretWords, secretLast, hintLast} {
		for w := range words {
			has[letters(w)] = true
		}
	}
	for _, p := range secretParts {
		has[letters(p)] = true
	}
	return has
}()

func letters(w string) (n int) {
	for i := range 3 {
		n = n<<5 | int(w[i]&31)
	}
	return n
}

// maybe rules out, cheaply, most names that are plain: those without the first
// letters of any word that counts.
func maybe(name string) bool {
	n, seen := 0, 0
	for i := range len(name) {
		b := name[i]
		switch {
		case 'a' <= b|0x20 && b|0x20 <= 'z':
			n, seen = (n<<5|int(b&31))&(1<<15-1), seen+1
			if seen >= 3 && starts[n] {
				return true
			}
		case b >= 0x80:
			return true
		}
	}
	return false
}

// words splits a name at what is no letter or digit, and at humps, and lowers it;
// digits at a word's end are dropped: "X-API-Key2" → x, api, key.
func words(name string) []string {
	var out []string
	rs := []rune(name)
	start := -1
	flush := func(end int) {
		if start >= 0 {
			if w := strings.TrimRight(strings.ToLower(string(rs[start:end])), "0123456789"); w != "" {
				out = append(out, w)
			}
		}
		start = -1
	}
	for i, r := range rs {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush(i)
			continue
		case start >= 0 && hump(rs, i):
			flush(i)
		}
		if start < 0 {
			start = i
		}
	}
	flush(len(rs))
	return out
}

// hump reports whether a word begins at rs[i], which is inside of a run of letters.
func hump(rs []rune, i int) bool {
	if !unicode.IsUpper(rs[i]) {
		return false
	}
	return !unicode.IsUpper(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1])
}
