package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// checkNewer refuses a bundle with other content that is older than the one in force, so that a
// stale replica, or somebody who kept an old bundle, cannot bring back a policy
// that was replaced, well signed as it may be. Going back is a new revision
// with the old content.
//
// Revisions have an order when both are whole numbers, both RFC 3339 times, or
// both semantic versions (with or without v). Where the one in force has an
// order, the next has to have the same kind. Where it has none (a commit's
// hash, or no revision), nothing can be said, and anything may follow it.
func checkNewer(inForce, next string) error {
	kind := revisionKind(inForce)
	if kind == nil {
		return nil
	}
	order, ok := kind(inForce, next)
	switch {
	case !ok:
		return fmt.Errorf("its revision %q has no order with %q, which is in force: keep to one kind of revision", next, inForce)
	case order > 0:
		return fmt.Errorf("its revision %q is older than %q, which is in force: to go back, publish the old content under a new revision", next, inForce)
	case order == 0:
		return fmt.Errorf("its revision %q is in force with other content: give the new content a revision of its own", next)
	}
	return nil
}

// revisionOrder compares two revisions of one kind; ok is false when either is
// not of that kind.
type revisionOrder func(a, b string) (order int, ok bool)

func revisionKind(revision string) revisionOrder {
	for _, kind := range []revisionOrder{compareNumbers, compareTimes, compareVersions} {
		if _, ok := kind(revision, revision); ok {
			return kind
		}
	}
	return nil
}

var wholeNumber = regexp.MustCompile(`^[0-9]{1,100}$`)

func compareNumbers(a, b string) (int, bool) {
	if !wholeNumber.MatchString(a) || !wholeNumber.MatchString(b) {
		return 0, false
	}
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)), true
}

func compareTimes(a, b string) (int, bool) {
	x, errX := time.Parse(time.RFC3339, a)
	y, errY := time.Parse(time.RFC3339, b)
	return x.Compare(y), errX == nil && errY == nil
}

var version = regexp.MustCompile(`^v?([0-9]{1,19})\.([0-9]{1,19})(?:\.([0-9]{1,19}))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$`)

// compareVersions follows semantic versioning 2.0.0, section 11.
func compareVersions(a, b string) (int, bool) {
	x, y := version.FindStringSubmatch(a), version.FindStringSubmatch(b)
	if x == nil || y == nil {
		return 0, false
	}
	for i := 1; i <= 3; i++ {
		if order, _ := compareNumbers(cmp.Or(x[i], "0"), cmp.Or(y[i], "0")); order != 0 {
			return order, true
		}
	}
	return comparePrereleases(x[4], y[4]), true
}

func comparePrereleases(a, b string) int {
	if a == "" || b == "" {
		return cmp.Compare(len(b), len(a)) // a release is newer than what came before it
	}
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		xn, yn := wholeNumber.MatchString(x[i]), wholeNumber.MatchString(y[i])
		order := cmp.Compare(x[i], y[i])
		switch {
		case xn && yn:
			order, _ = compareNumbers(x[i], y[i])
		case xn:
			order = -1
		case yn:
			order = 1
		}
		if order != 0 {
			return order
		}
	}
	return cmp.Compare(len(x), len(y))
}
