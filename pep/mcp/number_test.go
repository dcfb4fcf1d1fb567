package mcp

import (
	"math/big"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ number, rule, exact string }{
		{"0", "", ""},
		{"-0", "", ""},
		{"-0.0", "", ""},
		{"0e99", "", ""},
		{"0e99999", RuleNumberRange, RuleNumberRange},
		{"1", "", ""},
		{"1.0", "", ""},
		{"100.00", "", ""},
		{"1e2", "", ""},
		{"1E+2", "", ""},
		{"1e0002", "", ""},
		{"0.1", "", ""},
		{"0.30000000000000004", "", ""},
		{"0.3000000000000000444", RuleNumberLoss, ""},
		{"99.7", "", ""},
		{"123456789012.345", "", ""},
		{"100.00000000000000001", RuleNumberLoss, ""},
		{"9007199254740991", "", ""},
		{"-9007199254740991", "", ""},
		{"9007199254740991.0", "", ""},
		{"900719925474099.1e1", "", ""},
		{"9007199254740992", RuleNumberLoss, ""},
		{"-9007199254740993", RuleNumberLoss, ""},
		{"1e15", "", ""},
		{"1e16", RuleNumberLoss, ""},
		{"1e20", RuleNumberLoss, ""},
		{"1e308", RuleNumberLoss, ""},
		{"1.7976931348623157e308", RuleNumberLoss, ""},
		{"1.7976931348623159e308", RuleNumberLoss, RuleNumberRange},
		{"1e400", RuleNumberRange, RuleNumberRange},
		{"1e-400", RuleNumberRange, RuleNumberRange},
		{"5e-324", "", ""},
		{"4.9e-324", RuleNumberLoss, ""},
		{"2.2250738585072014e-308", "", ""},
		{"1e-9999", RuleNumberRange, RuleNumberRange},
		{"1e99999999999999999999", RuleNumberRange, RuleNumberRange},
		{"4503599627370497.5", RuleNumberLoss, ""},
		{"4503599627370495.5", "", ""},
		{"1234567890123456789012345678901234567890", RuleNumberLoss, ""},
		{"12345678901234567890123456789012345678901", RuleNumberLength, RuleNumberLength},
	} {
		for _, n := range []struct {
			rule  string
			exact bool
		}{{c.rule, false}, {c.exact, true}} {
			if rule, _ := checkNumber([]byte(c.number), n.exact); rule != n.rule {
				t.Errorf("%s, exact %v: got %q, want %q", c.number, n.exact, rule, n.rule)
			}
		}
	}
}

// decimalText draws a JSON number.
func decimalText(t *rapid.T) string {
	return rapid.OneOf(
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,18})?([eE][-+]?[0-9]{1,3})?`),
		rapid.Map(rapid.Float64(), func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }),
		rapid.Map(rapid.Int64(), func(n int64) string { return strconv.FormatInt(n, 10) }),
	).Filter(func(s string) bool { return len(s) <= maxNumber && s != "NaN" && s != "+Inf" && s != "-Inf" }).Draw(t, "number")
}

// What is accepted has the same value when it is read as float64 and printed,
// and integers are in the range that every reader keeps.
func TestI2_NumbersSurviveFloat64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := decimalText(t)
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%s is no number", text)
		}
		f, err := strconv.ParseFloat(text, 64)
		shortest, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
		limit := new(big.Rat).SetInt64(maxSafeInt)
		want := err == nil && shortest != nil && shortest.Cmp(exact) == 0 &&
			(!exact.IsInt() || new(big.Rat).Abs(exact).Cmp(limit) <= 0)
		if rule, _ := checkNumber([]byte(text), false); (rule == "") != want {
			t.Fatalf("%s: got %q, want accepted %v", text, rule, want)
		}
	})
}

func TestIDNumbers(t *testing.T) {
	for token, want := range map[string]bool{
		"0": true, "-1": true, "9007199254740991": true, "-9007199254740991": true,
		"-0": false, "1.0": false, "1e1": false, "9007199254740992": false, "9223372036854775808": false,
		"": false, "-": false, "true": false, "null": false, "{}": false,
	} {
		if got := isID([]byte(token)); got != want {
			t.Errorf("%s: got %v", token, got)
		}
	}
}
