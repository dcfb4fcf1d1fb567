package identity

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTokenForm(t *testing.T) {
	// The expression that the documentation gives to secret scanners.
	scanner := regexp.MustCompile(`^mcpg_[0-9A-Za-z]{65}$`)
	seen := map[string]bool{}
	for range 1000 {
		id, token := newToken()
		if !scanner.MatchString(token) {
			t.Fatalf("a scanner would not find a token of %d bytes", len(token))
		}
		if got, ok := parseToken(token); !ok || got != id {
			t.Fatalf("parsed id %q, %v; want %q", got, ok, id)
		}
		if seen[id] || seen[token] {
			t.Fatal("a token was made twice")
		}
		seen[id], seen[token] = true, true
	}
}

// The form is fixed: tokens in use must parse with every later version.
func TestTokenOfTheFirstVersion(t *testing.T) {
	const token = "mcpg_0123456789ABCDEF" + "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
	id, ok := parseToken(token + checksum(token))
	if !ok || id != "0123456789ABCDEF" {
		t.Fatalf("%q, %v", id, ok)
	}
	if got := checksum(token); got != "26AXkv" {
		t.Errorf("checksum %q: it is CRC-32 (IEEE), in base 62 with 0-9 A-Z a-z", got)
	}
}

// The secret alone has 256 bits: 62^43 > 2^256.
func TestSecretIsLongEnough(t *testing.T) {
	if secretLen < 43 {
		t.Errorf("%d base-62 digits are less than 256 bits", secretLen)
	}
	counts := map[byte]int{}
	const digits = 62 * 2000
	for _, c := range []byte(randomBase62(digits)) {
		counts[c]++
	}
	if len(counts) != 62 {
		t.Fatalf("%d different digits, want 62", len(counts))
	}
	for c, n := range counts {
		// 2000 are expected, with a standard deviation of 44; a modulo bias would
		// give some digits 2500.
		if n < 1700 || n > 2300 {
			t.Errorf("digit %q came %d times, want about 2000", c, n)
		}
	}
}

// Whatever single character is changed, the token is refused before anything
// is looked up.
func TestTokenChecksumFindsEveryChange(t *testing.T) {
	_, token := newToken()
	for i := range len(token) {
		for _, c := range []byte(base62Digits + "_-. \x00\xff") {
			if c == token[i] {
				continue
			}
			changed := token[:i] + string([]byte{c}) + token[i+1:]
			if _, ok := parseToken(changed); ok {
				t.Fatalf("accepted with %q in place %d", c, i)
			}
		}
	}
}

func TestMalformedTokens(t *testing.T) {
	_, token := newToken()
	for name, s := range map[string]string{
		"empty":           "",
		"prefix":          "mcpg_",
		"cut":             token[:len(token)-1],
		"longer":          token + "0",
		"space before":    " " + token,
		"newline after":   token + "\n",
		"other prefix":    "mcpx_" + token[5:],
		"upper case":      strings.ToUpper(token),
		"scheme":          "Bearer " + token,
		"twice":           token + token,
		"somebody else's": "ghp_0123456789012345678901234567890123456789",
	} {
		if _, ok := parseToken(s); ok {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTokenMatchesOnlyItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		token, other := rapid.String().Draw(t, "token"), rapid.String().Draw(t, "other")
		if got := sameDigest(digestOf(other), digestOf(token)); got != (token == other) {
			t.Fatalf("matches: %v", got)
		}
	})
}

// FuzzToken holds that what parses is exactly of the documented form, with the
// right checksum, and that nothing panics.
func FuzzToken(f *testing.F) {
	_, token := newToken()
	f.Add(token)
	f.Add(token[:len(token)-1])
	f.Add(strings.Repeat("mcpg_", 14))
	f.Add("mcpg_" + strings.Repeat("0", 65))
	f.Add("mcpg_" + strings.Repeat("é", 32) + "0")
	form := regexp.MustCompile(`^mcpg_[0-9A-Za-z]{65}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		// Behind any body the right checksum is accepted, if the body is of the form.
		for _, candidate := range []string{s, s + checksum(s)} {
			id, ok := parseToken(candidate)
			want := form.MatchString(candidate) && checksum(candidate[:len(candidate)-6]) == candidate[len(candidate)-6:]
			if ok != want {
				t.Fatalf("%q: parsed %v, want %v", candidate, ok, want)
			}
			if ok && id != candidate[5:21] {
				t.Fatalf("%q: id %q", candidate, id)
			}
		}
	})
}
