package quota

import (
	"errors"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseAmount(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "-0": "0", "0.0": "0", "-0.000e99": "0", "0e999999999999999999999": "0",
		"1": "1", "10": "10", "1.50": "1.5", "0.99": "0.99", "1e2": "100", "1E+2": "100", "125e-2": "1.25", "0.00012e3": "0.12",
		"9007199254740993": "9007199254740993", "0.1": "0.1",
		"999999999999999999.999999999999999999": "999999999999999999.999999999999999999",
		"0.000000000000000001":                  "0.000000000000000001",
		"1e-18":                                 "0.000000000000000001",
		"1e17":                                  "100000000000000000",
		"1.0000000000000000000000000":           "1",
		"0.0000000000000000000000010e24":        "1",
	} {
		got, err := ParseAmount(text)
		if err != nil || got.String() != want {
			t.Errorf("%s: %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestI7_WhatIsNoAmountIsRefusedWithAReason(t *testing.T) {
	const negative, large, fine, none = "must not be negative (", "must not have more than 18 digits before the point (",
		"must not have more than 18 digits after the point (", "must be a number ("
	for text, want := range map[string]string{
		"-1": negative + "-1)", "-1000": negative, "-1e400": negative, "-0.000001": negative,
		"1e400": large + "1e400)", "1e18": large, "1000000000000000000": large, "1e99999999999999999999": large,
		"0.0000000000000000001": fine, "1e-19": fine, "1e-400": fine, "123456789012345678.1234567890123456789": fine,
		"": none, "NaN": none, "Infinity": none, "-": none, "+1": none, "01": none, ".5": none, "1.": none, "1e": none, "1e+": none,
		"0x10": none, "1_000": none, " 1": none, "1 ": none, "1,5": none, `"10"`: none, "null": none, "١": none,
		strings.Repeat("1", maxAmountText+1): none + strings.Repeat("1", 40) + "…)",
		"1\x1b[31m":                          none + "1?[31m)",
	} {
		got, err := ParseAmount(text)
		if !errors.Is(err, ErrAmount) || !got.IsZero() || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.50q: %v, %v; want %s", text, got, err, want)
		}
	}
}

// 0.99 three times is 2.97: a float would make it 2.9699999999999998.
func TestI7_AmountsAddUpExactly(t *testing.T) {
	sum := Amount{}
	for range 3 {
		sum, _ = sum.add(amount("0.99"))
	}
	if sum.String() != "2.97" {
		t.Errorf("sum %v", sum)
	}
	if rest := amount("2.97").less(sum); !rest.IsZero() {
		t.Errorf("rest %v", rest)
	}
}

// text draws a JSON number that is an amount.
func text(t *rapid.T) string {
	whole := rapid.StringMatching(`0|[1-9][0-9]{0,17}`).Draw(t, "whole")
	fraction := rapid.StringMatching(`|\.[0-9]{1,18}`).Draw(t, "fraction")
	return whole + fraction
}

func rat(s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		panic(s)
	}
	return r
}

func TestAmountsAreRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := text(t), text(t)
		x, y := amount(a), amount(b)
		if rat(x.String()).Cmp(rat(a)) != 0 {
			t.Fatalf("%s became %v", a, x)
		}
		if x.Cmp(y) != rat(a).Cmp(rat(b)) || (x == y) != (rat(a).Cmp(rat(b)) == 0) {
			t.Fatalf("%v <> %v: %d", x, y, x.Cmp(y))
		}
		sum, ok := x.add(y)
		if !ok || rat(sum.String()).Cmp(new(big.Rat).Add(rat(a), rat(b))) != 0 {
			t.Fatalf("%v + %v = %v", x, y, sum)
		}
		if rest := sum.less(y); rest != x {
			t.Fatalf("%v - %v = %v", sum, y, rest)
		}
		if x.Cmp(y) < 0 && !x.less(y).IsZero() {
			t.Fatalf("%v - %v = %v", x, y, x.less(y))
		}
		if fromBig(x.big()) != x {
			t.Fatalf("%v as an integer is %v", x, x.big())
		}
		r := reader{rest: appendAmount(nil, x)}
		if got := r.amount(); got != x || r.bad || len(r.rest) > 0 {
			t.Fatalf("%v is read as %v", x, got)
		}
	})
}

func FuzzParseAmount(f *testing.F) {
	for _, s := range []string{"0", "-1", "0.99", "9007199254740993", "1e2", "1e400", "1e-400", "12.5E+3", "01", "1e", "-0e9", "\"10\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAmount(s)
		if err != nil {
			if !errors.Is(err, ErrAmount) || a != (Amount{}) || len(err.Error()) > 200 {
				t.Fatalf("%q: %v, %v", s, a, err)
			}
			return
		}
		if _, exponent, _ := strings.Cut(strings.ToLower(s), "e"); len(exponent) > 5 {
			return // big.Rat would take long: only zero gets here
		}
		want, ok := new(big.Rat).SetString(s)
		if !ok || want.Sign() < 0 || rat(a.String()).Cmp(want) != 0 {
			t.Fatalf("%q is %v", s, a)
		}
		again, err := ParseAmount(a.String())
		if err != nil || again != a {
			t.Fatalf("%q is %v, and that is %v, %v", s, a, again, err)
		}
	})
}
