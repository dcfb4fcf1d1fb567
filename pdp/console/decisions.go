package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/signin"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// decisionsLength is how many decisions one page shows.
const decisionsLength = 50

func (c *Console) decisionRoutes() []route {
	return []route{
		{pattern: "GET /decisions", least: signin.Viewer, serve: c.decisionsPage},
		{pattern: "GET /decisions/events", least: signin.Viewer, stream: true, serve: c.decisionEvents},
		{pattern: "GET /decisions/{id}", least: signin.Viewer, serve: c.decisionPage},
	}
}

// effects in the order in which they win.
var effects = []string{"hide", "deny", "approve", "allow"}

// reasonCodes are the words of the API's ReasonCode, sorted.
var reasonCodes = func() (words []string) {
	for n, name := range v1.ReasonCode_name {
		if n != 0 {
			words = append(words, strings.ToLower(strings.TrimPrefix(name, "REASON_CODE_")))
		}
	}
	slices.Sort(words)
	return words
}()

// decisionFilter is what the list is narrowed down by, as it was typed.
type decisionFilter struct {
	Subject, Grant, Server, Method, Tool, Effect, Code, Since, Until string
}

func readDecisionFilter(q url.Values) decisionFilter {
	get := func(name string) string { return strings.TrimSpace(q.Get(name)) }
	return decisionFilter{
		get("subject"), get("grant"), get("server"), get("method"), get("tool"), get("effect"), get("code"), get("since"), get("until"),
	}
}

// query is the filter as a page's address has it.
func (f decisionFilter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"subject": f.Subject, "grant": f.Grant, "server": f.Server, "method": f.Method, "tool": f.Tool,
		"effect": f.Effect, "code": f.Code, "since": f.Since, "until": f.Until,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// address is a page's with this filter, from the entry of the trail before which
// it begins; 0 is the newest.
func (f decisionFilter) address(path string, before uint64) string {
	q := f.query()
	if before > 0 {
		q.Set("before", strconv.FormatUint(before, 10))
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// records is the filter for the trail. The error is for the visitor.
func (f decisionFilter) records(now time.Time) (audit.Filter, error) {
	out := audit.Filter{
		Subject: f.Subject, Grant: f.Grant, Server: f.Server, Method: f.Method, Name: f.Tool, Effect: f.Effect, ReasonCode: f.Code,
	}
	var err error
	if out.Since, err = readMoment(f.Since, now); err == nil {
		out.Until, err = readMoment(f.Until, now)
	}
	if err == nil && !out.Until.IsZero() && !out.Since.Before(out.Until) {
		err = badRequest("Nothing is both after the one time and before the other: “from” has to be earlier than “to”.")
	}
	return out, err
}

// readMoment reads a time in UTC, as browsers send it or in RFC 3339, or how long
// ago it was.
func readMoment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(s); err == nil && ago > 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, badRequest("“" + s + "” is no time: write 2026-11-25T14:30 (in UTC), or how long ago, as 15m or 24h.")
}

// decisionList is one page of decisions.
type decisionList struct {
	decisionFilter
	Filtered bool
	Servers  []string
	Effects  []string
	Codes    []string
	Problem  string

	Records []*audit.Record
	// First: the page begins with the newest decision, and stays up to date.
	First               bool
	Live, Older, Newest string // addresses; empty: there is none
	// Read is how far back was looked, where that is not all the way.
	Read time.Time
}

// decisionsPage shows decisions, newest first.
func (c *Console) decisionsPage(v *visit) error {
	f := readDecisionFilter(v.r.URL.Query())
	page := decisionList{
		decisionFilter: f, Filtered: len(f.query()) > 0, Servers: c.servers, Effects: effects, Codes: reasonCodes, Newest: f.address("/decisions", 0),
	}
	filter, err := f.records(c.now())
	before, badPlace := readPlace(v.r.URL.Query().Get("before"))
	if err == nil && badPlace {
		err = badRequest("There is no such page of decisions: begin with the newest.")
	}
	if err != nil {
		v.status, page.Problem = http.StatusUnprocessableEntity, err.Error()
		return v.show("decisions", page)
	}
	got, err := c.trail.Newest(v.r.Context(), filter, before, decisionsLength)
	if err != nil {
		return err
	}
	page.Records = got.Records
	if page.First = before == 0; page.First {
		page.Live = f.address("/decisions/events", 0)
	}
	if got.Next > 0 {
		page.Older = f.address("/decisions", got.Next)
		if len(got.Records) < decisionsLength {
			page.Read = got.Read
		}
	}
	return v.show("decisions", page)
}

func readPlace(s string) (place uint64, bad bool) {
	if s == "" {
		return 0, false
	}
	place, err := strconv.ParseUint(s, 10, 64)
	return place, err != nil || place == 0
}

// decisionEvents tells a page whenever there is a new decision on it.
func (c *Console) decisionEvents(v *visit) error {
	filter, err := readDecisionFilter(v.r.URL.Query()).records(c.now())
	if err != nil {
		return err
	}
	return v.stream(&newDecisions{c: c, filter: filter})
}

// maxTails bounds the pages that follow the trail, each on its own.
const maxTails = 64

// newDecisions tells one page of new records that it would show.
type newDecisions struct {
	c      *Console
	filter audit.Filter
}

// watch follows the trail, and tells at its beginning too: there may be decisions
// since the page was made. However many there are, it tells no more often than a
// page wants to be loaded again.
func (n *newDecisions) watch() (changed chan struct{}, unwatch func(), ok bool) {
	if n.c.tails.Add(1) > maxTails {
		n.c.tails.Add(-1)
		return nil, nil, false
	}
	ctx, stop := context.WithCancel(context.Background())
	changed = make(chan struct{}, 1)
	var news atomic.Bool
	told := func() error {
		news.Store(true)
		return nil
	}
	go func() {
		defer n.c.tails.Add(-1)
		// It ends with the page, or when the trail is closed.
		_ = n.c.audit.Follow(ctx, n.filter, told, func(*audit.Record) error { return told() })
	}()
	go func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if news.Swap(false) {
				select {
				case changed <- struct{}{}:
				default: // it has not yet read of the one before
				}
			}
		}
	}()
	return changed, stop, true
}
