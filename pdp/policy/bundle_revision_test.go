package policy

import (
	"cmp"
	"fmt"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRevisionsHaveAnOrder(t *testing.T) {
	for _, tt := range []struct {
		inForce, next string
		ok            bool
	}{
		{"", "", true},
		{"", "5", true},
		{"abc123", "5", true},
		{"abc123", "fed456", true},
		{"abc123", "", true},
		{"5", "6", true},
		{"9", "10", true},
		{"99999999999999999999999", "100000000000000000000000", true},
		{"5", "5", false},
		{"007", "7", false},
		{"10", "9", false},
		{"5", "", false},
		{"5", "abc123", false},
		{"5", "v6.0.0", false},
		{"2026-11-22T10:00:00Z", "2026-11-22T10:00:01Z", true},
		{"2026-11-22T10:00:00Z", "2026-11-22T12:00:01+02:00", true},
		{"2026-11-22T10:00:00Z", "2026-11-22T11:00:00+02:00", false},
		{"1.2.3", "1.2.4", true},
		{"1.9.0", "1.10.0", true},
		{"v1.2", "1.2.1", true},
		{"1.2.4", "1.2.3", false},
		{"1.2.3", "1.2.3-rc.1", false},
		{"1.2.3-rc.1", "1.2.3", true},
		{"1.2.3-rc.2", "1.2.3-rc.10", true},
		{"1.2.3-1", "1.2.3-rc", true},
		{"1.2.3-rc", "1.2.3-rc.1", true},
		{"1.2.3+a", "1.2.3+b", false},
	} {
		if err := checkNewer(tt.inForce, tt.next); (err == nil) != tt.ok {
			t.Errorf("%q after %q: %v", tt.next, tt.inForce, err)
		}
	}
}

// TestRevisionOrderIsTotal: of two revisions of one kind exactly one replaces
// the other, unless they are equal.
func TestRevisionOrderIsTotal(t *testing.T) {
	small := rapid.IntRange(0, 12)
	kinds := []*rapid.Generator[string]{
		rapid.Map(rapid.IntRange(0, 1000), func(n int) string { return strconv.Itoa(n) }),
		rapid.Map(rapid.Int64Range(0, 1e9), func(s int64) string { return time.Unix(s, 0).UTC().Format(time.RFC3339) }),
		rapid.Custom(func(t *rapid.T) string {
			v := fmt.Sprintf("v%d.%d.%d", small.Draw(t, "major"), small.Draw(t, "minor"), small.Draw(t, "patch"))
			return v + rapid.SampledFrom([]string{"", "-1", "-rc", "-rc.1", "-rc.10", "-rc.2.x"}).Draw(t, "pre")
		}),
	}
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		a, b, c := kind.Draw(t, "a"), kind.Draw(t, "b"), kind.Draw(t, "c")
		newer := func(x, y string) bool { return checkNewer(x, y) == nil }
		order := func(x, y string) int { o, _ := revisionKind(x)(x, y); return o }
		if order(a, b) != -order(b, a) || newer(a, b) != (order(a, b) < 0) || newer(a, a) {
			t.Fatalf("%s and %s: %d, %d", a, b, order(a, b), order(b, a))
		}
		if order(a, b) < 0 && order(b, c) < 0 && cmp.Compare(order(a, c), 0) >= 0 {
			t.Fatalf("%s < %s < %s and not %s < %s", a, b, c, a, c)
		}
	})
}
