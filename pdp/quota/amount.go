package quota

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"strings"
)

// Digits is how many digits an amount has at most on either side of the point.
const Digits = 18

// Amount is an exact decimal that is not negative. The zero value is 0, and
// amounts may be compared with ==.
type Amount struct {
	hi, lo uint64 // 128 bits: how many times 10^-18
}

// one is the amount 1, in units of 10^-18.
const one = 1_000_000_000_000_000_000

// mostAmount stands for every sum beyond it: no limit is as much.
var mostAmount = Amount{^uint64(0), ^uint64(0)}

// Count is n as an amount.
func Count(n uint32) Amount {
	hi, lo := bits.Mul64(uint64(n), one)
	return Amount{hi, lo}
}

// ErrAmount says that a text is no amount. The error that wraps it says why, so
// that it reads on after the name of what was to be an amount: "cost must not
// be negative (-5)".
var ErrAmount = errors.New("not an amount")

// amountError keeps ErrAmount out of the text.
type amountError string

func (e amountError) Error() string        { return string(e) }
func (e amountError) Is(target error) bool { return target == ErrAmount }

// maxAmountText bounds what is read; a number in a frame is no longer.
const maxAmountText = 4096

// ParseAmount reads a JSON number. Nothing is rounded: what has more than
// [Digits] digits on a side of the point, zeros at the ends aside, is an error,
// as is what is negative. All its errors are ErrAmount.
func ParseAmount(s string) (Amount, error) {
	n, ok := scanNumber(s)
	switch {
	case !ok:
		return Amount{}, amountError(fmt.Sprintf("must be a number (%s)", brief(s)))
	case n.digits == "":
		return Amount{}, nil // zero, whatever its sign and exponent
	case n.negative:
		return Amount{}, amountError(fmt.Sprintf("must not be negative (%s)", brief(s)))
	case n.exponent+len(n.digits) > Digits:
		return Amount{}, amountError(fmt.Sprintf("must not have more than %d digits before the point (%s)", Digits, brief(s)))
	case n.exponent < -Digits:
		return Amount{}, amountError(fmt.Sprintf("must not have more than %d digits after the point (%s)", Digits, brief(s)))
	}
	v, _ := new(big.Int).SetString(n.digits+strings.Repeat("0", n.exponent+Digits), 10)
	return fromBig(v), nil
}

// number is digits, an integer without zeros at its ends, times 10^exponent.
type number struct {
	negative bool
	digits   string // "" is zero
	exponent int
}

// scanNumber reads the grammar of RFC 8259.
func scanNumber(s string) (n number, ok bool) {
	if len(s) > maxAmountText {
		return n, false
	}
	rest, negative := strings.CutPrefix(s, "-")
	whole, rest := leadingDigits(rest)
	if whole == "" || len(whole) > 1 && whole[0] == '0' {
		return n, false
	}
	fraction := ""
	if after, point := strings.CutPrefix(rest, "."); point {
		if fraction, rest = leadingDigits(after); fraction == "" {
			return n, false
		}
	}
	exponent, ok := scanExponent(rest)
	if !ok {
		return n, false
	}
	digits := strings.TrimLeft(whole+fraction, "0")
	exponent -= len(fraction)
	trimmed := strings.TrimRight(digits, "0")
	return number{negative, trimmed, exponent + len(digits) - len(trimmed)}, true
}

// farExponent stands for every exponent beyond it: no text that is read has
// enough digits to bring the number back.
const farExponent = 4 * maxAmountText

func scanExponent(s string) (exponent int, ok bool) {
	if s == "" {
		return 0, true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return 0, false
	}
	s = s[1:]
	minus := strings.HasPrefix(s, "-")
	if minus || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	digits, rest := leadingDigits(s)
	if digits == "" || rest != "" {
		return 0, false
	}
	for _, d := range []byte(digits) {
		exponent = min(exponent*10+int(d-'0'), farExponent)
	}
	if minus {
		exponent = -exponent
	}
	return exponent, true
}

func leadingDigits(s string) (digits, rest string) {
	rest = strings.TrimLeft(s, "0123456789")
	return s[:len(s)-len(rest)], rest
}

// brief is the text as a message shows it.
func brief(s string) string {
	const most = 40
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), most)])
	if len(s) > most {
		plain += "…"
	}
	return plain
}

// String returns the shortest decimal: no exponent, no zeros at the end.
func (a Amount) String() string {
	digits := a.big().String()
	if len(digits) <= Digits {
		digits = strings.Repeat("0", Digits+1-len(digits)) + digits
	}
	point := len(digits) - Digits
	return strings.TrimRight(strings.TrimRight(digits[:point]+"."+digits[point:], "0"), ".")
}

// IsZero says whether a is 0.
func (a Amount) IsZero() bool { return a == Amount{} }

// Cmp is negative, 0 or positive as a is less than, equal to or greater than b.
func (a Amount) Cmp(b Amount) int {
	switch {
	case a == b:
		return 0
	case a.hi < b.hi || a.hi == b.hi && a.lo < b.lo:
		return -1
	default:
		return 1
	}
}

// add says not ok when the sum has no room in an amount.
func (a Amount) add(b Amount) (sum Amount, ok bool) {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, carry := bits.Add64(a.hi, b.hi, carry)
	return Amount{hi, lo}, carry == 0
}

// less returns a-b, and 0 where b is more.
func (a Amount) less(b Amount) Amount {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, borrow := bits.Sub64(a.hi, b.hi, borrow)
	if borrow != 0 {
		return Amount{}
	}
	return Amount{hi, lo}
}

// big returns a in units of 10^-18.
func (a Amount) big() *big.Int {
	v := new(big.Int).SetUint64(a.hi)
	return v.Lsh(v, 64).Or(v, new(big.Int).SetUint64(a.lo))
}

// fromBig returns mostAmount for what is larger.
func fromBig(v *big.Int) Amount {
	if v.BitLen() > 128 {
		return mostAmount
	}
	lo := new(big.Int).And(v, new(big.Int).SetUint64(^uint64(0)))
	return Amount{new(big.Int).Rsh(v, 64).Uint64(), lo.Uint64()}
}
