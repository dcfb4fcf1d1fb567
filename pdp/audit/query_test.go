package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// Query gives what a plain loop over all records would: the selected ones, in
// order, the last so many, each with the last outcome that was told for it,
// wherever that stands.
func TestQueryAgreesWithALoop(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "audit")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		l := openLog(t, Options{Dir: dir, Fsync: FsyncNever, SegmentBytes: int64(rapid.IntRange(400, 8000).Draw(rt, "segment"))}, nil)
		defer l.Close()
		var all []*Record
		start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		for i := range rapid.IntRange(0, 40).Draw(rt, "records") {
			r := testRecord(i)
			// Clocks go back now and then.
			r.Time = start.Add(time.Duration(i*10+rapid.IntRange(-30, 30).Draw(rt, "jitter")) * time.Second)
			r.Server = rapid.SampledFrom([]string{"stripe", "files", `q"uo\te`}).Draw(rt, "server")
			r.Effect = rapid.SampledFrom([]string{"allow", "deny"}).Draw(rt, "effect")
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
		f := Filter{
			Server: rapid.SampledFrom([]string{"", "stripe", `q"uo\te`}).Draw(rt, "want server"),
			Effect: rapid.SampledFrom([]string{"", "allow"}).Draw(rt, "want effect"),
		}
		if rapid.Bool().Draw(rt, "since") {
			f.Since = start.Add(time.Duration(rapid.IntRange(-10, 400).Draw(rt, "from")) * time.Second)
		}
		if rapid.Bool().Draw(rt, "until") {
			f.Until = start.Add(time.Duration(rapid.IntRange(-10, 400).Draw(rt, "to")) * time.Second)
		}
		limit := rapid.SampledFrom([]int{0, 1, 3, 100}).Draw(rt, "limit")

		var want []string
		for _, r := range all {
			if f.Match(r) {
				want = append(want, r.DecisionID+" "+fmt.Sprint(r.Outcome))
			}
		}
		if limit > 0 && len(want) > limit {
			want = want[len(want)-limit:]
		}
		for name, from := range map[string]interface {
			Query(context.Context, Filter, int, func(*Record) error) error
		}{"log": l, "trail": NewTrail(dir)} {
			var got []string
			for _, r := range query(t, from, f, limit) {
				got = append(got, r.DecisionID+" "+fmt.Sprint(r.Outcome))
			}
			if !slices.Equal(got, want) {
				rt.Fatalf("%s: %+v, limit %d:\n%s\nwant:\n%s", name, f, limit, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}

// countingContext counts how often it is asked: a scan asks once for each block.
type countingContext struct {
	context.Context //nolint:containedctx // it is one
	asked           int
}

func (c *countingContext) Err() error {
	c.asked++
	return c.Context.Err()
}

// With a limit, and for one decision, only a part of the trail is read.
func TestQueryReadsWhatItNeeds(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Options{Dir: dir, Fsync: FsyncNever, SegmentBytes: 200 << 10})
	var middle string
	for i := range 3000 {
		r := testRecord(i)
		r.Time = time.Now()
		r.Reason = strings.Repeat("because ", 50)
		id, err := uuid.NewV7()
		if err != nil {
			t.Fatal(err)
		}
		// As if each call came a minute after the one before.
		id = minutesLater(id, i)
		r.Time = r.Time.Add(time.Duration(i) * time.Minute)
		if i == 1500 {
			middle = id.String()
		}
		r.DecisionID = id.String()
		mustRecord(t, l, r)
	}
	blocks := func(run func(ctx context.Context)) int {
		c := &countingContext{Context: t.Context()}
		run(c)
		return c.asked
	}
	all := blocks(func(ctx context.Context) {
		if err := l.Query(ctx, Filter{}, 0, func(*Record) error { return nil }); err != nil {
			t.Fatal(err)
		}
	})
	last := blocks(func(ctx context.Context) {
		if err := l.Query(ctx, Filter{Server: "stripe"}, 20, func(*Record) error { return nil }); err != nil {
			t.Fatal(err)
		}
	})
	one := blocks(func(ctx context.Context) {
		if _, err := l.Find(ctx, middle); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("blocks read: all %d, the last twenty %d, one decision %d", all, last, one)
	if last > 2 || one > all/3 {
		t.Errorf("the last twenty took %d blocks, one decision %d, of %d", last, one, all)
	}
}

// minutesLater returns id as if it had been made so many minutes later.
func minutesLater(id uuid.UUID, minutes int) uuid.UUID {
	var ms uint64
	for _, b := range id[:6] {
		ms = ms<<8 | uint64(b)
	}
	ms += uint64(minutes) * 60_000
	for i := 5; i >= 0; i-- {
		id[i] = byte(ms)
		ms >>= 8
	}
	return id
}

func TestPeriodSkipsSealedSegments(t *testing.T) {
	dir := trailOf(t, 60, Options{SegmentBytes: 4000})
	trail := NewTrail(dir)
	segs, err := trail.segments(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := Filter{Since: testRecord(30).Time, Until: testRecord(32).Time}
	wanted, oldest := trail.wanted(t.Context(), segs, &f)
	n := 0
	for _, w := range wanted[:len(segs)-1] { // the last has no seal yet
		if w {
			n++
		}
	}
	if oldest < 1 || n < 1 || n > 2 {
		t.Errorf("%d segments may hold two records of the middle, from the %d.", n, oldest)
	}
	if got := ids(query(t, trail, f, 0)); len(got) != 2 {
		t.Errorf("%v", got)
	}
	f = Filter{Since: testRecord(60).Time, Until: testRecord(70).Time}
	if got := query(t, trail, f, 0); len(got) != 0 {
		t.Errorf("%v", ids(got))
	}
}

func TestFind(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir(), SegmentBytes: 3000})
	var want []string
	for i := range 30 {
		r := testRecord(i)
		id, err := uuid.NewV7()
		if err != nil {
			t.Fatal(err)
		}
		// Some clocks were wrong when the decision was made.
		r.Time = time.Now()
		if i >= 10 {
			r.Time = r.Time.Add(time.Duration(1+i%3) * -24 * time.Hour)
		}
		r.DecisionID = id.String()
		want = append(want, r.DecisionID)
		l.Outcome(r.DecisionID, Outcome{}) // before its record: told to nobody, joined to nothing
		mustRecord(t, l, r)
		l.Outcome(r.DecisionID, Outcome{Forwarded: true, Bytes: int64(i)})
	}
	mustRecord(t, l, testRecord(99))
	for i, id := range want {
		r, err := l.Find(t.Context(), id)
		if err != nil || r.DecisionID != id || r.Outcome == nil || r.Outcome.Bytes != int64(i) {
			t.Errorf("Find(%s): %+v, %v", id, r, err)
		}
	}
	for _, id := range []string{"", "nope", uuid.NewString()} {
		if r, err := l.Find(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("Find(%q): %+v, %v", id, r, err)
		}
	}
}

func TestQueryEnds(t *testing.T) {
	dir := trailOf(t, 10, Options{})
	stop := errors.New("stop")
	for _, limit := range []int{0, 5} {
		n := 0
		err := NewTrail(dir).Query(t.Context(), Filter{}, limit, func(*Record) error { n++; return stop })
		if !errors.Is(err, stop) || n != 1 {
			t.Errorf("limit %d: %v after %d records", limit, err, n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := NewTrail(dir).Query(ctx, Filter{}, limit, func(*Record) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("limit %d, canceled: %v", limit, err)
		}
	}
}

func TestQueryOfNothing(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir()})
	if got := query(t, l, Filter{}, 0); len(got) != 0 {
		t.Errorf("%v", ids(got))
	}
	if err := NewTrail(filepath.Join(t.TempDir(), "none")).Query(t.Context(), Filter{}, 0, nil); err == nil {
		t.Error("a directory that does not exist was read")
	}
}

func TestFilter(t *testing.T) {
	r := testRecord(1)
	for _, c := range []struct {
		filter Filter
		want   bool
	}{
		{Filter{}, true},
		{Filter{Since: r.Time, Until: r.Time.Add(1)}, true},
		{Filter{Until: r.Time}, false},
		{Filter{Since: r.Time.Add(1)}, false},
		{Filter{DecisionID: "d-000001", Subject: "alice", Grant: "g1", Server: "stripe", Method: "tools/call", Name: "create_refund", Effect: "deny"}, true},
		{Filter{DecisionID: "d-00000"}, false},
		{Filter{Subject: "finance"}, false},
		{Filter{Grant: "g"}, false},
		{Filter{Server: "Stripe"}, false},
		{Filter{Method: "tools/list"}, false},
		{Filter{Name: "stripe"}, false},
		{Filter{Effect: "allow"}, false},
	} {
		if got := c.filter.Match(r); got != c.want {
			t.Errorf("%+v: %v", c.filter, got)
		}
	}
	if (&Filter{Subject: "x"}).Match(&Record{}) {
		t.Error("a record without a subject matches one")
	}
}

func TestTail(t *testing.T) {
	l := openLog(t, Options{Dir: t.TempDir(), SegmentBytes: 1500}, nil)
	mustRecord(t, l, testRecord(0))
	began, got := make(chan struct{}), make(chan *Record)
	done := make(chan error, 1)
	go func() {
		done <- l.Follow(context.Background(), Filter{Effect: "deny"}, func() error { close(began); return nil }, func(r *Record) error {
			got <- r
			return nil
		})
	}()
	<-began
	for i := 1; i < 20; i++ {
		other := testRecord(100 + i)
		other.Effect = "allow"
		mustRecord(t, l, other, testRecord(i))
		l.Outcome(testRecord(i).DecisionID, Outcome{})
		if i%2 == 0 { // let it fall behind now and then
			for _, want := range []int{i - 1, i} {
				if r := <-got; r.DecisionID != testRecord(want).DecisionID {
					t.Fatalf("got %s, want %s", r.DecisionID, testRecord(want).DecisionID)
				}
			}
		}
	}
	if r := <-got; r.DecisionID != testRecord(19).DecisionID {
		t.Errorf("got %s", r.DecisionID)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Tail ended with %v, want %v", err, ErrClosed)
	}
}

func TestTailEndsWithItsContext(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Tail(ctx, Filter{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Tail: %v", err)
	}
	stop := errors.New("stop")
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := l.Follow(ctx, Filter{}, func() error { mustRecord(t, l, testRecord(1)); return nil }, func(*Record) error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("Tail: %v, want the error of its function", err)
	}
}
