package approval

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// DigestArguments returns the SHA-256 over the canonical form (RFC 8785) of a
// call's arguments, so that spelling does not count: white space, escapes, the
// order of members, 1.0 and 1. Absent arguments and {} are different calls.
//
// RFC 8785 writes numbers as float64 reads them, which would give two large
// integers the same digest. Arguments with a number that float64 changes keep
// all their numbers as sent; since no canonical form contains such a number, the
// two kinds never meet.
func DigestArguments(arguments []byte) (Digest, error) {
	if len(arguments) == 0 {
		return sha256.Sum256(nil), nil
	}
	exact, err := float64Exact(arguments)
	if err != nil {
		return Digest{}, fmt.Errorf("arguments are not strict JSON: %w", err)
	}
	canonical := jsontext.Value(arguments).Clone()
	err = canonical.Canonicalize(jsontext.CanonicalizeRawInts(exact), jsontext.CanonicalizeRawFloats(exact))
	if err != nil {
		return Digest{}, fmt.Errorf("arguments are not strict JSON: %w", err)
	}
	return sha256.Sum256(canonical), nil
}

// float64Exact reports whether reading every number of b as a float64 keeps
// its value.
func float64Exact(b []byte) (bool, error) {
	dec := jsontext.NewDecoder(strings.NewReader(string(b)))
	exact := true
	for {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return exact, nil
		}
		if err != nil {
			return false, err
		}
		if tok.Kind() == '0' && exact {
			exact = numberExact(tok.String())
		}
	}
}

// numberExact compares a number with what RFC 8785 would write for it, as
// decimals.
func numberExact(sent string) bool {
	canonical := jsontext.Value(sent)
	if canonical.Canonicalize() != nil {
		return false
	}
	return decimalOf(sent) == decimalOf(string(canonical))
}

// decimal is a number as sign, digits without zeros at either end, and the
// power of ten of the last digit. Zero has no digits, whatever its sign.
type decimal struct {
	negative bool
	digits   string
	exponent int
}

func decimalOf(s string) decimal {
	var d decimal
	s, d.negative = strings.CutPrefix(s, "-")
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa = s[:i]
		exponent = clampedInt(s[i+1:])
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	d.digits = strings.TrimRight(digits, "0")
	if d.digits == "" {
		return decimal{}
	}
	d.exponent = exponent - len(fraction) + len(digits) - len(d.digits)
	return d
}

// clampedInt reads an exponent; one beyond any float64 stays beyond.
func clampedInt(s string) int {
	s, negative := strings.CutPrefix(strings.TrimPrefix(s, "+"), "-")
	const beyond = 1 << 30
	n := 0
	for _, c := range s {
		n = min(n*10+int(c-'0'), beyond)
	}
	if negative {
		return -n
	}
	return n
}
