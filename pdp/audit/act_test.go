package audit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func testAct(n int) Act {
	return Act{
		Time: time.Date(2026, 11, 25, 12, 0, n, 0, time.UTC), Act: "approve", Target: "A" + string(rune('0'+n)),
		Person: "anna@example.com", Via: "console", Result: "taken", Reason: "<b>fine</b>",
	}
}

func mustAct(t *testing.T, l *Log, a Act) {
	t.Helper()
	if err := l.Act(t.Context(), a); err != nil {
		t.Fatal(err)
	}
}

func acts(t *testing.T, trail *Trail, f ActFilter, limit int) (out []Act) {
	t.Helper()
	if err := trail.Acts(t.Context(), f, limit, func(a *Act) error {
		out = append(out, *a)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func targets(list []Act) string {
	var out []string
	for _, a := range list {
		out = append(out, a.Target)
	}
	return strings.Join(out, " ")
}

// Acts stand in the chain among records, over segments and restarts, and are
// not in the way of either.
func TestActsAreReadBack(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Options{Dir: dir, SegmentBytes: 1})
	for i := range 5 {
		mustRecord(t, l, testRecord(i))
		mustAct(t, l, testAct(i))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = testLog(t, Options{Dir: dir, SegmentBytes: 1})
	other := testAct(5)
	other.Person = "bob"
	mustAct(t, l, other)
	mustVerify(t, l.Trail())
	if got := ids(query(t, l.Trail(), Filter{}, 0)); len(got) != 5 {
		t.Errorf("records %v", got)
	}
	all := acts(t, l.Trail(), ActFilter{}, 0)
	if targets(all) != "A0 A1 A2 A3 A4 A5" {
		t.Fatalf("acts %s", targets(all))
	}
	want := testAct(2)
	want.Type = "act"
	if diff := cmp.Diff(want, all[2], cmpopts.IgnoreFields(Act{}, "Seq", "Prev", "Hash")); diff != "" || all[2].Seq == 0 || all[2].Hash == "" {
		t.Errorf("act (-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		f     ActFilter
		limit int
		want  string
	}{
		{ActFilter{}, 2, "A4 A5"},
		{ActFilter{Person: "bob"}, 0, "A5"},
		{ActFilter{Target: "A3"}, 0, "A3"},
		{ActFilter{Person: "bob", Target: "A3"}, 0, ""},
		{ActFilter{Since: testAct(1).Time, Until: testAct(3).Time}, 0, "A1 A2"},
	} {
		if got := targets(acts(t, l.Trail(), c.f, c.limit)); got != c.want {
			t.Errorf("%+v, limit %d: %q, want %q", c.f, c.limit, got, c.want)
		}
	}
}

func TestVerifyCoversActs(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Options{Dir: dir})
	mustAct(t, l, testAct(0))
	mustAct(t, l, testAct(1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, NewTrail(dir))
	path := filepath.Join(dir, segmentName(1))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), "anna@", "evil@", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := NewTrail(dir).Verify(t.Context()); err != nil || r.Problem == "" {
		t.Errorf("an altered act: %+v, %v", r, err)
	}
}

func TestI6_ActsAreMaskedAndBounded(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Options{Dir: dir})
	a := testAct(0)
	a.Reason = "I used mcpg_0123456789abcdef0123456789abcdef0123456789abcdef " + strings.Repeat("x", 1<<20) + "\xff"
	a.Person, a.Target = strings.Repeat("p", 1<<20), "line\nbreak"
	mustAct(t, l, a)
	b, err := os.ReadFile(filepath.Join(dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 16<<10 || strings.Contains(string(b), "mcpg_0123") || strings.Count(string(b), "\n") != 1 {
		t.Errorf("%d bytes, %.300s", len(b), b)
	}
	mustVerify(t, l.Trail())
}

// What cannot be recorded must not be done: no act without an error goes
// missing, and one that was recorded too late is taken back.
func TestI5_ActsOnAStalledDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, dev := onFaults(t, Options{Dir: dir, Timeout: 2 * time.Second})
		hang := make(chan struct{})
		dev.hang.Store(&hang)
		if err := l.Act(t.Context(), testAct(0)); !errors.Is(err, errStalled) {
			t.Fatalf("Act: %v, want %v", err, errStalled)
		}
		if err := l.Act(t.Context(), testAct(1)); !errors.Is(err, errStalled) {
			t.Errorf("Act on a stalled device: %v", err)
		}
		dev.hang.Store(nil)
		close(hang)
		synctest.Wait()
		mustAct(t, l, testAct(2))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		mustVerify(t, NewTrail(dir))
		got := acts(t, NewTrail(dir), ActFilter{}, 0)
		if targets(got) != "A0 A0 A2" || got[0].Result != "taken" || got[1].Result != resultLate || got[1].Person != got[0].Person {
			t.Errorf("acts %+v", got)
		}
	})
}

// An act that could not be written is refused and does not come back when the
// device does: it was not done.
func TestI5_ActsOnAFailingDevice(t *testing.T) {
	dir := t.TempDir()
	l, dev := onFaults(t, Options{Dir: dir})
	mustAct(t, l, testAct(0))
	dev.setErr(syscall.ENOSPC, "write")
	if err := l.Act(t.Context(), testAct(1)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Act on a full disk: %v", err)
	}
	dev.setErr(nil)
	mustRecord(t, l, testRecord(0))
	mustAct(t, l, testAct(2))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, NewTrail(dir))
	if got := targets(acts(t, NewTrail(dir), ActFilter{}, 0)); got != "A0 A2" {
		t.Errorf("acts %s", got)
	}
}

