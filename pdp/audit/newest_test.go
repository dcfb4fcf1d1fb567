package audit

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// pagesOf reads a trail from its end, page by page.
func pagesOf(t rapid.TB, trail *Trail, f Filter, limit int, most int64) (all []*Record, pages int) {
	t.Helper()
	for before := uint64(0); ; {
		p, err := trail.newest(context.Background(), f, before, limit, most)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Records) > limit {
			t.Fatalf("%d records on a page of %d", len(p.Records), limit)
		}
		if p.Next >= before && before > 0 {
			t.Fatalf("page before %d goes on before %d", before, p.Next)
		}
		all = append(all, p.Records...)
		pages++
		if p.Next == 0 {
			return all, pages
		}
		before = p.Next
	}
}

// However the trail is cut into segments and pages, the pages together are what
// a plain loop over all records gives, newest first, each with its last outcome.
func TestNewestAgreesWithALoop(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "audit")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		l := openLog(t, Options{Dir: dir, Fsync: FsyncNever, SegmentBytes: int64(rapid.IntRange(400, 8000).Draw(rt, "segment"))}, nil)
		defer l.Close()
		var all []*Record
		for i := range rapid.IntRange(0, 40).Draw(rt, "records") {
			r := testRecord(i)
			r.Time = r.Time.Add(time.Duration(i) * time.Second)
			r.ReasonCode = rapid.SampledFrom([]string{"policy", "no_match"}).Draw(rt, "code")
			mustRecord(t, l, r)
			all = append(all, r)
			if rapid.Bool().Draw(rt, "outcome") {
				of := all[rapid.IntRange(0, i).Draw(rt, "of")]
				of.Outcome = &Outcome{Forwarded: true, Bytes: int64(i)}
				l.Outcome(of.DecisionID, *of.Outcome)
			}
		}
		mustRecord(t, l, testRecord(99)) // so that the outcomes before it are written
		all = append(all, testRecord(99))
		f := Filter{ReasonCode: rapid.SampledFrom([]string{"", "no_match"}).Draw(rt, "want code")}
		if rapid.Bool().Draw(rt, "since") {
			f.Since = testRecord(0).Time.Add(time.Duration(rapid.IntRange(0, 40).Draw(rt, "from")) * time.Second)
		}
		limit := rapid.SampledFrom([]int{1, 3, 100}).Draw(rt, "limit")
		most := rapid.SampledFrom([]int64{1, 3000, pageBytes}).Draw(rt, "most")

		var want []string
		for _, r := range slices.Backward(all) {
			if f.Match(r) {
				want = append(want, r.DecisionID+" "+fmt.Sprint(r.Outcome))
			}
		}
		for name, trail := range map[string]*Trail{"log": l.Trail(), "trail": NewTrail(dir)} {
			var got []string
			records, _ := pagesOf(rt, trail, f, limit, most)
			for _, r := range records {
				got = append(got, r.DecisionID+" "+fmt.Sprint(r.Outcome))
			}
			if !slices.Equal(got, want) {
				rt.Fatalf("%s: %+v, %d a page, %d bytes:\n%s\nwant:\n%s", name, f, limit, most, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}

// A page costs the same wherever it stands, and no more when nothing matches.
func TestNewestReadsWhatItNeeds(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir(), Fsync: FsyncNever, SegmentBytes: 2 << 20})
	for i := range 8000 {
		r := testRecord(i)
		r.Reason = strings.Repeat("because ", 50)
		mustRecord(t, l, r)
	}
	blocks := func(f Filter, before uint64, most int64) (Page, int) {
		c := &countingContext{Context: t.Context()}
		p, err := l.Trail().newest(c, f, before, 20, most)
		if err != nil {
			t.Fatal(err)
		}
		return p, c.asked
	}
	newest, n := blocks(Filter{}, 0, pageBytes)
	if n > 2 || newest.Records[0].DecisionID != "d-007999" {
		t.Errorf("the newest page took %d blocks and begins with %s", n, newest.Records[0].DecisionID)
	}
	// One block for each step of the search, and the megabyte of outcomes.
	for _, before := range []uint64{7900, 4000, 2100, 100} {
		p, n := blocks(Filter{}, before, pageBytes)
		if n > 30 || len(p.Records) != 20 || p.Records[0].Seq >= before || p.Records[0].Seq < before-2 {
			t.Errorf("the page before %d took %d blocks: %d records from %d", before, n, len(p.Records), p.Records[0].Seq)
		}
	}
	p, n := blocks(Filter{Subject: "nobody"}, 0, 1<<20)
	if n > 12 || len(p.Records) != 0 || p.Next == 0 || p.Read.IsZero() {
		t.Errorf("nothing found took %d blocks: %+v", n, p)
	}
	if p, err := l.Trail().Newest(t.Context(), Filter{}, 1, 20); err != nil || len(p.Records) > 0 || p.Next != 0 {
		t.Errorf("before the first entry: %+v, %v", p, err)
	}
}
