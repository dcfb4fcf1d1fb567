package mcp

import "strconv"

const (
	maxNumber   = 40        // characters of a number
	maxSafeInt  = 1<<53 - 1 // largest integer that every reader keeps (RFC 7493)
	maxExp      = 4         // digits of an exponent
	maxFloatExp = 309       // exponent of the largest float64, as decimal counts
	exactSig    = 15        // decimals of so many digits always survive float64 …
	exactMin    = -290      // … where the exponent keeps them normal
)

// decimal is the value of a JSON number: 0.digits times ten to the power of exp,
// without leading or trailing zeros. No digits: zero.
type decimal struct {
	digits [maxNumber]byte
	n      int
	exp    int
}

// checkNumber applies the rules on numbers to a well-formed JSON number and
// returns the rule that it breaks, or "".
func checkNumber(raw []byte, exact bool) (rule, reason string) {
	if len(raw) > maxNumber {
		return RuleNumberLength, "a number has more than 40 characters"
	}
	var d decimal
	if !d.parse(raw) {
		return RuleNumberRange, "a number's exponent is out of range"
	}
	if d.n == 0 {
		return "", ""
	}
	if d.exp > maxFloatExp {
		return RuleNumberRange, "a number is outside of what float64 can hold"
	}
	if whole := d.exp >= d.n; !exact && whole {
		if !d.safeInteger() {
			return RuleNumberLoss, "an integer is beyond 2^53-1, where readers differ; send it as a string"
		}
		return "", ""
	}
	if d.n <= exactSig && exactMin < d.exp && d.exp <= exactSig {
		return "", ""
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f == 0 {
		return RuleNumberRange, "a number is outside of what float64 can hold"
	}
	if exact {
		return "", ""
	}
	var kept decimal
	var buf [32]byte
	kept.parse(strconv.AppendFloat(buf[:0], f, 'e', -1, 64))
	if kept.exp != d.exp || string(kept.digits[:kept.n]) != string(d.digits[:d.n]) {
		return RuleNumberLoss, "a number has more precision than float64, where readers differ; send it as a string"
	}
	return "", ""
}

// parse reads a well-formed JSON number of at most maxNumber characters. It
// fails when the exponent has more than maxExp digits.
func (d *decimal) parse(raw []byte) bool {
	point, e := -1, len(raw)
	for i, c := range raw {
		switch {
		case c == '.':
			point = d.n
		case '0' <= c && c <= '9':
			d.digits[d.n] = c
			d.n++
		case c == 'e' || c == 'E':
			e = i + 1
		}
		if e < len(raw) {
			break
		}
	}
	if point < 0 {
		point = d.n
	}
	exp, ok := exponent(raw[e:])
	if !ok {
		return false
	}
	d.exp = point + exp
	lead := 0
	for lead < d.n && d.digits[lead] == '0' {
		lead++
	}
	copy(d.digits[:], d.digits[lead:d.n])
	d.n -= lead
	d.exp -= lead
	for d.n > 0 && d.digits[d.n-1] == '0' {
		d.n--
	}
	return true
}

// exponent reads what follows the e of a number; nothing is zero.
func exponent(raw []byte) (int, bool) {
	if len(raw) == 0 {
		return 0, true
	}
	neg := raw[0] == '-'
	if neg || raw[0] == '+' {
		raw = raw[1:]
	}
	for len(raw) > 1 && raw[0] == '0' {
		raw = raw[1:]
	}
	if len(raw) > maxExp {
		return 0, false
	}
	n := 0
	for _, c := range raw {
		n = n*10 + int(c-'0')
	}
	if neg {
		n = -n
	}
	return n, true
}

// safeInteger reports whether d, which is whole and not zero, is at most
// 2^53-1 in amount.
func (d *decimal) safeInteger() bool {
	if d.exp > 16 {
		return false
	}
	v := int64(0)
	for i := range d.exp {
		v *= 10
		if i < d.n {
			v += int64(d.digits[i] - '0')
		}
	}
	return v <= maxSafeInt
}

// isInteger reports whether raw is an integer within the safe range, written
// without a fraction or an exponent, and not as -0.
func isInteger(raw []byte) bool {
	if len(raw) == 0 || len(raw) > len("-9007199254740991") || string(raw) == "-0" {
		return false
	}
	for i, c := range raw {
		if (c < '0' || '9' < c) && (c != '-' || i > 0) {
			return false
		}
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return err == nil && -maxSafeInt <= n && n <= maxSafeInt
}
