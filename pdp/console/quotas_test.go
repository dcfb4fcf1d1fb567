package console_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/pdp/quota"
)

// uses counts something against a quota.
func (k *kit) uses(name, per, value, limit, cost string) {
	k.Helper()
	amount := func(s string) quota.Amount {
		a, err := quota.ParseAmount(s)
		if err != nil {
			k.Fatal(err)
		}
		return a
	}
	window, err := quota.ParseWindow("24h", "", "")
	if err != nil {
		k.Fatal(err)
	}
	_, err = k.ledger.Reserve(k.Context(), fmt.Sprint(name, value, cost), k.clock(), []quota.Limit{{
		Name: name, Per: []quota.Part{{Name: per, Value: value}}, Limit: amount(limit), Cost: amount(cost), Window: window,
	}})
	if err != nil {
		k.Fatal(err)
	}
}

var resetLink = regexp.MustCompile(`href="(/quotas/[^"/]+/reset)"`)

func TestQuotasAreFilteredAndReset(t *testing.T) {
	k := newKit(t)
	b := k.as("ada")
	b.get("/quotas").is(http.StatusOK, "Nothing has been counted")
	k.uses("refunds", "subject", "ada", "100", "33.5")
	k.uses("refunds", "subject", "bob", "100", "100")
	k.uses("calls", "grant", "g-1", "10", "1")
	b.get("/quotas").is(http.StatusOK, "33.5 of 100", `value="33"`, "100 of 100", "full", "24h sliding", "g-1")
	b.get("/quotas?quota=calls").is(http.StatusOK, "g-1", `value="calls"`).without("33.5")
	b.get("/quotas?quota=none").is(http.StatusOK, "No counter is like that.", "Show all")
	p := b.get("/quotas?of=bob").is(http.StatusOK, "100 of 100").without("33.5", "g-1")
	reset := resetLink.FindStringSubmatch(p.body)[1]
	b.get(reset).is(http.StatusOK, "Reset refunds of subject bob?", "100 of 100")
	k.as("abel").get("/quotas").is(http.StatusOK, "refunds").without("Reset …")
	k.as("abel").post(reset).is(http.StatusForbidden)

	k.record.fails.Store(true)
	b.post(reset, "reason", "x").is(http.StatusServiceUnavailable, "not done")
	k.record.fails.Store(false)
	b.get("/quotas?of=bob").is(http.StatusOK, "100 of 100")

	b.post(reset, "reason", "a wrong limit").leads("/quotas?done=reset")
	b.get("/quotas?of=bob&done=reset").is(http.StatusOK, "Reset: nothing of it counts").without("100 of 100")
	b.get("/quotas?of=ada").is(http.StatusOK, "33.5 of 100")
	if got, want := k.acts(), []string{"ada reset refunds of subject bob: taken"}; !slices.Equal(got, want) {
		t.Errorf("on record: %q, want %q", got, want)
	}
	b.get("/quotas/nothing/reset").is(http.StatusNotFound, "no such counter")
}

func TestQuotasArePaged(t *testing.T) {
	k := newKit(t)
	for i := range 130 {
		k.uses("q", "subject", fmt.Sprintf("s%03d", i), "10", "1")
	}
	b := k.as("vera")
	seen := map[string]bool{}
	count := func(p *page) {
		for _, m := range regexp.MustCompile(`s\d\d\d`).FindAllString(p.body, -1) {
			seen[m] = true
		}
	}
	p := b.get("/quotas?quota=q")
	count(p)
	m := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(p.body)
	if len(seen) != 100 || m == nil {
		t.Fatalf("%d counters on the first page", len(seen))
	}
	count(b.get(strings.ReplaceAll(m[1], "&amp;", "&")).is(http.StatusOK, "First page").without(`rel="next"`))
	if len(seen) != 130 {
		t.Errorf("%d counters on both pages", len(seen))
	}
}

func TestHostileQuotas(t *testing.T) {
	k := newKit(t)
	evil := `"><script>alert(1)</script>` + "\u202e"
	k.uses(evil, "key", evil, "10", "1")
	b := k.as("ada")
	p := b.get("/quotas").is(http.StatusOK, "&lt;script&gt;").without("<script>alert", "\u202e")
	b.get(resetLink.FindStringSubmatch(p.body)[1]).is(http.StatusOK, "&lt;script&gt;").without("<script>alert", "\u202e")
}