func TestI5_ActsAfterClose(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Options{Dir: dir})
	mustAct(t, l, testAct(0))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Act(t.Context(), testAct(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if got := targets(acts(t, NewTrail(dir), ActFilter{}, 0)); got != "A0" {
		t.Errorf("acts %s", got)
	}
}

func TestServiceQueriesActs(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir()})
	mustRecord(t, l, testRecord(0))
	for i := range 3 {
		mustAct(t, l, testAct(i))
	}
	client := testService(t, l)
	ask := func(in *mcpermitv1.QueryAuditRequest) (string, error) {
		in.Acts = true
		res, err := client.QueryAudit(t.Context(), in)
		if err != nil {
			return "", err
		}
		var list []Act
		for {
			next, err := res.Recv()
			if err != nil {
				if status.Code(err) == codes.Unknown { // the end
					err = nil
				}
				return targets(list), err
			}
			a, err := ParseAct(next.GetRecord())
			if err != nil {
				return "", err
			}
			list = append(list, *a)
		}
	}
	for _, c := range []struct {
		in   *mcpermitv1.QueryAuditRequest
		want string
		code codes.Code
	}{
		{&mcpermitv1.QueryAuditRequest{}, "A0 A1 A2", codes.OK},
		{&mcpermitv1.QueryAuditRequest{Limit: 1}, "A2", codes.OK},
		{&mcpermitv1.QueryAuditRequest{Filter: &mcpermitv1.AuditFilter{Subject: "anna@example.com", Name: "A1"}}, "A1", codes.OK},
		{&mcpermitv1.QueryAuditRequest{Filter: &mcpermitv1.AuditFilter{Subject: "alice"}}, "", codes.OK},
		{&mcpermitv1.QueryAuditRequest{Filter: &mcpermitv1.AuditFilter{Since: timestamppb.New(testAct(2).Time)}}, "A2", codes.OK},
		{&mcpermitv1.QueryAuditRequest{Filter: &mcpermitv1.AuditFilter{Server: "stripe"}}, "", codes.InvalidArgument},
	} {
		if got, err := ask(c.in); got != c.want || status.Code(err) != c.code {
			t.Errorf("%v: %q, %v; want %q, %v", c.in, got, err, c.want, c.code)
		}
	}
}
