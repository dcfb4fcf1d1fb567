package console

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

// quotasLength is how many counters one page shows.
const quotasLength = 100

func (c *Console) quotaRoutes() []route {
	return []route{
		{pattern: "GET /quotas", least: signin.Viewer, serve: c.quotasPage},
		{pattern: "GET /quotas/{id}/reset", least: signin.Admin, serve: c.resetPage},
		{pattern: "POST /quotas/{id}/reset", least: signin.Admin, serve: c.resetQuota},
	}
}

// quotaView is one counter.
type quotaView struct {
	quota.Standing
	Bar quotaBar
}

func viewQuota(s quota.Standing) quotaView {
	return quotaView{s, newQuotaBar(s.Use.Name, s.Use.Used.String(), s.Use.Limit.String(), s.Use.Reset)}
}

// Name is what the counter is called in a sentence: the quota, and what it is
// counted per.
func (q quotaView) Name() string {
	parts := make([]string, 0, len(q.Per))
	for _, p := range q.Per {
		parts = append(parts, p.Name+" "+p.Value)
	}
	if len(parts) == 0 {
		return q.Use.Name
	}
	return q.Use.Name + " of " + strings.Join(parts, ", ")
}

// quotaList is a page of counters, and what it was narrowed down by.
type quotaList struct {
	Quota, Of string
	List      []quotaView
	More      string // address; empty: there is no more
	First     bool
}

func (c *Console) quotasPage(v *visit) error {
	q := v.r.URL.Query()
	page := quotaList{Quota: strings.TrimSpace(q.Get("quota")), Of: strings.TrimSpace(q.Get("of")), First: q.Get("after") == ""}
	f := quota.Filter{Quota: page.Quota, Of: page.Of, Limit: quotasLength + 1, AfterQuota: q.Get("after"), AfterID: q.Get("id")}
	list, err := c.quotas.List(v.r.Context(), f)
	if err != nil {
		return err
	}
	if len(list) > quotasLength {
		list = list[:quotasLength]
		last := list[len(list)-1]
		next := url.Values{"after": {last.Use.Name}, "id": {last.ID}}
		for name, value := range map[string]string{"quota": page.Quota, "of": page.Of} {
			if value != "" {
				next.Set(name, value)
			}
		}
		page.More = "/quotas?" + next.Encode()
	}
	for _, s := range list {
		page.List = append(page.List, viewQuota(s))
	}
	return v.show("quotas", page)
}

// counter finds the one that the path names.
func (c *Console) counter(v *visit) (quotaView, error) {
	list, err := c.quotas.List(v.r.Context(), quota.Filter{ID: v.r.PathValue("id"), Limit: 1})
	if err != nil {
		return quotaView{}, err
	}
	if len(list) == 0 {
		return quotaView{}, notFound("There is no such counter, or nothing of it is used any more.")
	}
	return viewQuota(list[0]), nil
}

func (c *Console) resetPage(v *visit) error {
	q, err := c.counter(v)
	if err != nil {
		return err
	}
	return v.show("reset-quota", q)
}

// resetQuota sets one counter back to nothing used.
func (c *Console) resetQuota(v *visit) error {
	q, err := c.counter(v)
	if err != nil {
		return err
	}
	used := fmt.Sprintf("%s of %s used", q.Use.Used, q.Use.Limit)
	if reason := v.form("reason"); reason != "" {
		used = reason + " (" + used + ")"
	}
	err = c.recorded(v, audit.Act{Act: "reset", Target: q.Name(), Reason: used}, func(ctx context.Context) error {
		_, err := c.quotas.Reset(ctx, quota.Filter{ID: q.ID})
		return err
	})
	if err != nil {
		return err
	}
	return v.done("/quotas", "reset")
}
